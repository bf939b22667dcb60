"""One moment of a shard: the newest segment's transaction, and the earlier segments that its catalogue names."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.catalogue import NOTHING, Contents
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.filtering import ALL, Only, both, conditions, mentioned, named
from sluice.storage.embedded.idle_readers import IdleReaders
from sluice.storage.embedded.open import newest_segment
from sluice.storage.embedded.segment_reader import SegmentReader
from sluice.storage.embedded.walking import Found, Part, Window, page_of, windows_of
from sluice.storage.ports import Extremes, LogPage, LogQuery
from sluice.values.ids import number_of
from sluice.values.log import LogEntry

LARGEST_KEY: Final = (1 << 63) - 1


class SegmentGone(Exception):
    """A segment was sealed or removed since the catalogue was read: it has to be read again."""


@contextmanager
def moment_of(folder: Path, idle: IdleReaders, deadline_s: float, timeout_s: float) -> Iterator["ShardMoment | None"]:
    """All that is read of the moment is of the same time; None where there is no shard. Raises SegmentGone."""
    newest = newest_segment(folder)
    if not newest:
        if _has_files(folder):
            raise SegmentGone
        yield None
        return
    moment = ShardMoment(folder, idle, deadline_s, timeout_s)
    try:
        moment.begin(newest)
        yield moment
    except BaseException:
        moment.abandon()
        raise
    moment.end()


class ShardMoment:
    """Earlier segments take no logs, so it does not matter that each is opened only when it is needed."""

    def __init__(self, folder: Path, idle: IdleReaders, deadline_s: float, timeout_s: float) -> None:
        self._folder, self._idle, self._deadline_s, self._timeout_s = folder, idle, deadline_s, timeout_s
        self._open: dict[int, SegmentReader] = {}
        self._contents: list[Contents] = []

    def begin(self, newest: int) -> None:
        active = Contents(newest, *[0] * 8)
        self._contents = self._reader(active).catalogue(newest)

    @property
    def contents(self) -> Sequence[Contents]:
        """What each segment holds, the newest one last."""
        return self._contents

    def reader(self, contents: Contents) -> SegmentReader:
        """A segment's, within the moment. Raises SegmentGone."""
        return self._reader(contents)

    def page(self, query: LogQuery) -> LogPage:
        """What the time allows: first the page, then how many logs there are, for which a quarter of it is left."""
        until_s = self._deadline_s
        self._set_deadline(until_s - self._timeout_s / 4)
        parts = self._parts(query)
        offset = (query.page - 1) * query.per_page
        if not 0 <= offset < sum(part.contents.live for part in parts):
            return LogPage([], *self._total(parts, query, until_s))
        found, complete = self._found(parts, query, offset)
        self._set_deadline(until_s)
        entries = [entry for key, part in found if (entry := part.reader().entry(key))]
        goes_on = query.order_by == "created_at" and (len(found) == query.per_page or (bool(found) and not complete))
        return LogPage(entries, *self._total(parts, query, until_s), found[-1][0] if goes_on else None, complete)

    def windows(self, query: LogQuery) -> Iterator[Window]:
        """All that fit behind the query's cursor, in the order of their keys.

        The first window has all the time it needs, so that whoever goes on from its cursor comes to an end.
        """
        deadline_s = self._deadline_s
        self._set_deadline(math.inf)
        parts = self._parts(query)
        for window in windows_of(parts, query) if parts else ():
            yield window
            self._set_deadline(deadline_s)

    def ids(self, query: LogQuery) -> list[str]:
        """All of the page, or apsw.InterruptError."""
        parts = self._parts(query)
        if not parts:
            return []
        return [part.reader().id(key) for key, part in page_of(parts, query, (query.page - 1) * query.per_page)]

    def extremes(self, query: LogQuery) -> Extremes:
        """All of them, or, where the time is up, none."""
        ends: list[int | None] = []
        try:
            for part in self._parts(query):
                row = part.reader().extremes(part.contents.floor, part.only)
                ends = [_further(place, *pair) for place, pair in enumerate(zip(ends or row, row, strict=True))]
        except apsw.InterruptError:
            return Extremes()
        return Extremes(*ends)

    def _parts(self, query: LogQuery) -> list[Part]:
        wanted = conditions(query.filters)
        if query.search:
            wanted = both(wanted, self._searched(query.search))
        return [self._part(contents, wanted) for contents in self._contents if contents.live]

    def _searched(self, text: str) -> Only:
        """An id finds what bears it, at once; else all metadata is looked through."""
        by_id = named(text)
        known = any(self._reader(held).any(held.floor, by_id) for held in reversed(self._contents) if held.live)
        return by_id if known else mentioned(text)

    def _found(self, parts: Sequence[Part], query: LogQuery, offset: int) -> tuple[list[Found], bool]:
        """The page, or as much of it as was found in time."""
        found: list[Found] = []
        try:
            for each in page_of(parts, query, offset):
                found.append(each)
        except apsw.InterruptError:
            return found, False
        return found, True

    def _total(self, parts: Sequence[Part], query: LogQuery, until_s: float) -> tuple[int, bool]:
        """How many there are in all; where the time is up, how many were found by then."""
        total = 0
        if not query.count:
            return total, False
        self._set_deadline(until_s)
        try:
            for part in parts:
                total += part.count(NOTHING, LARGEST_KEY)
        except apsw.InterruptError:
            return total, False
        return total, True

    def _set_deadline(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        for reader in self._open.values():
            reader.set_deadline(deadline_s)

    def entry(self, log_id: str) -> LogEntry | None:
        if (found := self.find(log_id)) is None:
            return None
        key, part = found
        return part.reader().entry(key)

    def find(self, log_id: str) -> Found | None:
        """The key of a log with its segment."""
        try:
            key = number_of(log_id) >> 59
        except ValueError:
            return None
        for contents in reversed(self._contents):
            if contents.live and contents.reaches(key - 1, key + PROBES - 1):
                part = self._part(contents)
                found = part.reader().find(log_id, contents.floor)
                if found is not None:
                    return found, part
        return None

    def tail(self, after: int, limit: int, up_to: int) -> tuple[list[LogEntry], int]:
        if after < 0:
            after = self._before_last(-after)
        entries: list[LogEntry] = []
        for contents in self._contents:
            room, end = limit - len(entries), min(contents.arrived, up_to)
            if room and end > after:
                some, after = self._reader(contents).tail(after, end, contents.floor, room)
                entries += some
                if len(some) < room:
                    after = end  # what is left of it was removed
        return entries, after

    def synced(self) -> int:
        return self._reader(self._contents[-1]).synced()

    def _before_last(self, count: int) -> int:
        """The ingest sequence past which there are so many logs; 0 where there are fewer. Deleted ones left gaps."""
        for contents in reversed(self._contents):
            if contents.live > count:
                return self._reader(contents).before_last(count, contents.floor)
            count -= contents.live
        return 0

    def end(self) -> None:
        while self._open:
            _, reader = self._open.popitem()
            reader.end()
            self._idle.give_back(reader)

    def abandon(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _part(self, contents: Contents, wanted: Only = ALL) -> Part:
        total = contents.live if wanted is ALL else None
        return Part(contents, lambda: self._reader(contents), wanted, total)

    def _reader(self, contents: Contents) -> SegmentReader:
        reader = self._open.get(contents.number)
        if reader is None:
            reader = self._idle.take(contents.path(self._folder))
            if reader is None:
                raise SegmentGone
            self._open[contents.number] = reader
            reader.begin(self._deadline_s)
        return reader


def _further(place: int, one: int | None, other: int | None) -> int | None:
    """Least and most stand in turn."""
    if one is None or other is None:
        return one if other is None else other
    return max(one, other) if place % 2 else min(one, other)


def _has_files(folder: Path) -> bool:
    """Whether segments lie there, the newest of which was made while the folder was being read."""
    return next(folder.glob("[0-9]*"), None) is not None
