"""Folding: the hours of a full segment are added to `stats.db`, where they outlive its logs. Once, whatever happens.

What is added and that it was are one transaction, on disk before anybody may remove the segment. A full segment's
roll-ups never change, so it does not matter when it is folded.
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from sluice.journal import fields
from sluice.storage.embedded.earlier import UNREADABLE, tell_unreadable
from sluice.storage.embedded.open import (
    BUSY_MS,
    create_database,
    database_path,
    open_segment_readonly,
    remove_database,
    sync_path,
)
from sluice.storage.embedded.rollups import (
    ROLLUPS_SINCE,
    Labels,
    SeriesIds,
    Sums,
    add_sums,
    most_of,
    read_series,
    with_sketches,
)
from sluice.storage.embedded.sketch import merged
from sluice.storage.ports import StoreFault

_log = logging.getLogger(__name__)

EDITION: Final = 1
_ROWS: Final = "SELECT t, series, n, tin, tout, cost, duration, latency FROM hour ORDER BY t, n DESC"
_DATABASE: Final = re.compile(r"(\d{8})(?:\.sealed)?\.db")
_SHARE_ROW: Final = (
    "INSERT INTO folded SELECT 0, max(last) FROM folded WHERE segment < ? HAVING count(*) > 0"
    " ON CONFLICT (segment) DO UPDATE SET last = excluded.last"
)
_DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError)

Hour = list[tuple[Labels, Sums]]


def stats_path(folder: Path) -> Path:
    return folder / "stats.db"


def open_stats_readonly(folder: Path) -> apsw.Connection | None:
    """None where nothing is folded yet."""
    path = stats_path(folder)
    if not path.exists():
        return None
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(BUSY_MS)
    return db


def folded_segments(folder: Path) -> dict[int, int]:
    """The folded segments, with their last minutes; those that are gone as number 0.

    A damaged stats.db tells of none; the next fold replaces it.
    """
    try:
        db = open_stats_readonly(folder)
        if db is None:
            return {}
        with closing(db):
            return dict(iter(db.execute("SELECT segment, last FROM folded")))
    except _DAMAGED:
        return {}


class Fold:
    """The fold of one segment."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._folder = folder
        self._stopped = False

    def run(self) -> None:
        """Folds it, unless that was done; raises what SQLite and the file system raise."""
        sync_path(self._folder)  # lest a power loss make this segment the newest again, with more logs to come
        path = stats_path(self._folder)
        try:
            self._fold_into(path)
        except _DAMAGED as error:
            _log.error("stats.db is damaged and begun anew", extra=fields(path=str(path), error=str(error)))
            path.rename(path.with_suffix(".damaged"))
            remove_database(path)
            self._fold_into(path)

    def stop(self) -> None:
        """Ends it soon, with apsw.InterruptError. For any thread."""
        self._stopped = True

    def discard(self) -> None:
        """Nothing: what was folded stays so."""

    def _fold_into(self, path: Path) -> None:
        if not path.exists():
            create_database(path, "stats.sql")
            sync_path(self._folder)
        with closing(open_stats(self._folder)) as db, db:
            if db.execute("SELECT 1 FROM folded WHERE segment = ?", (self.number,)).get is None:
                last = self._add(db)
                db.execute("INSERT INTO folded VALUES (?, ?)", (self.number, last))
                _forget_gone(db, self._folder)

    def _add(self, db: apsw.Connection) -> int:
        """Adds the segment's hours; returns its last minute. One that cannot be read has none."""
        try:
            hours, last = self._read()
        except UNREADABLE as error:
            tell_unreadable(database_path(self._folder, self.number), error)
            return -1
        ids = SeriesIds(db)
        days: defaultdict[int, Hour] = defaultdict(list)
        for hour, rows in hours.items():
            if self._stopped:
                raise apsw.InterruptError
            _add_bounded(db, ids, "hour", hour, rows)
            days[hour // 24] += rows
        for day, rows in days.items():
            _add_bounded(db, ids, "day", day, rows)
        return last

    def _read(self) -> tuple[dict[int, Hour], int]:
        sealed = database_path(self._folder, self.number, sealed=True)
        path = sealed if sealed.exists() else database_path(self._folder, self.number)
        hours: defaultdict[int, Hour] = defaultdict(list)
        with closing(open_segment_readonly(path)) as db:
            if db.execute("SELECT v FROM meta WHERE key = 'format'").get < ROLLUPS_SINCE:
                return hours, -1
            labels = dict(read_series(db))
            for hour, series, *sums in db.execute(_ROWS):
                row = Sums(*sums)
                row = row._replace(duration=merged(row.duration), latency=merged(row.latency))
                hours[hour].append((labels[series], row))
            last: int = db.execute("SELECT ifnull(max(t), -1) FROM minute").get
        return hours, last


def _forget_gone(db: apsw.Connection, folder: Path) -> None:
    """Segments below all that there are share one row, number 0, with the last minute of them all."""
    numbers = [int(found[1]) for name in os.listdir(folder) if (found := _DATABASE.fullmatch(name))]
    lowest = min(numbers, default=0)
    db.execute(_SHARE_ROW, (lowest,))
    db.execute("DELETE FROM folded WHERE segment > 0 AND segment < ?", (lowest,))


def open_stats(folder: Path) -> apsw.Connection:
    """For the one writer: a fold is on disk when its transaction ends."""
    path = stats_path(folder)
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.set_busy_timeout(BUSY_MS)
        db.pragma("synchronous", 2)
        if (found := db.pragma("user_version")) != EDITION:
            raise StoreFault(f"{path} is of edition {found}, this version of Sluice writes edition {EDITION}")
        return with_sketches(db)
    except BaseException:
        db.close()
        raise


def _add_bounded(db: apsw.Connection, ids: SeriesIds, table: str, time: int, rows: Hour) -> None:
    """Adds to one hour or day; the series past its bound, the rarest of those that are new, are counted as one."""
    taken: set[int] = set()
    counts: dict[str, int] = {}
    for series, key in db.execute(f"SELECT series, key FROM {table} JOIN series ON id = series WHERE t = ?", (time,)):
        taken.add(series)
        counts[key] = counts.get(key, 0) + 1
    add_sums(db, table, ((time, series, sums) for series, sums in _numbered(ids, rows, taken, counts)))


def _numbered(ids: SeriesIds, rows: Hour, taken: set[int], counts: dict[str, int]) -> Iterator[tuple[int, Sums]]:
    for labels, sums in rows:
        found = ids.find(labels)
        if found is None or found not in taken:
            count = counts.get(labels.key, 0)
            if count >= most_of(labels.key):
                found = ids.take(labels.other())
            else:
                counts[labels.key] = count + 1
                found = ids.take(labels)
                taken.add(found)
        yield found, sums
