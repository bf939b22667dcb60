"""How far each spool is stored for good: `keeper.db`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import apsw

from sluice.storage.embedded.open import store_faults
from sluice.values.log import Position

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS mark (spool TEXT PRIMARY KEY, seq INT, off INT) WITHOUT ROWID, STRICT"
_FULL: Final = 2


class Marks:
    """Everything up to a spool's mark survives a power loss in the log store. Losing them costs a replay, no log."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file, made if need be; one that is damaged is put aside."""
        with store_faults(f"opening {path}"):
            try:
                return cls(_opened(path))
            except (apsw.NotADBError, apsw.CorruptError):
                path.replace(path.with_name(f"{path.name}.damaged"))
                for part in ("-wal", "-shm"):
                    path.with_name(path.name + part).unlink(missing_ok=True)
                return cls(_opened(path))

    def read(self) -> dict[str, Position]:
        with store_faults("reading marks"):
            return {
                spool: Position(seq, off) for spool, seq, off in self._db.execute("SELECT spool, seq, off FROM mark")
            }

    def move(self, marks: Mapping[str, Position]) -> None:
        """Sets the marks; when it returns they are on disk."""
        with store_faults("moving marks"), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO mark (spool, seq, off) VALUES (?, ?, ?)",
                [(spool, *position) for spool, position in marks.items()],
            )

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
        db.execute(_SCHEMA)
        path.chmod(0o600)
    except BaseException:
        db.close()
        raise
    return db
