"""Opens the SQLite files of the store: where they lie, how they are tuned, how their errors are told."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

import apsw
import zstandard

from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey

FORMAT: Final = 2
SEGMENT: Final = "00000001"
BUSY_MS: Final = 5_000

_WRITER: Final[dict[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 1,
    "wal_autocheckpoint": 4_000,
    "journal_size_limit": 64 * 1024 * 1024,
    "cache_size": -256,
}
_READER: Final[dict[str, int | str]] = {"query_only": 1, "cache_size": -2_048}
_GATEWAY: Final = re.compile(r"[0-9a-f]{32}")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")


@contextmanager
def store_faults(doing: str) -> Iterator[None]:
    """Turns the errors of SQLite, of zstd and of the file system into StoreFault."""
    try:
        yield
    except (apsw.Error, zstandard.ZstdError, OSError) as error:
        raise StoreFault(f"{doing}: {type(error).__name__}: {error}") from error


def shard_folder(root: Path, shard: ShardKey) -> Path:
    """Where a shard lies. The account is not trusted: whatever could mean something to a file system is %-encoded."""
    if not _GATEWAY.fullmatch(shard.gateway) or not shard.account:
        raise StoreFault("a shard is named by an account and 32 hex digits")
    account = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], shard.account.encode("utf-8", "surrogatepass"))
    return root / account.decode() / shard.gateway


def open_segment(path: Path) -> apsw.Connection:
    """Opens an existing segment for its one writer; one of an older format becomes one of this."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    return _tuned(db, _WRITER, upgrade=True)


def open_segment_readonly(path: Path) -> apsw.Connection:
    """Opens an existing segment beside its writer, from any process."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    return _tuned(db, _READER, upgrade=False)


def create_segment(path: Path) -> None:
    """Makes an empty segment, published by a rename: nobody sees one without its tables."""
    making = path.with_name(f".{path.name}.tmp")
    for leftover in (making, Path(f"{making}-wal"), Path(f"{making}-shm")):
        with suppress(FileNotFoundError):
            leftover.unlink()
    db = apsw.Connection(str(making), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        db.pragma("synchronous", 0)
        db.pragma("journal_mode", "wal")
        with db:
            db.execute(_schema("segment.sql"))
    finally:
        db.close()
    making.chmod(0o600)
    sync_path(making)
    making.rename(path)


def datasync(descriptor: int) -> None:
    """Makes a file's content and length survive a power loss."""
    if sys.platform == "darwin":
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_path(path: Path) -> None:
    """Makes a file's or a folder's content survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        datasync(descriptor)
    finally:
        os.close(descriptor)


def _tuned(db: apsw.Connection, pragmas: dict[str, int | str], *, upgrade: bool) -> apsw.Connection:
    """Sets the pragmas one by one and reads each back: one statement that returns a row ends a longer text early."""
    try:
        db.set_busy_timeout(BUSY_MS)
        for name, value in pragmas.items():
            if db.pragma(name) != value:
                db.pragma(name, value)
            if (found := db.pragma(name)) != value:
                raise StoreFault(f"{db.filename}: {name} is {found}, not {value}")
        found = db.execute("SELECT v FROM meta WHERE key = 'format'").get
        if found == 1 and upgrade:
            with db:
                db.execute(_schema("segment-1-to-2.sql"))
        elif found not in (1, FORMAT):
            raise StoreFault(f"{db.filename}: format {found} is not {FORMAT}")
    except BaseException:
        db.close()
        raise
    return db


def _schema(name: str) -> str:
    return files(__package__).joinpath(f"schema/{name}").read_text("utf-8")
