"""The embedded backend of LogReader: read-only connections beside the keeper's, each query under a time budget."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import apsw

from sluice.formats.sought import Sought
from sluice.storage.embedded.away import AwayBodies
from sluice.storage.embedded.body_search import BodySearch
from sluice.storage.embedded.idle_readers import IdleReaders
from sluice.storage.embedded.moment import SegmentGone, ShardMoment, moment_of
from sluice.storage.embedded.open import segment_name, shard_folder, store_faults
from sluice.storage.embedded.pack_reader import Window, dictionary_of, read_body, read_head
from sluice.storage.embedded.packs import NOWHERE, Place, pack_path
from sluice.storage.ports import (
    LAST_ARRIVAL,
    Extremes,
    LogPage,
    LogQuery,
    Matches,
    ObjectFault,
    Objects,
    Side,
    StoreFault,
)
from sluice.values.log import LogEntry, ShardKey

_TRIES: Final = 10
"""How often a shard is looked at anew whose segments are sealed or removed just then."""

T = TypeVar("T")


class _Stored(NamedTuple):
    segment: str
    place: Place
    dictionary: bytes | None = None


_NOT_STORED: Final = _Stored("", NOWHERE)


class EmbeddedLogReader:
    """Reads the shards below `root`. Threads may share it."""

    def __init__(self, root: Path, *, query_timeout_s: float = 1.0, objects: Objects | None = None) -> None:
        """`objects` is where packs of full segments may lie."""
        self._root = root
        self._timeout_s = query_timeout_s
        self._away = AwayBodies(objects) if objects else None
        self._idle = IdleReaders()

    def page(self, shard: ShardKey, query: LogQuery) -> LogPage:
        return self._ask(shard, lambda moment: moment.page(query), LogPage([], 0, True))

    def ids(self, shard: ShardKey, query: LogQuery, timeout_s: float) -> list[str]:
        nothing: list[str] = []
        return self._ask(shard, lambda moment: moment.ids(query), nothing, timeout_s)

    def extremes(self, shard: ShardKey, query: LogQuery) -> Extremes:
        return self._ask(shard, lambda moment: moment.extremes(query), Extremes())

    def matching(self, shard: ShardKey, query: LogQuery, text: str, timeout_s: float) -> Matches:
        deadline_s, sought = time.monotonic() + timeout_s, Sought(text)

        def fetch(log_id: str, side: Side) -> Iterator[bytes] | None:
            return self.body(shard, log_id, side)

        def look(moment: ShardMoment) -> Matches:
            with closing(BodySearch(shard_folder(self._root, shard), sought, fetch, deadline_s)) as search:
                return search.run(moment, query)

        return self._ask(shard, look, Matches([], None, 0), timeout_s)

    def get(self, shard: ShardKey, log_id: str) -> LogEntry | None:
        return self._ask(shard, lambda moment: moment.entry(log_id), None)

    def body(self, shard: ShardKey, log_id: str, side: Side) -> Iterator[bytes] | None:
        def read(folder: Path, stored: _Stored) -> Iterator[bytes] | None:
            return read_body(folder, stored.segment, stored.place, stored.dictionary, self._open_away)

        return self._read(shard, log_id, side, read)

    def head(self, shard: ShardKey, log_id: str, side: Side, limit: int) -> bytes | None:
        def read(folder: Path, stored: _Stored) -> bytes | None:
            return read_head(folder, stored.segment, stored.place, limit, stored.dictionary, self._open_away)

        return self._read(shard, log_id, side, read)

    def is_kept(self, shard: ShardKey, log_id: str, side: Side) -> bool:
        return self._stored(shard, log_id, side).place.pack is not None

    def tail(self, shard: ShardKey, after: int, limit: int, up_to: int = LAST_ARRIVAL) -> tuple[list[LogEntry], int]:
        nothing: tuple[list[LogEntry], int] = [], max(after, 0)
        return self._ask(shard, lambda moment: moment.tail(after, limit, up_to), nothing)

    def synced(self, shard: ShardKey) -> int:
        return self._ask(shard, lambda moment: moment.synced(), 0)

    def close(self) -> None:
        self._idle.close()

    def _read(self, shard: ShardKey, log_id: str, side: Side, read: Callable[[Path, _Stored], T | None]) -> T | None:
        """What is found where the row says; where a pack was compacted since, the row says something else by now."""
        folder, before = shard_folder(self._root, shard), _NOT_STORED
        while (stored := self._stored(shard, log_id, side)) != before:
            with store_faults("reading a stored body"):
                found = read(folder, stored)
            if found is not None or not stored.place.stored:
                return found
            self._require_reach(shard, log_id, stored.place.pack)
            before = stored
        return None

    def _require_reach(self, shard: ShardKey, log_id: str, pack: int | None) -> None:
        """Raises ObjectFault where the pack lies in a store of objects of which nobody told."""

        def is_away(moment: ShardMoment) -> bool:
            found = moment.find(log_id)
            return found is not None and pack is not None and found[1].reader().is_away(pack)

        if self._away is None and self._ask(shard, is_away, False):
            raise ObjectFault(
                "the body lies in a store of objects, and packs.url is not set: name the server's settings"
                " (SLUICE_CONFIG, or SLUICE_PACKS__URL and the like)"
            )

    def _stored(self, shard: ShardKey, log_id: str, side: Side) -> _Stored:
        folder = shard_folder(self._root, shard)

        def find(moment: ShardMoment) -> _Stored:
            found = moment.find(log_id)
            if found is None:
                return _NOT_STORED
            key, part = found
            segment, place = segment_name(part.contents.number), part.reader().place(key, side)
            number = dictionary_of(folder, segment, place)
            return _Stored(segment, place, part.reader().dictionary(number) if number else None)

        stored = self._ask(shard, find, _NOT_STORED)
        if self._away and stored.place.pack and not pack_path(folder, stored.segment, stored.place.pack).exists():
            return self._stored_away(shard, folder, stored, log_id, self._away)
        return stored

    def _stored_away(self, shard: ShardKey, folder: Path, stored: _Stored, log_id: str, away: AwayBodies) -> _Stored:
        """With the dictionary that the object names; it is asked while no segment is held."""
        number = away.dictionary_of(folder, stored.segment, stored.place)

        def dictionary(moment: ShardMoment) -> bytes | None:
            found = moment.find(log_id)
            return found[1].reader().dictionary(number) if found else None

        return stored._replace(dictionary=self._ask(shard, dictionary, None)) if number else stored

    def _open_away(self, folder: Path, segment: str, place: Place) -> Window | None:
        return self._away.window(folder, segment, place) if self._away else None

    def _ask(
        self, shard: ShardKey, question: Callable[[ShardMoment], T], nothing: T, timeout_s: float | None = None
    ) -> T:
        """The answer from one moment of the shard; `nothing` where there is no shard."""
        folder = shard_folder(self._root, shard)
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_TRIES):
            try:
                with store_faults("reading logs"), moment_of(folder, self._idle, deadline_s, timeout_s) as moment:
                    return nothing if moment is None else question(moment)
            except SegmentGone:
                continue
            except StoreFault as fault:
                if isinstance(fault.__cause__, apsw.InterruptError):
                    raise StoreFault(f"reading logs took longer than {timeout_s} s") from fault
                raise
        raise StoreFault(f"a segment of {folder.name} is missing")
