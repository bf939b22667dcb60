"""The times of the last requests: a sliding window that is exact to the microsecond. Pure, as cells.py is."""

from typing import Final

from sluice.values.limits import Permit

MOST: Final = 1000
"""The largest limit that is counted so; past it cells do."""
HEAD: Final = 0
"""How many stamps there have been."""
RING: Final = 1
_RING: Final = 1024
WORDS: Final = RING + _RING


class Stamps:
    """Allows a request where the one `limit` requests before it is at least an interval old.

    A process killed between its two stores leaves a stamp that nobody reads.
    """

    __slots__ = ("_at", "_interval_us", "_words")

    def __init__(self, words: memoryview, at: int, interval_us: int) -> None:
        self._words, self._at, self._interval_us = words, at, interval_us

    def take(self, limit: int, now_us: int) -> Permit:
        """Counts one request, if there is room for it."""
        words, at, interval_us = self._words, self._at, self._interval_us
        head = words[at + HEAD]
        if head:
            newest_us = words[at + RING + (head - 1) % _RING]
            if newest_us - now_us > interval_us:  # the clock was set back by far: all begins anew
                head = words[at + HEAD] = 0
            elif newest_us > now_us:
                now_us = newest_us
        allowed = head < limit or now_us - words[at + RING + (head - limit) % _RING] >= interval_us
        if allowed:
            words[at + RING + head % _RING] = now_us
            words[at + HEAD] = head = head + 1
        first = self._first(head, limit, now_us - interval_us)
        oldest_us = words[at + RING + first % _RING] if first < head else now_us - interval_us
        return Permit(allowed, limit, max(limit - (head - first), 0), max(oldest_us + interval_us - now_us, 0))

    def _first(self, head: int, limit: int, left_us: int) -> int:
        """The first of the last `limit` stamps that is after this time; they are in order."""
        words, ring = self._words, self._at + RING
        low, high = max(head - limit, 0), head
        while low < high:
            middle = (low + high) // 2
            if words[ring + middle % _RING] > left_us:
                high = middle
            else:
                low = middle + 1
        return low
