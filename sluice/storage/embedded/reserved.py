"""Money set aside for calls that run, by the cell of time in which that ends. Pure, as cells.py is."""

from typing import Final

CELL_US: Final = 15_000_000
LASTS: Final = 60
"""Cells: a call that is not settled after 15 minutes was lost with its worker, or counts when it is."""
LASTS_US: Final = LASTS * CELL_US
FIRST: Final = 0
"""The cell before which all has ended."""
RING: Final = 1
_RING: Final = 64
WORDS: Final = RING + _RING
LARGEST: Final = 1 << 62


class Reserved:
    """The sum of what is set aside."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: memoryview, at: int) -> None:
        self._words, self._at = words, at

    def sum(self, now_us: int) -> int:
        self._advance(now_us)
        return sum(self._words[self._at + RING : self._at + WORDS])

    def add(self, amount: int, now_us: int) -> int:
        """Sets it aside; returns the cell in which it ends."""
        until = self._advance(now_us) + LASTS
        place = self._at + RING + until % _RING
        self._words[place] = min(self._words[place] + amount, LARGEST)
        return until

    def remove(self, amount: int, until: int, now_us: int) -> None:
        """Gives back what was to end in that cell, unless it has."""
        first = self._advance(now_us)
        if first <= until <= first + LASTS:
            place = self._at + RING + until % _RING
            self._words[place] = max(self._words[place] - amount, 0)

    def _advance(self, now_us: int) -> int:
        words, at = self._words, self._at
        cell, first = now_us // CELL_US, words[at + FIRST]
        if cell == first or first - LASTS <= cell < first:
            return first
        ended = range(first, min(cell, first + _RING)) if cell > first else range(_RING)
        for stale in ended:
            words[at + RING + stale % _RING] = 0
        words[at + FIRST] = cell
        return cell
