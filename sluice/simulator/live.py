"""A vendor's side of a WebSocket, without the socket: messages in, messages out."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from sluice.simulator.call import Call
from sluice.simulator.faults import Faults
from sluice.simulator.own import echo, wants_echo


class Message(NamedTuple):
    data: bytes
    text: bool = True


class Goodbye(NamedTuple):
    """The vendor closes the connection."""

    code: int
    reason: str = ""


Said = Message | Goodbye


class Live(Protocol):
    """One conversation. What it says is drawn message by message, each when it is about to be sent."""

    faults: Faults

    def opening(self) -> Iterator[Said]:
        """What the vendor says unasked."""
        ...

    def heard(self, message: Message) -> Iterator[Said]:
        """What it says to a message."""
        ...


class Echo:
    """Says what it is told. Asked to echo its request too (`x-sluice-echo: 1`), it begins with that."""

    def __init__(self, call: Call) -> None:
        self.faults = call.faults
        self._call = call

    def opening(self) -> Iterator[Said]:
        if wants_echo(self._call):
            yield Message(b"".join(part.data for part in echo(self._call, 0, 0).parts))

    def heard(self, message: Message) -> Iterator[Said]:
        yield message
