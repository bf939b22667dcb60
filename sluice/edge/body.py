"""A request body on its way in: filled by the connection, read by whoever serves the request."""

import asyncio
from collections.abc import Callable

from sluice.metrics import Metrics
from sluice.values.errors import BodyTooLarge, GatewayError


class ArrivedBody:
    """A body that came whole with its head."""

    __slots__ = ("_read", "length", "whole")

    ended = True
    fault: None = None

    def __init__(self, data: bytes) -> None:
        self.whole: bytes | None = data
        self.length: int | None = len(data)
        self._read = False

    async def read(self) -> bytes:
        data = b"" if self._read else self.whole or b""
        self._read = True
        return data

    async def gather(self, most_bytes: int) -> None:
        return None

    async def take_in(self, most_bytes: int) -> None:
        return None

    def charge(self) -> bool:
        return True


class BodyBudget:
    """How much of bodies that must be whole may be in memory at a time, in a worker: clients may send them slowly."""

    __slots__ = ("_held", "_most_bytes", "_shown")

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most_bytes, self._held = most_bytes, 0
        self._shown = metrics.gauge("sluice_whole_bodies_bytes", "Request bodies that are in memory as a whole.")

    def take(self, count: int) -> bool:
        """Whether there is room for so many bytes more; then they are taken."""
        if self._held + count > self._most_bytes:
            return False
        self.give_back(-count)
        return True

    def give_back(self, count: int) -> None:
        self._held -= count
        self._shown.set(self._held)


class IncomingBody:
    """At most `buffer_bytes` of it wait in memory: past that `hold` is true, and reading calls `flow`.

    A client that waits for leave to send it (`Expect: 100-continue`) gets it by `invite`, when somebody wants to read.
    """

    __slots__ = (
        "_budget",
        "_buffer",
        "_charged",
        "_flow",
        "_held",
        "_invite",
        "_keeps",
        "_limit",
        "_parts",
        "_read",
        "_received",
        "_waiter",
        "ended",
        "fault",
        "length",
    )

    def __init__(
        self,
        length: int | None,
        limit: int,
        buffer_bytes: int,
        flow: Callable[[], None],
        invite: Callable[[], None] | None,
        budget: BodyBudget,
    ) -> None:
        self.length, self._budget = length, budget
        self._limit, self._buffer, self._flow, self._invite = limit, buffer_bytes, flow, invite
        self._parts: list[bytes] = []
        self._held = self._received = self._charged = 0
        self._read = self.ended = self._keeps = False
        self._waiter: asyncio.Future[None] | None = None
        self.fault: GatewayError | None = None
        if length is not None and length > limit:
            self.fault = BodyTooLarge()

    @property
    def whole(self) -> bytes | None:
        if not self.ended or self._read:
            return None
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

    @property
    def hold(self) -> bool:
        """Whether the client is to be held up."""
        return self._held > self._buffer

    @property
    def uninvited(self) -> bool:
        """Whether the client waits for leave to send it."""
        return self._invite is not None

    async def read(self) -> bytes:
        self._read = True
        while not self._parts:
            if self.fault is not None:
                raise self.fault
            if self.ended:
                return b""
            await self._more()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._held = 0
        self._flow()
        return data

    async def gather(self, most_bytes: int) -> None:
        if self.length is None or self.length > min(most_bytes, self._buffer):
            return
        while not self.ended:
            if self.fault is not None:
                raise self.fault
            await self._more()

    async def take_in(self, most_bytes: int) -> None:
        if self._read or (self.length is not None and self.length > most_bytes):
            return
        buffer, self._buffer = self._buffer, max(self._buffer, most_bytes)
        self._keeps = self.charge()
        try:
            while not self.ended and self._received <= most_bytes and self._keeps:
                if self.fault is not None:
                    raise self.fault
                await self._more()
        finally:
            self._buffer, self._keeps = buffer, False

    def charge(self) -> bool:
        """Whether there is room to keep all that has come. It is taken until the request is over."""
        more = self._received - self._charged
        if more and not self._budget.take(more):
            return False
        self._charged += more
        return True

    def release(self) -> None:
        """The request is over."""
        self._budget.give_back(self._charged)
        self._charged = 0

    def push(self, data: bytes) -> None:
        """More of it has come."""
        self._received += len(data)
        if self._received > self._limit:
            return self.fail(BodyTooLarge())
        self._parts.append(data)
        self._held += len(data)
        if self._keeps and not self.charge():
            self._keeps, self._buffer = False, 0  # its client is held up until somebody reads
        if self._waiter is not None:
            self._wake()

    def finish(self) -> None:
        """All of it has come."""
        self.ended = True
        if self._waiter is not None:
            self._wake()

    def fail(self, fault: GatewayError) -> None:
        """The rest will not come, or is not wanted."""
        if self.fault is None:
            self.fault = fault
        self._wake()

    async def _more(self) -> None:
        if self._invite is not None:
            invite, self._invite = self._invite, None
            invite()
        self._flow()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
