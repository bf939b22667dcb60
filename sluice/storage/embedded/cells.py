"""Amounts by cells of time, and their sum over a window: fixed windows, and sliding ones that are too large for stamps.

Pure: the words and the time are handed in. Each cell is one word of a ring, each change of a word one machine store,
and the stores are in such an order that a process killed between two of them leaves a sum that is right or too high,
and that is right again with the next cell.
"""

from typing import Final

from sluice.values.limits import Permit

LATEST: Final = 0
"""The cell up to which the ring is right."""
TOTAL: Final = 1
"""The sum over the window that ends with it."""
OLDEST: Final = 2
"""The first cell in it that is not 0, where the sum is not."""
RING: Final = 3
LARGEST: Final = 1 << 62
"""What a word holds; sums past it are as good as it."""


def words_for(span: int) -> int:
    """How many words a window of so many cells takes."""
    return RING + span + 2


class Cells:
    """A window of `span` cells of `width_us` each in `words`, from `at` on.

    A sliding window counts a cell until its last moment has left: a permit returns up to a cell late, never early. A
    fixed window is the cells since the last multiple of the window since the epoch.
    """

    __slots__ = ("_at", "_ring", "_sliding", "_span", "_width_us", "_words")

    def __init__(self, words: memoryview, at: int, span: int, width_us: int, *, sliding: bool) -> None:
        self._words, self._at, self._span, self._width_us, self._sliding = words, at, span, width_us, sliding
        self._ring = span + 2

    def take(self, limit: int, now_us: int) -> Permit:
        """Counts one request, if there is room for it."""
        words, at = self._words, self._at
        cell = self.advance(now_us)
        total = words[at + TOTAL]
        allowed = total < limit
        if allowed:
            if total == 0:
                words[at + OLDEST] = cell
            total += 1
            words[at + TOTAL] = total
            words[at + RING + cell % self._ring] += 1
        first = cell // self._span * self._span
        if self._sliding:
            first = words[at + OLDEST] + 1 if allowed else self._room_after(total - limit + 1)
        reset_us = (first + self._span) * self._width_us - now_us
        return Permit(allowed, limit, max(limit - total, 0), max(reset_us, 0))

    def _room_after(self, count: int) -> int:
        """The cell behind the one with which the last of so many, the oldest, leave the window."""
        words, at = self._words, self._at
        cell = words[at + OLDEST]
        while (count := count - words[at + RING + cell % self._ring]) > 0 and cell < words[at + LATEST]:
            cell += 1
        return cell + 1

    def sum(self, now_us: int) -> int:
        """What is in the window, added up anew, for the technique may be another than it was."""
        self._tell_sum(self.advance(now_us))
        return self._words[self._at + TOTAL]

    def advance(self, now_us: int) -> int:
        """Brings the sum up to this time; returns the cell that it falls into.

        Where a clock was set back by up to a window, time stands still until it has caught up; by more, all begins
        anew.
        """
        words, at = self._words, self._at
        cell, latest = now_us // self._width_us, words[at + LATEST]
        if cell == latest or latest - self._span <= cell < latest:
            return latest
        start = max(latest + 1, cell - self._ring + 1) if cell > latest else cell - self._ring + 1
        for stale in range(start, cell + 1):
            words[at + RING + stale % self._ring] = 0
        self._tell_sum(cell)
        words[at + LATEST] = cell
        return cell

    def replace(self, amounts: dict[int, int], now_us: int) -> None:
        """Sets all cells of the window to these, by their number; what has a later one counts as of now."""
        words, at = self._words, self._at
        cell = self.advance(now_us)
        later = sum(amount for number, amount in amounts.items() if number > cell)
        for live in range(cell - self._span, cell + 1):
            amount = amounts.get(live, 0) + (later if live == cell else 0)
            words[at + RING + live % self._ring] = min(amount, LARGEST)
        self._tell_sum(cell)

    def amounts(self) -> dict[int, int]:
        """All that is in the ring, by cell, as far back as a sliding window reaches."""
        words, at = self._words, self._at
        latest = words[at + LATEST]
        cells = range(latest - self._span, latest + 1)
        return {cell: amount for cell in cells if (amount := words[at + RING + cell % self._ring])}

    def _tell_sum(self, cell: int) -> None:
        words, at, ring = self._words, self._at, self._ring
        first = cell - self._span if self._sliding else cell // self._span * self._span
        start, stop = first % ring, cell % ring + 1
        if start < stop:
            live = words[at + RING + start : at + RING + stop].tolist()
        else:
            whole = words[at + RING : at + RING + ring].tolist()
            live = whole[start:] + whole[:stop]
        words[at + TOTAL] = min(sum(live), LARGEST)
        words[at + OLDEST] = next((first + place for place, amount in enumerate(live) if amount), cell)


def rebinned(amounts: dict[int, int], old_us: int, new_us: int) -> dict[int, int]:
    """Amounts by cells of another width: each goes into the cell that its own cell's last moment falls into."""
    found: dict[int, int] = {}
    for cell, amount in amounts.items():
        there = ((cell + 1) * old_us - 1) // new_us
        found[there] = found.get(there, 0) + amount
    return found
