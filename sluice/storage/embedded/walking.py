"""Walks the logs of many segments as if they were one, by key or by a column. Their key ranges may overlap.

A segment is opened only when the walk comes to it.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.segment_reader import SegmentReader
from sluice.storage.ports import LogQuery

NEAR: Final = 1_000
"""Logs that are passed one by one: up to so many that costs no more than counting."""


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a walk."""

    contents: Contents
    reader: Callable[[], SegmentReader]

    def count(self, above: int, up_to: int) -> int:
        """How many of its logs have keys within these; counted only where it lies across a border."""
        held = self.contents
        above = max(above, held.floor)
        if held.last_key <= above or held.first_key > up_to:
            return 0
        if held.last_key <= up_to and max(held.first_key - 1, held.floor) >= above:
            return held.live
        return self.reader().count(above, up_to)


Found = tuple[int, Part]


def page_of(parts: Sequence[Part], query: LogQuery, offset: int) -> list[Found]:
    """The keys of one page, each with its segment."""
    walk = _by_key(parts, query, offset) if query.order_by == "created_at" else _by_column(parts, query, offset)
    return list(islice(walk, query.per_page))


def _by_key(parts: Sequence[Part], query: LogQuery, offset: int) -> Iterator[Found]:
    lowest = min(part.contents.first_key for part in parts) - 1
    highest = max(part.contents.last_key for part in parts)
    if query.cursor is not None and query.descending:
        highest = min(highest, query.cursor - 1)
    elif query.cursor is not None:
        lowest = max(lowest, query.cursor)
    above, up_to, skip = _approach(parts, lowest, highest, offset, descending=query.descending)
    within = [part for part in parts if part.contents.reaches(above, up_to)]
    return islice(_merged(within, above, up_to, descending=query.descending), skip, None)


def _approach(parts: Sequence[Part], above: int, up_to: int, offset: int, *, descending: bool) -> tuple[int, int, int]:
    """Where the walk may begin instead, and how many logs are to be passed from there.

    What has to be skipped is halved until it lies in one segment. Each half is counted, which reads only the segments
    that lie across its border.
    """
    low, high = above, up_to
    while offset > NEAR and high - low > 1:
        within = [part for part in parts if part.contents.reaches(low, high)]
        if len(within) == 1:
            for key in islice(_keys(within[0], low, high, descending=descending, skip=offset), 1):
                low, high, offset = key - 1, key, 0
            break
        middle = (low + high) // 2
        nearer = (middle, high) if descending else (low, middle)
        count = sum(part.count(*nearer) for part in parts)
        if (count <= offset) == descending:
            high = middle
        else:
            low = middle
        if count <= offset:
            offset -= count
    return (above, high, offset) if descending else (low, up_to, offset)


def _keys(part: Part, above: int, up_to: int, *, descending: bool, skip: int = 0) -> Iterator[int]:
    return part.reader().keys(max(above, part.contents.floor), up_to, descending=descending, skip=skip)


def _merged(parts: Sequence[Part], above: int, up_to: int, *, descending: bool) -> Iterator[Found]:
    """All keys within the bounds in their order."""
    sign = -1 if descending else 1

    def nearest(part: Part) -> int:
        return -part.contents.last_key if descending else part.contents.first_key

    waiting = sorted(parts, key=nearest, reverse=True)
    begun: list[tuple[int, int, Part, Iterator[int]]] = []  # numbers are unique: parts are never compared
    while waiting or begun:
        while waiting and (not begun or nearest(waiting[-1]) <= begun[0][0]):
            part = waiting.pop()
            keys = _keys(part, above, up_to, descending=descending)
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


def _by_column(parts: Sequence[Part], query: LogQuery, offset: int) -> Iterator[Found]:
    """In the order of a column; among equals the newest comes first in either direction."""
    limit, sign = offset + query.per_page, 1 if query.descending else -1

    def places(part: Part) -> Iterator[tuple[str, int, Part]]:
        rows = part.reader().sorted(query.order_by, part.contents.floor, descending=query.descending, limit=limit)
        return (("" if value is None else f"={value}", sign * key, part) for value, key in rows)

    merged = heapq.merge(*map(places, parts), key=lambda place: place[:2], reverse=query.descending)
    return ((sign * key, part) for _, key, part in islice(merged, offset, None))
