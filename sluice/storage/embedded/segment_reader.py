"""One segment, read beside its writer: a read-only connection under a deadline."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sluice.storage.embedded.catalogue import Contents, read_active, read_earlier, read_meta
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.open import open_segment_readonly
from sluice.storage.embedded.packs import Place
from sluice.storage.embedded.rows import SELECT_ENTRY, entry_of
from sluice.storage.ports import OrderBy, Side
from sluice.values.ids import number_of
from sluice.values.log import LogEntry

_STEPS_PER_LOOK: Final = 2_000

_ENTRY_BY_KEY: Final = f"{SELECT_ENTRY} FROM log JOIN det USING (k) WHERE k = ?"
_ENTRIES_BY_ARRIVAL: Final = (
    f"{SELECT_ENTRY}, n FROM arrival JOIN log USING (k) JOIN det USING (k) WHERE n > ? AND k > ? ORDER BY n LIMIT ?"
)
_KEY_BY_ID: Final = "SELECT k FROM det WHERE k BETWEEN ? AND ? AND k > ? AND id = ?"
_PLACE: Final[dict[Side, str]] = {
    "request": "SELECT req_pack, req_off, req_z, req_len FROM det WHERE k = ?",
    "response": "SELECT res_pack, res_off, res_z, res_len FROM det WHERE k = ?",
}
_WORD: Final[dict[OrderBy, str]] = {"provider": "provider", "model": "model", "model_type": "mtype"}
_FLAG: Final[dict[OrderBy, str]] = {"success": "flags & 1", "cached": "flags & 2"}

SortValue = int | str | None


class SegmentReader:
    """Whoever takes one sets the deadline; past it every query ends with apsw.InterruptError."""

    def __init__(self, path: Path, file: tuple[int, int]) -> None:
        self.file = file
        self._deadline_s = 0.0
        self._db = open_segment_readonly(path)
        self._db.set_progress_handler(self._is_overdue, _STEPS_PER_LOOK)

    def begin(self, deadline_s: float) -> None:
        """Begins one moment of the segment, to be ended soon: the WAL cannot shrink meanwhile."""
        self._deadline_s = deadline_s
        self._db.execute("BEGIN")

    def end(self) -> None:
        self._db.execute("COMMIT")

    def catalogue(self, number: int) -> list[Contents]:
        """What each segment of the shard holds, this one, which is the newest, last."""
        meta = read_meta(self._db)
        earlier = read_earlier(self._db) if meta["format"] > 1 else []  # its writer has not opened it since the upgrade
        return [*earlier, read_active(self._db, number, meta)]

    def count(self, above: int, up_to: int) -> int:
        """How many logs have a key past the first and not past the second."""
        count: int = self._db.execute("SELECT count(*) FROM log WHERE k > ? AND k <= ?", (above, up_to)).get
        return count

    def keys(self, above: int, up_to: int, *, descending: bool, skip: int = 0) -> Iterator[int]:
        """Their keys, in either direction."""
        direction = "DESC" if descending else "ASC"
        sql = f"SELECT k FROM log WHERE k > ? AND k <= ? ORDER BY k {direction} LIMIT -1 OFFSET ?"
        return (key for (key,) in self._db.execute(sql, (above, up_to, skip)))

    def sorted(self, order_by: OrderBy, above: int, *, descending: bool, limit: int) -> Iterator[tuple[SortValue, int]]:
        """The first so many keys past `above` in the order of a column, each with its value; of equals the newest."""
        word = _WORD.get(order_by)
        source = f"log LEFT JOIN name ON name.id = {word}" if word else "log"
        value = "name.v" if word else _FLAG[order_by]
        direction = "DESC" if descending else "ASC"
        sql = f"SELECT {value}, k FROM {source} WHERE k > ? ORDER BY 1 {direction}, k DESC LIMIT ?"
        return iter(self._db.execute(sql, (above, limit)))

    def find(self, log_id: str, above: int) -> int | None:
        """The key of a log: the one inside its id, or a little above where another log had that one."""
        number = number_of(log_id)
        key = number >> 59
        bounds = (key, key + PROBES - 1, above, number.to_bytes(16, "big"))
        found: int | None = self._db.execute(_KEY_BY_ID, bounds).get
        return found

    def entry(self, key: int) -> LogEntry | None:
        row = self._db.execute(_ENTRY_BY_KEY, (key,)).fetchone()
        return None if row is None else entry_of(row)

    def place(self, key: int, side: Side) -> Place:
        row: tuple[int | None, int | None, int | None, int | None] = self._db.execute(_PLACE[side], (key,)).get
        return Place(*row)

    def tail(self, after: int, above: int, limit: int) -> tuple[list[LogEntry], int]:
        """Logs past an ingest sequence whose keys are past `above`, and the sequence of the last one."""
        entries = []
        for row in self._db.execute(_ENTRIES_BY_ARRIVAL, (after, above, limit)):
            entries.append(entry_of(row[:-1]))
            after = row[-1]
        return entries, after

    def close(self) -> None:
        self._db.close()

    def _is_overdue(self) -> bool:
        return time.monotonic() > self._deadline_s
