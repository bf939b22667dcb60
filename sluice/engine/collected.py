"""A reply's body on its way to the one client that asked first, held from its beginning for all who ask the same."""

import asyncio
from collections.abc import Callable
from typing import Final

from sluice.values.errors import GatewayError
from sluice.values.reply import Part, Ready, ReplyBody

PART_BYTES: Final = 64
"""What a part takes beside its bytes, about: a provider may send them one by one."""
BURST: Final = 64
"""Parts that are given in one go before others have their turn."""


class Collected:
    """What has come of a body, read by its first client as fast as that likes. `gone` is called once that is over, and
    told whether the client had all that there was to be had, though its framing may not have ended.

    Whoever fills it calls `add`, and at the end `fail` where the rest will not come, or `let_go` where it is too much.
    """

    __slots__ = ("_at", "_count", "_fault", "_gone", "_pauses", "_ready", "_rest", "_waiter", "ended", "parts", "size")

    def __init__(self, gone: Callable[[bool], None]) -> None:
        self.parts: list[bytes] = []
        self.size = self._count = 0
        self.ended = False
        self._at = 0
        self._fault: GatewayError | None = None
        self._rest: ReplyBody | None = None
        self._pauses = False
        self._ready: Ready | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._gone: Callable[[bool], None] | None = gone

    @property
    def left(self) -> bool:
        """Whether its client has read all of it, or does not want the rest."""
        return self._gone is None

    # --- what fills it

    @property
    def weight(self) -> int:
        """What it takes in memory."""
        return self.size + PART_BYTES * self._count

    def add(self, part: Part) -> None:
        self.parts.append(part.data)
        self._count += 1
        self.size += len(part.data)
        self.ended = part.last
        self._wake()

    def fail(self, fault: GatewayError) -> None:
        self._fault = fault
        self._wake()

    def let_go(self, rest: ReplyBody) -> None:
        """It is collected no further: its reader has the rest for itself."""
        self._rest = rest
        self._pauses = self._ready is not None  # whoever is alerted asks anew, and so of the rest
        self.parts = self.parts[self._at :]
        self._at = 0
        self._wake()

    # --- what its client calls

    def poll(self) -> Part | None:
        at, parts = self._at, self.parts
        if at < len(parts):
            self._at = at + 1
            last = self.ended and self._at == len(parts)
            if last:
                self._leave(True)
            return Part(parts[at], last)
        if self._rest is None or self._pauses:
            self._pauses = False
            return None
        part = self._rest.poll()
        if part is not None and part.last:
            self._leave(True)
        return part

    async def read(self) -> Part:
        while True:
            part = self.poll()
            if part is not None:
                return part
            if self._rest is not None:
                part = await self._rest.read()
                if part.last:
                    self._leave(True)
                return part
            if self._fault is not None:
                raise self._fault
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def alert(self, ready: Ready | None) -> bool:
        self._ready = None
        if ready is not None and self._at < len(self.parts):
            return False
        if self._rest is not None:
            return self._rest.alert(ready)
        if self._fault is None:
            self._ready = ready
        return self._fault is None

    def close(self, complete: bool = False) -> None:
        if self._rest is not None:
            self._rest.close(complete)
        self._leave(complete)

    def _leave(self, complete: bool) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone(complete)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._ready is not None:
            self._ready()


class Replayed:
    """A kept stream, with the parts in which it came."""

    __slots__ = ("_at", "_body", "_burst", "_ends")

    def __init__(self, body: bytes, ends: tuple[int, ...]) -> None:
        self._body, self._ends = body, ends
        self._at, self._burst = 0, BURST

    def poll(self) -> Part | None:
        if not self._burst:
            return None
        self._burst -= 1
        at, ends = self._at, self._ends
        self._at = at + 1
        return Part(self._body[ends[at - 1] if at else 0 : ends[at]], self._at == len(ends))

    async def read(self) -> Part:
        await asyncio.sleep(0)
        self._burst = BURST
        part = self.poll()
        assert part is not None
        return part

    def alert(self, ready: Ready | None) -> bool:
        return False

    def close(self, complete: bool = False) -> None:
        pass
