"""Writes roll-ups: the requests of a batch by minute, hour and series, in the transaction that stores their logs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import apsw

from sluice.storage.embedded.rows import scalar_text
from sluice.storage.embedded.sketch import merged, sketch_of
from sluice.values.log import LogEntry
from sluice.values.rollup import LONGEST_LABEL, OTHER

ROLLUPS_SINCE: Final = 3
"""Segments of older formats have none."""
MINUTE_MS: Final = 60_000
MOST_SERIES: Final = 2_000
MOST_VALUE_SERIES: Final = 1_000
"""Bounds on the series of a segment, and of an hour and a day later: clients choose models and values."""
_LARGEST: Final = 1 << 60
_CEILING: Final = 1 << 62
"""Sums end there: SQLite makes a float of what is past 64 bits, which the columns refuse."""
_IDS_KEPT: Final = 1_024
_LONGEST_STRING: Final = 512

_LABELS: Final = "key, provider, model, value, status, cached, error"
_FIND_SERIES: Final = (
    "SELECT id FROM series WHERE key = ? AND provider = ? AND model = ? AND value = ?"
    " AND status = ? AND cached = ? AND error = ?"
)
_INSERT_SERIES: Final = f"INSERT INTO series ({_LABELS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Labels(NamedTuple):
    """A series: see schema/segment.sql."""

    key: str
    provider: str
    model: str
    value: str
    status: int
    cached: int
    error: int

    def other(self) -> "Labels":
        """Where it is counted past the bound."""
        return self._replace(value=OTHER) if self.key else self._replace(model=OTHER)


class Sums(NamedTuple):
    """What a row of roll-ups adds up."""

    n: int
    tokens_in: int
    tokens_out: int
    cost: int
    duration: bytes
    latency: bytes


def read_series(db: apsw.Connection, key: str | None = None) -> Iterable[tuple[int, Labels]]:
    """All series, or those of one key."""
    where, values = ("", ()) if key is None else (" WHERE key = ?", (key,))
    return ((row[0], Labels(*row[1:])) for row in db.execute(f"SELECT id, {_LABELS} FROM series{where}", values))


def read_sums(db: apsw.Connection, table: str, key: str, since: int, until: int) -> Iterator[tuple[int, int, Sums]]:
    """Time, series and sums of a table's rows from one time up to, not including, another."""
    sql = (
        f"SELECT t, series, n, tin, tout, cost, duration, latency FROM {table} CROSS JOIN series ON id = series"
        " WHERE t >= ? AND t < ? AND key = ?"
    )
    return ((time, series, Sums(*sums)) for time, series, *sums in db.execute(sql, (since, until, key)))


def most_of(key: str) -> int:
    return MOST_VALUE_SERIES if key else MOST_SERIES


def add_sums(db: apsw.Connection, table: str, rows: Iterable[tuple[int, int, Sums]]) -> None:
    """Adds sums to those of their time and series. The connection must know `with_sketches`."""
    db.executemany(
        f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (t, series) DO UPDATE SET n = n + excluded.n,"
        f" tin = min(tin + excluded.tin, {_CEILING}), tout = min(tout + excluded.tout, {_CEILING}),"
        f" cost = min(cost + excluded.cost, {_CEILING}),"
        f" duration = {_merging('duration')}, latency = {_merging('latency')}",
        [(time, series, *sums) for time, series, sums in rows],
    )


def _merging(column: str) -> str:
    """Sketches are strung together up to a length: to merge them each time took three times as long."""
    other = f"excluded.{column}"
    return (
        f"CASE WHEN {other} = x'' THEN {column} WHEN {column} = x'' THEN {other}"
        f" WHEN length({column}) + length({other}) < {_LONGEST_STRING}"
        f" THEN CAST({column} || x'0000' || {other} AS BLOB) ELSE merge_sketches({column}, {other}) END"
    )


def with_sketches(db: apsw.Connection) -> apsw.Connection:
    db.create_scalar_function("merge_sketches", _merge_sketches, 2, deterministic=True)
    return db


def _merge_sketches(*given: int | float | str | bytes | None) -> bytes:
    one, other = given
    return merged(one, other) if isinstance(one, bytes) and isinstance(other, bytes) else b""


class SeriesIds:
    """The numbers of series in one database; new ones are stored at once, in the caller's transaction."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._ids: dict[Labels, int] = {}

    def find(self, labels: Labels) -> int | None:
        found = self._ids.get(labels)
        if found is None:
            found = self._db.execute(_FIND_SERIES, labels).get
            if found is not None:
                self._remember(labels, found)
        return found

    def take(self, labels: Labels) -> int:
        """Its number, a new one where there is none."""
        found = self.find(labels)
        if found is None:
            self._db.execute(_INSERT_SERIES, labels)
            found = self._db.last_insert_rowid()
            self._remember(labels, found)
        return found

    def _remember(self, labels: Labels, number: int) -> None:
        if len(self._ids) >= _IDS_KEPT:
            self._ids.clear()
        self._ids[labels] = number


class Rollups:
    """Those of one segment, for its single writer. After a failed transaction it must be made anew."""

    def __init__(self, db: apsw.Connection, metadata_keys: Sequence[str]) -> None:
        self._db = with_sketches(db)
        self._keys = metadata_keys
        self._ids = SeriesIds(db)
        self._counts: dict[str, int] | None = None
        """How many series each key has; counted when the first new one comes."""

    def add(self, entries: Sequence[LogEntry]) -> None:
        """Counts these logs, once and for all."""
        batches: defaultdict[tuple[int, int], list[LogEntry]] = defaultdict(list)
        for minute, labels, some in self._kinds(entries):
            batches[minute, self._number(labels)] += some
        rows = [(minute, series, _sums_of(some)) for (minute, series), some in batches.items()]
        add_sums(self._db, "minute", rows)
        add_sums(self._db, "hour", [(minute // 60, series, sums) for minute, series, sums in rows])

    def _kinds(self, entries: Sequence[LogEntry]) -> Iterable[tuple[int, Labels, list[LogEntry]]]:
        """The logs of each minute and series, and again of each metadata value that is counted."""
        for (minute, provider, model, status, success, cached), some in _by_kind(entries).items():
            yield minute, Labels("", provider, model[:LONGEST_LABEL], "", status, cached, not success), some
        for key in self._keys:
            for (minute, value, success, cached), some in _by_value(entries, key).items():
                yield minute, Labels(key, "", "", value, 0, cached, not success), some

    def _number(self, labels: Labels) -> int:
        found = self._ids.find(labels)
        if found is not None:
            return found
        if self._counts is None:
            self._counts = dict(iter(self._db.execute("SELECT key, count(*) FROM series GROUP BY key")))
        count = self._counts.get(labels.key, 0)
        if count >= most_of(labels.key):
            return self._ids.take(labels.other())
        self._counts[labels.key] = count + 1
        return self._ids.take(labels)


def labels_of(entry: LogEntry) -> Iterator[Labels]:
    """All series that a log may be counted in: its kind's, and those of its metadata where they are."""
    status, cached, error = entry.status_code, int(entry.cached), int(not entry.success)
    yield Labels("", entry.provider, entry.model[:LONGEST_LABEL], "", status, cached, error)
    for key, value in entry.metadata.items():
        yield Labels(key, "", "", scalar_text(value)[:LONGEST_LABEL], 0, cached, error)


def _by_kind(entries: Iterable[LogEntry]) -> dict[tuple[int, str, str, int, bool, bool], list[LogEntry]]:
    kinds: defaultdict[tuple[int, str, str, int, bool, bool], list[LogEntry]] = defaultdict(list)
    for entry in entries:
        minute = entry.created_ms // MINUTE_MS
        kinds[minute, entry.provider, entry.model, entry.status_code, entry.success, entry.cached].append(entry)
    return kinds


def _by_value(entries: Iterable[LogEntry], key: str) -> dict[tuple[int, str, bool, bool], list[LogEntry]]:
    values: defaultdict[tuple[int, str, bool, bool], list[LogEntry]] = defaultdict(list)
    for entry in entries:
        value = entry.metadata.get(key)
        if value is not None:
            text = scalar_text(value)[:LONGEST_LABEL]
            values[entry.created_ms // MINUTE_MS, text, entry.success, entry.cached].append(entry)
    return values


def _sums_of(entries: Sequence[LogEntry]) -> Sums:
    usages = [entry.usage for entry in entries]
    return Sums(
        len(entries),
        _bounded(sum([usage.tokens_in or 0 for usage in usages])),
        _bounded(sum([usage.tokens_out or 0 for usage in usages])),
        _bounded(sum([entry.cost_nano or 0 for entry in entries])),
        sketch_of([entry.duration_ms for entry in entries]),
        sketch_of([entry.latency_ms for entry in entries if entry.latency_ms is not None]),
    )


def _bounded(total: int) -> int:
    return min(max(total, 0), _LARGEST)
