"""Opens the SQLite files of the store: where they lie, how they are tuned, how their errors are told."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

import apsw
import zstandard

from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey

FORMAT: Final = 3
BUSY_MS: Final = 5_000
_CHECKPOINT_MS: Final = 30

_WRITER: Final[dict[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 1,
    "wal_autocheckpoint": 4_000,
    "journal_size_limit": 64 * 1024 * 1024,
    "cache_size": -8_192,  # of a large index; the writer bounds what all of them take together
    "secure_delete": 1,  # what is deleted is overwritten
}
_READER: Final[dict[str, int | str]] = {"query_only": 1, "cache_size": -2_048}
_GATEWAY: Final = re.compile(r"[0-9a-f]{32}")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")
_DATABASE: Final = re.compile(r"(\d{8})\.db")


@contextmanager
def store_faults(doing: str) -> Iterator[None]:
    """Turns the errors of SQLite, of zstd and of the file system into StoreFault."""
    try:
        yield
    except (apsw.Error, zstandard.ZstdError, OSError) as error:
        raise StoreFault(f"{doing}: {type(error).__name__}: {error}") from error


def spare_connections() -> None:
    """Gives connections no memory beforehand: 33 KB each, which the keeper's thousand never miss.

    For a process that has none yet.
    """
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, 0, 0)
    apsw.initialize()


def open_single(path: Path, *, synchronous: int) -> apsw.Connection:
    """Opens a database of its own file, for its one writer; makes it where it is missing."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.set_busy_timeout(BUSY_MS)
        _begin_wal(db)
        db.pragma("synchronous", synchronous)
    except BaseException:
        db.close()
        raise
    return db


def shard_folder(root: Path, shard: ShardKey) -> Path:
    """Where a shard lies. The account is not trusted: whatever could mean something to a file system is %-encoded."""
    if not _GATEWAY.fullmatch(shard.gateway) or not shard.account:
        raise StoreFault("a shard is named by an account and 32 hex digits")
    account = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], shard.account.encode("utf-8", "surrogatepass"))
    return root / account.decode() / shard.gateway


def segment_name(number: int) -> str:
    """What the files of a segment begin with. Segments count from 1."""
    return f"{number:08d}"


def database_path(folder: Path, number: int, *, sealed: bool = False) -> Path:
    """A sealed segment has another name: no reader of the old file and its WAL ever meets those of the new one."""
    return folder / f"{segment_name(number)}{'.sealed' if sealed else ''}.db"


def newest_segment(folder: Path) -> int:
    """The number of the active segment, 0 where there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return max((int(found[1]) for name in os.listdir(folder) if (found := _DATABASE.fullmatch(name))), default=0)
    return 0


def open_segment(path: Path) -> apsw.Connection:
    """Opens an existing segment for its one writer; one of an older format becomes one of this."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    return _tuned(db, _WRITER, upgrade=True)


def open_segment_readonly(path: Path) -> apsw.Connection:
    """Opens an existing segment beside its writer, from any process."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    return _tuned(db, _READER, upgrade=False)


def open_idle_segment(path: Path) -> apsw.Connection:
    """Opens a segment that nobody has open, and leaves no `-wal` and `-shm` beside it.

    Only its file is read. Where its writer comes meanwhile, what is read may be neither old nor new.
    """
    if Path(f"{path}-wal").exists():
        return open_segment_readonly(path)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return _tuned(apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags), _READER, upgrade=False)


def create_segment(path: Path, fill: Callable[[apsw.Connection], object]) -> None:
    """Makes a segment with what `fill` puts into it."""
    create_database(path, "segment.sql", fill)


def create_database(path: Path, schema: str, fill: Callable[[apsw.Connection], object] = lambda db: None) -> None:
    """Makes a database, published by a rename: nobody sees one that is half made."""
    making = path.with_name(f".{path.name}.tmp")
    remove_database(making)
    db = apsw.Connection(str(making), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        db.pragma("synchronous", 0)
        db.pragma("journal_mode", "wal")
        with db:
            db.execute(_schema(schema))
            fill(db)
    finally:
        db.close()
    making.chmod(0o600)
    sync_path(making)
    making.rename(path)


@contextmanager
def writing(db: apsw.Connection) -> Iterator[None]:
    """One transaction, for which another writer is waited from its beginning: later SQLite would refuse at once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def empty_wal(db: apsw.Connection, tries: int = 3) -> bool:
    """Writes the WAL into the database and cuts it to nothing; false where readers did not let go of it in time.

    While it waits for readers it keeps writers out: so it waits a little, and rather comes again.
    """
    db.set_busy_timeout(_CHECKPOINT_MS)
    try:
        for _ in range(tries):
            with suppress(apsw.BusyError):
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                return True
            time.sleep(_CHECKPOINT_MS / 1000)
    finally:
        db.set_busy_timeout(BUSY_MS)
    return False


def remove_database(path: Path) -> None:
    """Removes a database with what SQLite keeps beside it."""
    for part in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        part.unlink(missing_ok=True)


def put_database_aside(path: Path) -> Path:
    """Makes room for a new one in the place of a damaged one, which is kept under the name returned."""
    aside = path.replace(path.with_name(f"{path.name}.damaged"))
    remove_database(path)
    return aside


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
        if found not in range(1, FORMAT + 1):
            raise StoreFault(f"{db.filename}: format {found} is not {FORMAT}")
        if found != FORMAT and upgrade:
            with writing(db):
                for step in range(found, FORMAT):
                    db.execute(_schema(f"segment-{step}-to-{step + 1}.sql"))
    except BaseException:
        db.close()
        raise
    return db


def _begin_wal(db: apsw.Connection) -> None:
    """Where another writes the file or does the same just then, SQLite refuses at once, whatever its timeout."""
    until_s = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            db.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if time.monotonic() > until_s:
                raise
            time.sleep(_CHECKPOINT_MS / 1000)


def _schema(name: str) -> str:
    return files(__package__).joinpath(f"schema/{name}").read_text("utf-8")
