"""What a reply of 101 leads to: somebody else goes on with the client's connection."""

import asyncio
from typing import Final, Protocol

from sluice.outbox import Outbox
from sluice.values.reply import Part, Ready, Reply

END: Final = Part(b"", True)


class Connection(Protocol):
    """A client's connection as the server looks after it; `deadline` is loop time, infinity is none."""

    deadline: float

    def expired(self) -> None:
        """Called once its deadline is past; it may set another."""
        ...

    def drain(self) -> None:
        """The server is to end: lets what runs finish, then closes."""
        ...

    async def cut(self) -> None:
        """Ends it in the midst of what it does; returns once that has been recorded."""
        ...


class House(Protocol):
    """What whoever goes on with a connection needs of the server it belongs to."""

    loop: asyncio.AbstractEventLoop
    outbox: Outbox
    draining: bool

    def left(self, connection: Connection, /) -> None:
        """The connection has closed."""
        ...


class Successor(Connection, Protocol):
    """Goes on with a connection."""

    def begin(self, house: House, transport: asyncio.Transport, rest: bytes) -> None:
        """Takes the transport over; its 101 is written, `rest` is what the client has sent behind its request."""
        ...

    def dismiss(self) -> None:
        """The client has left before its 101: `begin` will not be called."""
        ...


class Handover:
    """The body of a 101: nothing that is written, but who comes next."""

    __slots__ = ("successor",)

    def __init__(self, successor: Successor) -> None:
        self.successor = successor

    def poll(self) -> Part | None:
        return END

    async def read(self) -> Part:
        return END

    def alert(self, ready: Ready | None) -> bool:
        return False

    def close(self, complete: bool = False) -> None:
        self.successor.dismiss()


def switched(successor: Successor, lines: list[bytes]) -> Reply:
    """The 101 with these field lines, by which a successor gets the connection."""
    return Reply(101, None, lines, 0, Handover(successor))
