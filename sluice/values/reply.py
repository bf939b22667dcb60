"""What goes back to a client: a head, and a body that the edge pulls."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

Ready = Callable[[], None]


class Part(NamedTuple):
    """Some bytes of a body; `last` with the final ones, which may be none."""

    data: bytes
    last: bool


class ReplyBody(Protocol):
    """A body being pulled. `poll` never waits, `read` does; after the last part, from either, neither is called."""

    def poll(self) -> Part | None:
        """The next part if it can be had without waiting."""
        ...

    async def read(self) -> Part:
        """The next part. Raises UpstreamFailure where the rest will not come."""
        ...

    def alert(self, ready: Ready | None) -> bool:
        """Has `ready` called for all that comes, in place of what `read` waits for, until it is None.

        False where something is there already that only `read` tells, or where nobody can: then it is not called.
        """
        ...

    def close(self, complete: bool = False) -> None:
        """Gives the rest up. Called once by whoever does not go on to the last part, and by nobody after it.

        `complete` says that only framing is missing, so that the connection behind it may be worth saving.
        """
        ...


class Reply:
    """`lines` are whole field lines without framing; `length` is None where only the end of the body tells it."""

    __slots__ = ("body", "length", "lines", "reason", "status")

    def __init__(
        self, status: int, reason: bytes | None, lines: list[bytes], length: int | None, body: ReplyBody
    ) -> None:
        self.status = status
        self.reason = reason
        self.lines = lines
        self.length = length
        self.body = body


class WholeBody:
    """A body of bytes already at hand."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def poll(self) -> Part | None:
        return Part(self._data, True)

    async def read(self) -> Part:
        return Part(self._data, True)

    def alert(self, ready: Ready | None) -> bool:
        return False

    def close(self, complete: bool = False) -> None:
        pass
