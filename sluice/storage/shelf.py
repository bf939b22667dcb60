"""Replies in memory, bounded in bytes: what was asked for longest ago goes first."""

from collections import OrderedDict
from typing import Final

from sluice.values.caching import KeptReply

LARGEST_PART: Final = 4
"""A reply takes no more than this part of the shelf: one large picture is not to drive all else out."""


class Shelf:
    """For one thread. Time is handed in, as Unix seconds."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._replies: OrderedDict[bytes, KeptReply] = OrderedDict()
        self._put_s: dict[bytes, float] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: bytes, now_s: float) -> KeptReply | None:
        reply = self._replies.get(key)
        if reply is None:
            return None
        if reply.expires_s <= now_s:
            self._remove(key)
            return None
        self._replies.move_to_end(key)
        return reply

    def lies_for_s(self, key: bytes, now_s: float) -> float:
        """How long ago what is here was put."""
        return now_s - self._put_s.get(key, now_s)

    def put(self, key: bytes, reply: KeptReply, now_s: float = 0.0) -> None:
        self._remove(key)
        if reply.size > self._most_bytes // LARGEST_PART:
            return
        self._replies[key], self._put_s[key] = reply, now_s
        self.bytes += reply.size
        while self.bytes > self._most_bytes:
            self._remove(next(iter(self._replies)))

    def _remove(self, key: bytes) -> None:
        former = self._replies.pop(key, None)
        if former is not None:
            self.bytes -= former.size
            del self._put_s[key]
