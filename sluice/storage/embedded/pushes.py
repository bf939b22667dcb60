"""How far Logpush has come, in `logpush.db`: written and read by its jobs alone."""

from pathlib import Path
from typing import Final, Self

import apsw

from sluice.storage.embedded.open import open_single, store_faults
from sluice.storage.push_progress import PushProgress

_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS push (job TEXT NOT NULL, gateway TEXT NOT NULL, after INTEGER NOT NULL,"
    " name TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (job, gateway)) STRICT, WITHOUT ROWID"
)


class EmbeddedPushStore:
    """PushStore over one SQLite file. What was noted survives a power loss."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes the file where it is missing."""
        with store_faults(f"opening {path}"):
            db = open_single(path, synchronous=2)
            db.execute(_CREATE)
        return cls(db)

    def progress(self, job: str) -> dict[str, PushProgress]:
        with store_faults("reading logpush.db"):
            rows = self._db.execute("SELECT gateway, after, name, until FROM push WHERE job = ?", (job,))
            return {gateway: PushProgress(*progress) for gateway, *progress in rows}

    def note(self, job: str, gateway: str, progress: PushProgress) -> None:
        with store_faults("writing logpush.db"):
            self._db.execute("INSERT OR REPLACE INTO push VALUES (?, ?, ?, ?, ?)", (job, gateway, *progress))

    def forget(self, job: str, gateway: str) -> None:
        with store_faults("writing logpush.db"):
            self._db.execute("DELETE FROM push WHERE job = ? AND gateway = ?", (job, gateway))

    def close(self) -> None:
        self._db.close()
