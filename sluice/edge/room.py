"""How far the replies of one WebSocket may be pulled: no further than its client reads, and than memory is bounded."""

import asyncio
from collections import defaultdict
from typing import Final

from sluice.edge.envelopes import MOST_REPLY_BYTES

MOST_HELD_BYTES: Final = 2 * MOST_REPLY_BYTES
"""Of replies that go into one message each and are not whole yet, per connection."""


class Room:
    """`full` while the client leaves unread what was sent. Whoever waits asks anew whenever something has changed."""

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self._most = most_bytes
        self._held: defaultdict[object, int] = defaultdict(int)
        self._waiters: list[asyncio.Future[None]] = []
        self._bytes = 0
        self.full = False

    @property
    def narrow(self) -> bool:
        """Whether anybody has to ask before pulling more."""
        return self.full or self._bytes > self._most

    def hold(self, holder: object, size: int) -> None:
        """More of a reply is in memory, and stays there."""
        self._held[holder] += size
        self._bytes += size

    def release(self, holder: object) -> None:
        """The whole of it has gone."""
        size = self._held.pop(holder, 0)
        if size:
            self._bytes -= size
            self.changed()

    def changed(self) -> None:
        """There may be room again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def to_pull(self, holder: object, streams: bool) -> None:
        """Returns once more may be pulled. One that holds may always go on, or none would end: the first of them."""
        while self.full or (self._bytes > self._most and not streams and next(iter(self._held)) is not holder):
            await self._news()

    async def to_send(self) -> None:
        """Returns once the client reads."""
        while self.full:
            await self._news()

    def _news(self) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter
