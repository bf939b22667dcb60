"""How far each spool is stored for good, and which exchanges before that go on: `keeper.db`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

import apsw

from sluice.storage.embedded.open import put_database_aside, store_faults
from sluice.values.log import Position

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS mark (spool TEXT PRIMARY KEY, seq INT, off INT) WITHOUT ROWID, STRICT",
    "CREATE TABLE IF NOT EXISTS open (id TEXT PRIMARY KEY, spool TEXT, gateway BLOB, meta BLOB) WITHOUT ROWID, STRICT",
)
_FULL: Final = 2


class OpenExchange(NamedTuple):
    """An exchange that has begun and whose own frame has not come."""

    spool: str
    gateway_id: bytes
    meta: bytes
    """What its frame told, as it stands there."""


class Marks:
    """Everything up to a spool's mark survives a power loss in the log store, or is kept here because it goes on.

    Losing them costs a replay, and no log but those of exchanges that their worker never ends.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file, made if need be; one that is damaged is put aside."""
        with store_faults(f"opening {path}"):
            try:
                return cls(_opened(path))
            except (apsw.NotADBError, apsw.CorruptError):
                put_database_aside(path)
                return cls(_opened(path))

    def read(self) -> dict[str, Position]:
        with store_faults("reading marks"):
            return {
                spool: Position(seq, off) for spool, seq, off in self._db.execute("SELECT spool, seq, off FROM mark")
            }

    def open_exchanges(self) -> dict[str, OpenExchange]:
        """Those that go on, by their id."""
        with store_faults("reading open exchanges"):
            rows = self._db.execute("SELECT id, spool, gateway, meta FROM open")
            return {log_id: OpenExchange(*row) for log_id, *row in rows}

    def move(
        self, marks: Mapping[str, Position], opened: Mapping[str, OpenExchange] | None = None, ended: Iterable[str] = ()
    ) -> None:
        """Sets the marks, and what went on and ended before them; when it returns all of it is on disk."""
        with store_faults("moving marks"), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO mark (spool, seq, off) VALUES (?, ?, ?)",
                [(spool, *position) for spool, position in marks.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO open (id, spool, gateway, meta) VALUES (?, ?, ?, ?)",
                [(log_id, *exchange) for log_id, exchange in (opened or {}).items()],
            )
            self._db.executemany("DELETE FROM open WHERE id = ?", [(log_id,) for log_id in ended])

    def close(self) -> None:
        self._db.close()


def _opened(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    try:
        db.set_busy_timeout(1_000)
        for name, value in {"journal_mode": "wal", "synchronous": _FULL}.items():
            db.pragma(name, value)
            if db.pragma(name) != value:
                raise apsw.CantOpenError(f"{name} cannot be set to {value}")
        for table in _SCHEMA:
            db.execute(table)
        path.chmod(0o600)
    except BaseException:
        db.close()
        raise
    return db
