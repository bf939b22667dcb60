"""The embedded backend of AnalyticsReader: hours and days of folded segments, minutes and hours of the others.

The catalogue is read first, stats.db after it. A segment is folded before it leaves the catalogue. So each segment of
that catalogue is either folded by then, and counted from stats.db alone, or has its own hours; and what the catalogue
no longer names is in stats.db.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.folding import open_stats_readonly
from sluice.storage.embedded.idle_readers import IdleReaders
from sluice.storage.embedded.moment import SegmentGone, ShardMoment, moment_of
from sluice.storage.embedded.open import shard_folder, store_faults
from sluice.storage.embedded.rollups import MINUTE_MS, read_series, read_sums
from sluice.storage.embedded.spans import Span, Spans, spans_of
from sluice.storage.embedded.tally import Tally
from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey
from sluice.values.rollup import Rollup, RollupQuery

_TRIES: Final = 10
"""How often a shard is looked at anew whose segments are sealed or removed just then."""
_STEPS_PER_LOOK: Final = 2_000
_UNIT_MS: Final = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": 24 * 60 * MINUTE_MS}


class EmbeddedAnalyticsReader:
    """Reads the shards below `root`. Threads may share it."""

    def __init__(self, root: Path, *, query_timeout_s: float = 1.0) -> None:
        self._root = root
        self._timeout_s = query_timeout_s
        self._idle = IdleReaders()

    def groups(self, shards: Mapping[str, ShardKey], query: RollupQuery) -> Rollup:
        deadline_s = time.monotonic() + self._timeout_s
        whole, edges, complete = Tally(query), spans_of("none", query.from_ms, query.to_ms, 0).edges, True
        for name, shard in shards.items():
            if time.monotonic() > deadline_s:
                complete = False
                break
            counting = self._count(name, shard, query, deadline_s)
            whole.add_all(counting.tally)
            edges = min(edges[0], counting.edges[0]), max(edges[1], counting.edges[1])
            complete = counting.complete
            if not complete:
                break
        return Rollup(whole.groups(), edges[0] * MINUTE_MS, edges[1] * MINUTE_MS, complete)

    def close(self) -> None:
        self._idle.close()

    def _count(self, name: str, shard: ShardKey, query: RollupQuery, deadline_s: float) -> "_Counting":
        folder = shard_folder(self._root, shard)
        for _ in range(_TRIES):
            counting = _Counting(name, query)
            try:
                with (
                    store_faults("reading roll-ups"),
                    moment_of(folder, self._idle, deadline_s, self._timeout_s) as moment,
                ):
                    if moment is not None:
                        counting.count(folder, moment, deadline_s)
                return counting
            except SegmentGone:
                continue
            except StoreFault as fault:
                if not isinstance(fault.__cause__, apsw.InterruptError):
                    raise
                counting.complete = False
                return counting
        raise StoreFault(f"a segment of {folder.name} is missing")


class _Counting:
    """The count of one shard."""

    def __init__(self, name: str, query: RollupQuery) -> None:
        self._name, self._query = name, query
        self.tally = Tally(query)
        self.edges: Span = spans_of("none", query.from_ms, query.to_ms, 0).edges
        self.complete = True

    def count(self, folder: Path, moment: ShardMoment, deadline_s: float) -> None:
        """As far as the time allows."""
        with ExitStack() as stack:
            stats = open_stats_readonly(folder)
            folded: dict[int, int] = {}
            try:
                if stats:
                    stack.enter_context(closing(stats))
                    stats.set_progress_handler(lambda: time.monotonic() > deadline_s, _STEPS_PER_LOOK)
                    stats.execute("BEGIN")
                    folded = dict(iter(stats.execute("SELECT segment, last FROM folded")))
                spans = self._spans(folded, moment)
                if stats:
                    self._count_folded(stats, spans)
                for held in moment.contents:
                    self._count_segment(moment, held, spans, folded.get(held.number))
            except apsw.InterruptError:
                self.complete = False

    def _spans(self, folded: Mapping[int, int], moment: ShardMoment) -> Spans:
        present = {held.number for held in moment.contents}
        gone = [last for number, last in folded.items() if number not in present]
        spans = spans_of(self._query.step, self._query.from_ms, self._query.to_ms, max(gone, default=-1) + 1)
        self.edges = spans.edges
        return spans

    def _count_folded(self, stats: apsw.Connection, spans: Spans) -> None:
        for span in spans.folded_hours:
            self._add(stats, "hour", span)
        self._add(stats, "day", spans.folded_days)

    def _count_segment(self, moment: ShardMoment, held: Contents, spans: Spans, last: int | None) -> None:
        """`last`: the last minute in it, where it is folded."""
        wanted = [("minute", span) for span in spans.minutes if last is None or last >= span[0]]
        if last is None:
            wanted.append(("hour", spans.hours))
        wanted = [(table, span) for table, span in wanted if span[0] < span[1]]
        if wanted and (db := moment.reader(held).rollups()):
            for table, span in wanted:
                self._add(db, table, span)

    def _add(self, db: apsw.Connection, table: str, span: Span) -> None:
        if span[0] < span[1]:
            key = self._query.metadata_key
            self.tally.add(self._name, read_series(db, key), read_sums(db, table, key, *span), _UNIT_MS[table])
