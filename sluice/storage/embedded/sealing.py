"""Sealing: a segment that takes no more logs is written anew without gaps: a cold scan then takes a quarter as long."""

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.open import FORMAT, database_path, segment_name, sync_path
from sluice.storage.embedded.value_counts import keep_counts

_STEPS_PER_LOOK: Final = 20_000


class Seal:
    """The copy of one segment in the making, beside the segment itself, which may be read and changed meanwhile."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.made = folder / f".{segment_name(number)}.sealed.tmp"
        self._source = database_path(folder, number)
        self._before: list[tuple[int, int]] = []
        self._stopped = False

    def run(self) -> None:
        """Makes the copy, durable; raises what SQLite and the file system raise."""
        self.discard()
        self._before = self._stamps()
        os.close(os.open(self.made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(apsw.Connection(str(self._source), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_progress_handler(lambda: self._stopped, _STEPS_PER_LOOK)
            db.execute("VACUUM INTO ?", (str(self.made),))
        with closing(apsw.Connection(str(self.made), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
            db.set_progress_handler(lambda: self._stopped, _STEPS_PER_LOOK)
            with db:
                keep_counts(db)
            db.pragma("journal_mode", "wal")  # it is changed in place later, beside readers
            if db.execute("SELECT v FROM meta WHERE key = 'format'").get not in range(1, FORMAT + 1):
                raise apsw.CorruptError(f"{self.made} is not what it was made from")
        sync_path(self.made)

    def stop(self) -> None:
        """Ends it soon, with apsw.InterruptError. For any thread."""
        self._stopped = True

    @property
    def holds(self) -> bool:
        """Whether the segment is still what was copied."""
        return self._stamps() == self._before

    def discard(self) -> None:
        for part in ("", "-wal", "-shm", "-journal"):
            self.made.with_name(self.made.name + part).unlink(missing_ok=True)

    def _stamps(self) -> list[tuple[int, int]]:
        stamps = []
        for path in (self._source, Path(f"{self._source}-wal")):
            with suppress(FileNotFoundError):  # a WAL goes with its last connection
                stat = path.stat()
                stamps.append((stat.st_size, stat.st_mtime_ns))
        return [stamp for stamp in stamps if stamp[0]]
