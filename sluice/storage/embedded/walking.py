"""Walks the logs of many segments as if they were one, by key, by a column or by a number. Key ranges may overlap.

A segment is opened only when the walk comes to it. What a page skips is counted rather than passed: whole segments by
their catalogue, parts of them by SQLite.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Final, NamedTuple, cast, get_args

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.filtering import ALL, Only, both
from sluice.storage.embedded.segment_reader import SegmentReader, only
from sluice.storage.embedded.value_counts import SortValue
from sluice.storage.ports import LogQuery, NumberOrder

NEAR: Final = 1_000
"""Logs that are passed one by one: up to so many that costs no more than counting."""
FEW: Final = 20_000
"""So many still cost less than to look for a place between two segments that overlap as a whole."""
FIRST_WINDOW: Final = 1_000
"""Logs of a segment, whether they fit or not: 1 ms to look at by their columns, some 10 ms by their details."""
LARGEST_WINDOW: Final = 64_000

NUMBER_ORDERS: Final[frozenset[str]] = frozenset(get_args(NumberOrder))


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a walk, or those of its logs that the walk is about."""

    contents: Contents
    reader: Callable[[], SegmentReader]
    only: Only = ALL
    total: int | None = None
    """How many logs these are, where it is known."""

    def count(self, above: int, up_to: int) -> int:
        """How many of its logs have keys within these. Where all are known, the smaller side is counted."""
        held = self.contents
        above, up_to = max(above, held.floor, held.first_key - 1), min(up_to, held.last_key)
        if up_to <= above:
            return 0
        if self.total is None or (up_to - above) * 2 < held.last_key - held.first_key:
            return self.reader().count(above, up_to, self.only)
        outside = [(max(held.floor, held.first_key - 1), above), (up_to, held.last_key)]
        return self.total - sum(self.reader().count(*side, self.only) for side in outside if side[0] < side[1])

    def keys(self, above: int, up_to: int, *, descending: bool, skip: int = 0) -> Iterator[int]:
        above = max(above, self.contents.floor)
        return self.reader().keys(above, up_to, descending=descending, skip=skip, only=self.only)

    def numbered(self, order_by: NumberOrder, *, descending: bool, most: int) -> Iterator["Numbered"]:
        found = self.reader().numbered(order_by, self.contents.floor, self.only, descending=descending, most=most)
        return ((number, key, self) for number, key in found)


Found = tuple[int, Part]
Numbered = tuple[int | None, int, Part]


class Window(NamedTuple):
    """A piece of a walk that holds few logs, whether they fit or not: so it ends even where hardly one fits."""

    found: Iterator[Found]
    cursor: int
    """Which goes on behind it."""


def page_of(parts: Sequence[Part], query: LogQuery, offset: int) -> Iterator[Found]:
    """The keys of one page, each with its segment."""
    if query.order_by == "created_at":
        walk = _by_time(parts, query, offset)
    elif query.order_by in NUMBER_ORDERS:
        walk = _by_number(parts, cast(NumberOrder, query.order_by), offset, query)
    else:
        walk = _by_column(parts, query, offset)
    return islice(walk, query.per_page)


def windows_of(parts: Sequence[Part], query: LogQuery) -> Iterator[Window]:
    """All that fit behind the query's cursor, in the order of their keys. The first window is small, others grow."""
    above, up_to = _behind_cursor(parts, query)
    size = FIRST_WINDOW
    while above < up_to:
        low, high = _window(parts, above, up_to, size, descending=query.descending)
        within = [part for part in parts if part.contents.reaches(low, high)]
        cursor = low + 1 if query.descending else high
        yield Window(_merged(within, low, high, descending=query.descending), cursor)
        above, up_to = (above, low) if query.descending else (high, up_to)
        size = min(2 * size, LARGEST_WINDOW)


def _window(parts: Sequence[Part], low: int, high: int, size: int, *, descending: bool) -> tuple[int, int]:
    """The beginning of a range, with so many logs of a segment at most, and within the segment that comes first."""
    for part in sorted(parts, key=_first_in_walk(descending=descending)):
        held = part.contents
        if held.reaches(low, high):
            keys = part.reader().keys(max(low, held.floor), high, descending=descending, skip=size)
            key = next(keys, None)
            if descending:
                low = max(low, held.first_key - 1) if key is None else key
            else:
                high = min(high, held.last_key) if key is None else key - 1
    return low, high


def _by_time(parts: Sequence[Part], query: LogQuery, offset: int) -> Iterator[Found]:
    return _by_key(parts, *_behind_cursor(parts, query), offset, descending=query.descending)


def _behind_cursor(parts: Sequence[Part], query: LogQuery) -> tuple[int, int]:
    above, up_to = _range(parts)
    if query.cursor is not None and query.descending:
        up_to = min(up_to, query.cursor - 1)
    elif query.cursor is not None:
        above = max(above, query.cursor)
    return above, up_to


def _by_number(parts: Sequence[Part], order_by: NumberOrder, offset: int, query: LogQuery) -> Iterator[Found]:
    """Each segment tells the first of its logs; what they have of the page is among those."""
    sign = -1 if query.descending else 1
    most = offset + query.per_page

    def place(found: Numbered) -> tuple[int, int, int]:
        number, key, _ = found
        return (0, 0, -key) if number is None else (sign, sign * number, -key)

    first = [part.numbered(order_by, descending=query.descending, most=most) for part in parts]
    return ((key, part) for _, key, part in islice(heapq.merge(*first, key=place), offset, None))


def _by_column(parts: Sequence[Part], query: LogQuery, offset: int) -> Iterator[Found]:
    """Value by value; among equals the newest comes first in either direction."""
    counted = offset > NEAR
    for chosen in _values(parts, query, counted=counted):
        total = sum(part.total or 0 for part in chosen)
        if counted and total <= offset:
            offset -= total
            continue
        walk = _by_key(chosen, *_range(chosen), offset if counted else 0, descending=True)
        if counted:
            offset, counted = 0, False
        for found in walk:
            if offset:
                offset -= 1
            else:
                yield found


def _values(parts: Sequence[Part], query: LogQuery, *, counted: bool) -> list[list[Part]]:
    """The logs of each value of the column, in the page's order. To count them reads all there is."""
    order_by = query.order_by
    chosen: dict[SortValue, list[Part]] = {}
    for part in parts:
        reader = part.reader()
        words: dict[SortValue, int] | dict[SortValue, None] = dict.fromkeys(reader.words(order_by))
        if counted:
            words = reader.counts(order_by, part.contents.floor, part.only)
        for value, total in words.items():
            wanted = both(part.only, only(order_by, value))
            chosen.setdefault(value, []).append(replace(part, only=wanted, total=total))
    values = sorted(chosen, key=lambda value: (value is not None, str(value)), reverse=query.descending)
    return [chosen[value] for value in values]


def _range(parts: Sequence[Part]) -> tuple[int, int]:
    """Below and at the ends of all keys."""
    return min(part.contents.first_key for part in parts) - 1, max(part.contents.last_key for part in parts)


def _by_key(parts: Sequence[Part], above: int, up_to: int, offset: int, *, descending: bool) -> Iterator[Found]:
    above, up_to, skip = _approach(parts, above, up_to, offset, descending=descending)
    within = [part for part in parts if part.contents.reaches(above, up_to)]
    return islice(_merged(within, above, up_to, descending=descending), skip, None)


def _approach(parts: Sequence[Part], above: int, up_to: int, offset: int, *, descending: bool) -> tuple[int, int, int]:
    """Where the walk may begin instead, and how many logs are to be passed from there."""
    if offset > NEAR:
        for zone in _zones(parts, above, up_to, descending=descending):
            within = [part for part in parts if part.contents.reaches(*zone)]
            count = sum(part.count(*zone) for part in within)
            if count > offset:
                low, high, offset = _into(within, *zone, offset, descending=descending)
                return (above, high, offset) if descending else (low, up_to, offset)
            offset -= count
    return above, up_to, offset


def _zones(parts: Sequence[Part], above: int, up_to: int, *, descending: bool) -> Iterator[tuple[int, int]]:
    """The range in the direction of the walk, cut where a segment begins: what lies before is of those before it."""
    reached = [part.contents for part in parts if part.contents.reaches(above, up_to)]
    if descending:
        cuts = sorted({min(held.last_key, up_to) for held in reached} | {above}, reverse=True)
        return ((low, high) for high, low in pairwise(cuts))
    return pairwise(sorted({max(held.first_key - 1, above) for held in reached} | {up_to}))


def _into(parts: Sequence[Part], low: int, high: int, offset: int, *, descending: bool) -> tuple[int, int, int]:
    """The same inside a zone, where most logs are of one segment and a few late ones of others, or all overlap."""
    counts = {part.contents.number: part.count(low, high) for part in parts}
    *others, largest = sorted(parts, key=lambda part: counts[part.contents.number])
    few = sum(counts[part.contents.number] for part in others)
    if few > FEW:
        return _halved(parts, low, high, offset, descending=descending)
    if offset > max(few, NEAR):
        for key in islice(largest.keys(low, high, descending=descending, skip=offset - few), 1):
            passed = (key, high) if descending else (low, key - 1)
            low, high = (low, key) if descending else (key - 1, high)
            offset = few - sum(part.count(*passed) for part in others)
    return low, high, offset


def _halved(parts: Sequence[Part], low: int, high: int, offset: int, *, descending: bool) -> tuple[int, int, int]:
    """Halves a range until little is to be passed; each half is counted."""
    while offset > NEAR and high - low > 1:
        middle = (low + high) // 2
        nearer = (middle, high) if descending else (low, middle)
        count = sum(part.count(*nearer) for part in parts)
        if (count <= offset) == descending:
            high = middle
        else:
            low = middle
        if count <= offset:
            offset -= count
    return low, high, offset


def _merged(parts: Sequence[Part], above: int, up_to: int, *, descending: bool) -> Iterator[Found]:
    """All keys within the bounds in their order."""
    sign, nearest = -1 if descending else 1, _first_in_walk(descending=descending)
    waiting = sorted(parts, key=nearest, reverse=True)
    begun: list[tuple[int, int, Part, Iterator[int]]] = []  # numbers are unique: parts are never compared
    while waiting or begun:
        while waiting and (not begun or nearest(waiting[-1]) <= begun[0][0]):
            part = waiting.pop()
            keys = part.keys(above, up_to, descending=descending)
            for key in islice(keys, 1):
                heapq.heappush(begun, (sign * key, part.contents.number, part, keys))
        if begun:
            place, number, part, keys = begun[0]
            yield sign * place, part
            following = next(keys, None)
            if following is None:
                heapq.heappop(begun)
            else:
                heapq.heapreplace(begun, (sign * following, number, part, keys))


def _first_in_walk(*, descending: bool) -> Callable[[Part], int]:
    """By which segments come in the order in which a walk reaches them."""
    return lambda part: -part.contents.last_key if descending else part.contents.first_key
