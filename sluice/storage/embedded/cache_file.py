"""`cache.db`: replies on disk, which all workers share. What is damaged is set aside, for nothing in it is dear."""

import fcntl
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw
import msgspec

from sluice.journal import fields
from sluice.storage.embedded.open import put_database_aside, writing
from sluice.values.caching import KeptReply, Place

_log = logging.getLogger(__name__)

EDITION: Final = 1
BUSY_MS: Final = 1_000
SWEPT_ROWS: Final = 500
"""Deleted in one transaction: other workers want to write too."""
TRIMMED_PART: Final = 32
"""Of all rows this part goes at once where room is wanted."""
SWEEP_S: Final = 60.0

_PRAGMAS: Final[dict[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 1,  # a killed process loses nothing that was committed, a power loss at most the newest
    "wal_autocheckpoint": 1_000,
    "journal_size_limit": 16 * 1024 * 1024,
    "cache_size": -2_048,
}
_SCHEMA: Final = (
    "CREATE TABLE replies (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, gateway BLOB NOT NULL,"
    " epoch INTEGER NOT NULL, expires_s REAL NOT NULL, crc INTEGER NOT NULL, reply BLOB NOT NULL) STRICT",
    "CREATE INDEX replies_by_end ON replies (expires_s)",
    "CREATE INDEX replies_by_gateway ON replies (gateway, epoch)",
    "CREATE TABLE sweep (began_s REAL NOT NULL) STRICT",
    "INSERT INTO sweep VALUES (0)",
)
_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(KeptReply).decode

IsCurrent = Callable[[bytes, int], bool]
"""Whether a gateway is there and its cache still of this epoch."""


class CacheFault(Exception):
    """The file could not be used; whoever asked goes on without."""


class CacheFile:
    """The file, opened when it is first used. For one thread at a time; every method may raise CacheFault."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._db: apsw.Connection | None = None
        self._inode = 0

    def get(self, key: bytes, now_s: float) -> KeptReply | None:
        with self._faults() as db:
            row: tuple[float, int, bytes] | None = db.execute(
                "SELECT expires_s, crc, reply FROM replies WHERE key = ?", (key,)
            ).fetchone()
        if row is None or row[0] <= now_s:
            return None
        if zlib.crc32(row[2], zlib.crc32(key)) != row[1]:
            raise CacheFault("a kept reply is damaged")
        try:
            return _decode(row[2])
        except msgspec.MsgspecError as error:
            raise CacheFault(f"a kept reply cannot be read: {error}") from error

    def put(self, replies: Iterable[tuple[Place, KeptReply]]) -> None:
        """Keeps them in one transaction, and throws the oldest out where the file would be too large."""
        latest = {}
        for place, reply in replies:
            data = _encode(reply)
            crc = zlib.crc32(data, zlib.crc32(place.key))
            latest[place.key] = (place.key, place.gateway, place.epoch, reply.expires_s, crc, data)
        rows = list(latest.values())
        with self._faults() as db, writing(db):
            db.executemany("DELETE FROM replies WHERE key = ?", ((row[0],) for row in rows))
            db.executemany(
                "INSERT INTO replies (key, gateway, epoch, expires_s, crc, reply) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            self._trim(db)

    def sweep(self, now_s: float, is_current: IsCurrent) -> int:
        """Removes what nobody can be given any more, if no other worker did lately; returns how many replies."""
        with self._faults() as db:
            with writing(db):
                db.execute(
                    "UPDATE sweep SET began_s = ?1 WHERE began_s <= ?1 - ?2 OR began_s > ?1", (now_s, SWEEP_S / 2)
                )
                if not db.changes():
                    return 0
            swept = _delete(db, "expires_s <= ?", (now_s,))
            dead = [row for row in db.execute("SELECT DISTINCT gateway, epoch FROM replies") if not is_current(*row)]
            return swept + sum(_delete(db, "gateway = ? AND epoch = ?", row) for row in dead)

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(apsw.Error):
                db.close()

    def _trim(self, db: apsw.Connection) -> None:
        while _used_bytes(db) > self._most_bytes:
            (rows,) = next(db.execute("SELECT count(*) FROM replies"))
            if not rows:
                return
            db.execute(
                "DELETE FROM replies WHERE number IN (SELECT number FROM replies ORDER BY number LIMIT ?)",
                (max(1, rows // TRIMMED_PART),),
            )

    @contextmanager
    def _faults(self) -> Iterator[apsw.Connection]:
        try:
            yield self._opened()
        except _DAMAGE as error:
            self.close()
            self._set_aside(error)
            raise CacheFault(f"cache.db: {error}") from error
        except (apsw.Error, OSError) as error:
            self.close()
            raise CacheFault(f"cache.db: {error}") from error

    def _opened(self) -> apsw.Connection:
        """The file that now bears the name: another process may have set the former one aside."""
        if self._db is not None and self._found() == self._inode:
            return self._db
        self.close()
        with self._alone():
            try:
                self._db = _open(self._path)
            except _DAMAGE as error:
                self._put_away(error)
                self._db = _open(self._path)
            self._inode = self._found()
        return self._db

    def _set_aside(self, error: Exception) -> None:
        """A file that was found damaged while it was used, unless somebody has done so already."""
        with suppress(apsw.Error, OSError), self._alone():
            if self._found() == self._inode:
                self._put_away(error)

    def _put_away(self, error: Exception) -> None:
        aside = put_database_aside(self._path)
        _log.warning("damaged cache set aside", extra=fields(file=str(aside), fault=str(error)))

    def _found(self) -> int:
        try:
            return os.stat(self._path).st_ino
        except FileNotFoundError:
            return 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time opens the file, or sets it aside."""
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _open(path: Path) -> apsw.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.set_busy_timeout(BUSY_MS)
        for name, value in _PRAGMAS.items():
            db.pragma(name, value)
        edition = db.pragma("user_version")
        if edition == 0:
            with writing(db):
                for statement in _SCHEMA:
                    db.execute(statement)
                db.pragma("user_version", EDITION)
        elif edition != EDITION:
            raise apsw.NotADBError(f"it is of edition {edition}, not {EDITION}")
    except BaseException:
        db.close()
        raise
    return db


def _used_bytes(db: apsw.Connection) -> int:
    """Pages that are free count for nothing: they are filled next."""
    return int(db.pragma("page_count") - db.pragma("freelist_count")) * int(db.pragma("page_size"))


def _delete(db: apsw.Connection, where: str, values: tuple[object, ...]) -> int:
    """Deletes rows, some in each transaction."""
    deleted = 0
    while True:
        with writing(db):
            db.execute(
                f"DELETE FROM replies WHERE number IN (SELECT number FROM replies WHERE {where} LIMIT {SWEPT_ROWS})",
                values,
            )
            some = int(db.changes())
        deleted += some
        if some < SWEPT_ROWS:
            return deleted
