"""One moment of a shard: the newest segment's transaction, and the earlier segments that its catalogue names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.idle_readers import IdleReaders
from sluice.storage.embedded.open import newest_segment
from sluice.storage.embedded.segment_reader import SegmentReader
from sluice.storage.embedded.walking import Found, Part, page_of
from sluice.storage.ports import LogPage, LogQuery
from sluice.values.ids import number_of
from sluice.values.log import LogEntry


class SegmentGone(Exception):
    """A segment was sealed or removed since the catalogue was read: it has to be read again."""


@contextmanager
def moment_of(folder: Path, idle: IdleReaders, deadline_s: float) -> Iterator["ShardMoment | None"]:
    """All that is read of the moment is of the same time; None where there is no shard. Raises SegmentGone."""
    newest = newest_segment(folder)
    if not newest:
        if _has_files(folder):
            raise SegmentGone
        yield None
        return
    moment = ShardMoment(folder, idle, deadline_s)
    try:
        moment.begin(newest)
        yield moment
    except BaseException:
        moment.abandon()
        raise
    moment.end()


class ShardMoment:
    """Earlier segments take no logs, so it does not matter that each is opened only when it is needed."""

    def __init__(self, folder: Path, idle: IdleReaders, deadline_s: float) -> None:
        self._folder, self._idle, self._deadline_s = folder, idle, deadline_s
        self._open: dict[int, SegmentReader] = {}
        self._contents: list[Contents] = []

    def begin(self, newest: int) -> None:
        active = Contents(newest, *[0] * 8)
        self._contents = self._reader(active).catalogue(newest)

    def page(self, query: LogQuery) -> LogPage:
        parts = [self._part(contents) for contents in self._contents if contents.live]
        total = sum(part.contents.live for part in parts)
        offset = (query.page - 1) * query.per_page
        if not 0 <= offset < total:
            return LogPage([], total, True)
        found = page_of(parts, query, offset)
        entries = [entry for key, part in found if (entry := part.reader().entry(key))]
        goes_on = query.order_by == "created_at" and len(found) == query.per_page
        return LogPage(entries, total, True, found[-1][0] if goes_on else None)

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

    def tail(self, after: int, limit: int) -> tuple[list[LogEntry], int]:
        if after < 0:
            after = max(self._contents[-1].arrived + after, 0)
        entries: list[LogEntry] = []
        for contents in self._contents:
            room = limit - len(entries)
            if room and contents.arrived > after:
                some, after = self._reader(contents).tail(after, contents.floor, room)
                entries += some
                if len(some) < room:
                    after = contents.arrived  # what is left of it was removed
        return entries, after

    def end(self) -> None:
        while self._open:
            _, reader = self._open.popitem()
            reader.end()
            self._idle.give_back(reader)

    def abandon(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _part(self, contents: Contents) -> Part:
        return Part(contents, lambda: self._reader(contents), total=contents.live)

    def _reader(self, contents: Contents) -> SegmentReader:
        reader = self._open.get(contents.number)
        if reader is None:
            reader = self._idle.take(contents.path(self._folder))
            if reader is None:
                raise SegmentGone
            self._open[contents.number] = reader
            reader.begin(self._deadline_s)
        return reader


def _has_files(folder: Path) -> bool:
    """Whether segments lie there, the newest of which was made while the folder was being read."""
    return next(folder.glob("[0-9]*"), None) is not None
