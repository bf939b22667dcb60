"""Replies in memory, bounded in bytes: what was asked for longest ago goes first."""

from collections import OrderedDict
from math import inf
from typing import Final

from sluice.values.caching import KeptReply

LARGEST_PART: Final = 4
"""A reply takes no more than this part of the shelf: one large picture is not to drive all else out."""


class Shelf:
    """For one thread. Time is handed in, as Unix seconds."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._replies: OrderedDict[bytes, tuple[KeptReply, float]] = OrderedDict()
        """With when each was put."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: bytes, now_s: float, since_s: float = -inf) -> KeptReply | None:
        """What was put later than `since_s`, and whose time is not over."""
        found = self._replies.get(key)
        if found is None:
            return None
        reply, put_s = found
        if reply.expires_s <= now_s:
            self._remove(key)
            return None
        self._replies.move_to_end(key)
        return reply if put_s > since_s else None

    def put(self, key: bytes, reply: KeptReply, now_s: float = 0.0) -> None:
        self._remove(key)
        if reply.size > self._most_bytes // LARGEST_PART:
            return
        self._replies[key] = reply, now_s
        self.bytes += reply.size
        while self.bytes > self._most_bytes:
            self._remove(next(iter(self._replies)))

    def _remove(self, key: bytes) -> None:
        former = self._replies.pop(key, None)
        if former is not None:
            self.bytes -= former[0].size
