"""One segment, read beside its writer: a read-only connection under a deadline."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.away import away_packs
from sluice.storage.embedded.catalogue import Contents, read_active, read_earlier, read_meta
from sluice.storage.embedded.dictionaries import read_dictionary
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.filter_functions import add_functions
from sluice.storage.embedded.filtering import ALL, TOKENS, Only
from sluice.storage.embedded.open import open_segment_readonly
from sluice.storage.embedded.packs import Place
from sluice.storage.embedded.rollups import ROLLUPS_SINCE
from sluice.storage.embedded.rows import SELECT_ENTRY, entry_of
from sluice.storage.embedded.value_counts import COLUMNS, SortValue, count_values
from sluice.storage.ports import NumberOrder, OrderBy, Side
from sluice.values.ids import number_of, text_of
from sluice.values.log import LogEntry

_STEPS_PER_LOOK: Final = 2_000

_ENTRY_BY_KEY: Final = f"{SELECT_ENTRY} FROM log JOIN det USING (k) WHERE k = ?"
_ENTRIES_BY_ARRIVAL: Final = (
    f"{SELECT_ENTRY}, n FROM arrival JOIN log USING (k) JOIN det USING (k)"
    " WHERE n > ? AND n <= ? AND k > ? ORDER BY n LIMIT ?"
)
_KEY_BY_ID: Final = "SELECT k FROM det WHERE k BETWEEN ? AND ? AND id = ?"
_PLACE: Final[dict[Side, str]] = {
    "request": "SELECT req_pack, req_off, req_z, req_len FROM det WHERE k = ?",
    "response": "SELECT res_pack, res_off, res_z, res_len FROM det WHERE k = ?",
}
_BODIES: Final = (
    "SELECT req_pack, req_off, req_z, req_len, (SELECT v FROM name WHERE id = rqce),"
    " res_pack, res_off, res_z, res_len, (SELECT v FROM name WHERE id = rsce) FROM det WHERE k = ?"
)
EXTREMES: Final[dict[str, str]] = {
    "cost": "cost",
    "duration": "duration",
    "tokens_in": "tin",
    "tokens_out": "tout",
    "total_tokens": TOKENS,
}
"""Of which least and most are told, with their columns."""


_NUMBERS: Final[dict[NumberOrder, str]] = {
    "cost": "cost",
    "tokens_in": "tin",
    "tokens_out": "tout",
    "duration": "duration",
    "feedback": "feedback",
}


def only(order_by: OrderBy, value: SortValue) -> Only:
    """The logs that have this value in the column."""
    column = COLUMNS[order_by]
    if value is None:
        return Only(f" AND {column.sql} IS NULL")
    if column.kind is None:
        return Only(f" AND {column.sql} = ?", (value,))
    return Only(f" AND {column.sql} = (SELECT id FROM name WHERE kind = ? AND v = ?)", (column.kind, value))


class SegmentReader:
    """Whoever takes one sets the deadline; past it every query ends with apsw.InterruptError."""

    def __init__(self, path: Path, file: tuple[int, int]) -> None:
        self.file = file
        self._deadline_s = 0.0
        self._counted = 0
        self._counts: dict[tuple[OrderBy, int], dict[SortValue, int]] = {}
        self._db = open_segment_readonly(path)
        self._db.set_progress_handler(self._is_overdue, _STEPS_PER_LOOK)
        add_functions(self._db)

    def begin(self, deadline_s: float) -> None:
        """Begins one moment of the segment, to be ended soon: the WAL cannot shrink meanwhile."""
        self._deadline_s = deadline_s
        self._db.execute("BEGIN")

    def set_deadline(self, deadline_s: float) -> None:
        """Another question about the same moment has a time of its own."""
        self._deadline_s = deadline_s

    def end(self) -> None:
        self._db.execute("COMMIT")

    def catalogue(self, number: int) -> list[Contents]:
        """What each segment of the shard holds, this one, which is the newest, last."""
        meta = read_meta(self._db)
        earlier = read_earlier(self._db) if meta["format"] > 1 else []  # its writer has not opened it since the upgrade
        return [*earlier, read_active(self._db, number, meta)]

    def count(self, above: int, up_to: int, only: Only = ALL) -> int:
        """How many logs have a key past the first and not past the second."""
        sql = f"SELECT count(*) FROM {only.source} WHERE k > ? AND k <= ?{only.sql}"
        count: int = self._db.execute(sql, (*only.bound, above, up_to, *only.values)).get
        return count

    def any(self, above: int, only: Only) -> bool:
        """Whether there is one with a key past `above`."""
        found: int = self._db.execute(
            f"SELECT EXISTS (SELECT 1 FROM {only.source} WHERE k > ?{only.sql})", (*only.bound, above, *only.values)
        ).get
        return bool(found)

    def keys(self, above: int, up_to: int, *, descending: bool, skip: int, only: Only = ALL) -> Iterator[int]:
        """Their keys, in either direction."""
        direction = "DESC" if descending else "ASC"
        sql = f"SELECT k FROM {only.source} WHERE k > ? AND k <= ?{only.sql} ORDER BY k {direction} LIMIT -1 OFFSET ?"
        return (key for (key,) in self._db.execute(sql, (*only.bound, above, up_to, *only.values, skip)))

    def numbered(
        self, order_by: NumberOrder, above: int, only: Only, *, descending: bool, most: int
    ) -> Iterator[tuple[int | None, int]]:
        """The first logs in the order of a number, which no index has: that number and the key of each."""
        column, direction = _NUMBERS[order_by], "DESC" if descending else "ASC"
        sql = (
            f"SELECT {column}, k FROM {only.source} WHERE k > ?{only.sql} ORDER BY {column} {direction}, k DESC LIMIT ?"
        )
        return iter(self._db.execute(sql, (*only.bound, above, *only.values, most)))

    def words(self, order_by: OrderBy) -> list[SortValue]:
        """All values that the column may have here; some may have no log."""
        column = COLUMNS[order_by]
        if column.kind is None:
            return [0, 1]
        return [None, *(word for (word,) in self._db.execute("SELECT v FROM name WHERE kind = ?", (column.kind,)))]

    def extremes(self, above: int, only: Only) -> tuple[int | None, ...]:
        """Least and most of what EXTREMES names, over logs past `above`."""
        columns = ", ".join(f"min({column}), max({column})" for column in EXTREMES.values())
        row = self._db.execute(
            f"SELECT {columns} FROM {only.source} WHERE k > ?{only.sql}", (*only.bound, above, *only.values)
        ).fetchone()
        return tuple(row or ())

    def counts(self, order_by: OrderBy, above: int, only: Only) -> dict[SortValue, int]:
        """How many logs past `above` have each value of the column; of all logs remembered while nothing changes."""
        if only is not ALL:
            return count_values(self._db, order_by, above, only)
        version = int(self._db.pragma("data_version"))
        if version != self._counted:
            self._counted = version
            self._counts.clear()
        found = self._counts.get((order_by, above))
        if found is None:
            found = self._counts[order_by, above] = count_values(self._db, order_by, above, ALL)
        return found

    def find(self, log_id: str, above: int) -> int | None:
        """The key of a log: the one inside its id, or a little above where another log had that one."""
        number = number_of(log_id)
        key = number >> 59
        # One lower bound: of two SQLite takes one, and walks from `above` on, 27 ms among 250,000 logs.
        bounds = (max(key, above + 1), key + PROBES - 1, number.to_bytes(16, "big"))
        found: int | None = self._db.execute(_KEY_BY_ID, bounds).get
        return found

    def entry(self, key: int) -> LogEntry | None:
        row = self._db.execute(_ENTRY_BY_KEY, (key,)).fetchone()
        return None if row is None else entry_of(row)

    def id(self, key: int) -> str:
        number: bytes = self._db.execute("SELECT id FROM det WHERE k = ?", (key,)).get
        return text_of(int.from_bytes(number, "big"))

    def before_last(self, count: int, above: int) -> int:
        """The ingest sequence past which there are so many logs here, of those past `above`."""
        sql = "SELECT n FROM arrival JOIN log USING (k) WHERE k > ? ORDER BY n DESC LIMIT 1 OFFSET ?"
        found: int | None = self._db.execute(sql, (above, count)).get
        return found or 0

    def place(self, key: int, side: Side) -> Place:
        row: tuple[int | None, int | None, int | None, int | None] = self._db.execute(_PLACE[side], (key,)).get
        return Place(*row)

    def bodies(self, key: int) -> tuple[tuple[Side, Place, str | None], ...]:
        """Where both lie, each with its content encoding."""
        row = self._db.execute(_BODIES, (key,)).fetchone()
        if row is None:
            return ()
        return ("request", Place(*row[:4]), row[4]), ("response", Place(*row[5:9]), row[9])

    def is_away(self, pack: int) -> bool:
        """Whether a pack of this segment lies in a store of objects."""
        return pack in away_packs(self._db)

    def dictionary(self, number: int) -> bytes | None:
        """The one that a body of this segment names."""
        return read_dictionary(self._db, number)

    def tail(self, after: int, up_to: int, above: int, limit: int) -> tuple[list[LogEntry], int]:
        """Logs between two ingest sequences whose keys are past `above`, and the sequence of the last one."""
        entries = []
        for row in self._db.execute(_ENTRIES_BY_ARRIVAL, (after, up_to, above, limit)):
            entries.append(entry_of(row[:-1]))
            after = row[-1]
        return entries, after

    def synced(self) -> int:
        """The ingest sequence up to which all survives a power loss, told by the newest segment."""
        meta = read_meta(self._db)
        return meta.get("synced", meta["arrived"])

    def rollups(self) -> apsw.Connection | None:
        """To read roll-ups from; None where the segment is too old to have any."""
        found: int = self._db.execute("SELECT v FROM meta WHERE key = 'format'").get
        return self._db if found >= ROLLUPS_SINCE else None

    def close(self) -> None:
        self._db.close()

    def _is_overdue(self) -> bool:
        return time.monotonic() > self._deadline_s
