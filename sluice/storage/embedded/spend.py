"""What gateways under a spend limit have spent, in `spend.db`: the keeper alone writes and reads it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, Self

import apsw

from sluice.storage.embedded.open import BUSY_MS, open_single, put_database_aside, store_faults
from sluice.values.log import Position

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS spent (bucket BLOB, width_ms INT, cell INT, nano INT, until_ms INT,"
    " PRIMARY KEY (bucket, width_ms, cell)) WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS spent_until ON spent (until_ms)",
    "CREATE TABLE IF NOT EXISTS place (gateway BLOB, spool TEXT, seq INT, off INT,"
    " PRIMARY KEY (gateway, spool)) WITHOUT ROWID, STRICT",
)
_ADD: Final = (
    "INSERT INTO spent VALUES (?, ?, ?, ?, ?) ON CONFLICT (bucket, width_ms, cell)"
    " DO UPDATE SET nano = min(nano + excluded.nano, 1 << 62)"
)
_CELLS: Final = 100
"""To a window."""
_LARGEST: Final = 1 << 62
_CLEAR_S: Final = 60.0
MOST_ROWS: Final = 1_000_000
"""Some 80 MB. Clients make up names of sums, where a rule parts them by metadata: past that the smallest go."""
MOST_TOLD: Final = 100_000
_TRIM: Final = (
    "DELETE FROM spent WHERE bucket IN (SELECT bucket FROM (SELECT bucket, count(*) AS cells, sum(count(*)) OVER"
    " (ORDER BY total(nano), bucket) AS upto FROM spent GROUP BY bucket) WHERE upto - cells < ?)"
)
"""The sums in which the least was spent, until so many rows are gone."""


class Spent(NamedTuple):
    """What a call cost in one sum."""

    bucket: bytes
    window_s: int
    ended_ms: int
    """Unix milliseconds: it counts in the window in which it ended."""
    nano: int


class EmbeddedSpendLedger:
    """Sums by bucket and a hundredth of its window, and how far each gateway's frames are in them: one transaction."""

    def __init__(self, db: apsw.Connection, most_rows: int = MOST_ROWS) -> None:
        self._db, self._most_rows = db, most_rows
        self._unsynced = False
        self._clear_s = 0.0

    @classmethod
    def open(cls, path: Path, most_rows: int = MOST_ROWS) -> Self:
        """Opens the file, made if need be; one that is damaged is put aside. Raises StoreFault."""
        with store_faults(f"opening {path}"):
            try:
                return cls(_opened(path), most_rows)
            except (apsw.NotADBError, apsw.CorruptError):
                put_database_aside(path)
                return cls(_opened(path), most_rows)

    def places(self, gateway_id: bytes) -> dict[str, Position]:
        """How far each spool's frames of a gateway are settled."""
        with store_faults("reading what is settled"):
            rows = self._db.execute("SELECT spool, seq, off FROM place WHERE gateway = ?", (gateway_id,))
            return {spool: Position(seq, off) for spool, seq, off in rows}

    def settle(self, gateway_id: bytes, spent: Sequence[Spent], reached: Mapping[str, Position]) -> None:
        with store_faults("settling costs"), self._db:
            self._db.executemany(_ADD, map(_row, spent))
            self._db.executemany(
                "INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)",
                [(gateway_id, spool, *position) for spool, position in reached.items()],
            )
            if time.monotonic() >= self._clear_s:
                self._clear_s = time.monotonic() + _CLEAR_S
                self._clear()
        self._unsynced = True

    def _clear(self) -> None:
        """Removes what is in no window any more, and what there is no room for."""
        self._db.execute("DELETE FROM spent WHERE until_ms < ?", (time.time_ns() // 1_000_000,))
        (rows,) = next(self._db.execute("SELECT count(*) FROM spent"))
        if rows > self._most_rows:
            self._db.execute(_TRIM, (rows - self._most_rows * 9 // 10,))

    def spent(self, bucket: bytes) -> list[tuple[int, int]]:
        """All that may still be in its window: the last microsecond of each cell, and its sum."""
        with store_faults("reading costs"):
            return _cells_of(self._db, bucket)

    @property
    def length(self) -> int:
        """Bytes of the file, but for what was added to it of late. Raises StoreFault."""
        with store_faults("reading costs"):
            return int(self._db.pragma("page_count")) * int(self._db.pragma("page_size"))

    def buckets(self) -> dict[bytes, int]:
        """Of those with most spent, and these first, each with its window in seconds; no more than are of use."""
        with store_faults("reading costs"):
            rows = self._db.execute(
                "SELECT bucket, max(width_ms) FROM spent GROUP BY bucket ORDER BY total(nano) DESC LIMIT ?",
                (MOST_TOLD,),
            )
            return {bucket: width_ms * _CELLS // 1000 for bucket, width_ms in rows}

    def sync(self) -> None:
        """What was settled survives a power loss."""
        if self._unsynced:
            with store_faults("syncing costs"):
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._unsynced = False

    def close(self) -> None:
        self._db.close()


class EmbeddedSpendReader:
    """What a ledger says, for others than the keeper; before there is one nothing was spent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def spent(self, buckets: Sequence[bytes]) -> list[list[tuple[int, int]]]:
        """For each bucket, as `EmbeddedSpendLedger.spent`. Raises StoreFault."""
        if not self._path.exists():
            return [[] for _ in buckets]
        with store_faults("reading costs"), closing(_read_only(self._path)) as db:
            db.set_busy_timeout(BUSY_MS)
            return [_cells_of(db, bucket) for bucket in buckets]


def _read_only(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)


def _cells_of(db: apsw.Connection, bucket: bytes) -> list[tuple[int, int]]:
    rows = db.execute("SELECT width_ms, cell, nano FROM spent WHERE bucket = ?", (bucket,))
    return [((cell + 1) * width_ms * 1000 - 1, nano) for width_ms, cell, nano in rows]


def _row(spent: Spent) -> tuple[bytes, int, int, int, int]:
    width_ms = spent.window_s * 1000 // _CELLS
    cell = spent.ended_ms // width_ms
    until_ms = min((cell + 1) * width_ms + spent.window_s * 1000, _LARGEST)
    return spent.bucket, min(width_ms, _LARGEST), cell, min(spent.nano, _LARGEST), until_ms


def _opened(path: Path) -> apsw.Connection:
    db = open_single(path, synchronous=1)
    try:
        for statement in _SCHEMA:
            db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db
