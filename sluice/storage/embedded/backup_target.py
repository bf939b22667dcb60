"""A backup in the making: a folder that takes copies of files, and takes over what the backup before it has already."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import msgspec

from sluice.storage.embedded.open import BUSY_MS, datasync, sync_path
from sluice.storage.ports import StoreFault

_PAGES: Final = 4_096
"""So many are copied at once of a database that is written meanwhile: 16 MB."""
_PIECE: Final = 8 * 1024 * 1024
_STEADY_NS: Final = 2_000_000_000
"""A file that was written a shorter time ago may be written once more within the same tick of its clock."""


class Stamp(NamedTuple):
    """What a file system tells of a file: another content has another stamp, once it was left alone for a while."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)

    @property
    def is_steady(self) -> bool:
        return time.time_ns() - self.mtime_ns > _STEADY_NS


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A file of a backup that the next one may take over, with what it was copied from."""

    source: Stamp
    made: Stamp


class Former(NamedTuple):
    """The backup before."""

    folder: Path
    files: Mapping[str, Kept]


NO_FORMER: Final = Former(Path(), {})


class BackupTarget:
    """Names are relative to the folder. What is copied twice has its later content.

    A file that never changes is linked rather than copied, where both names lie on one file system: that takes no
    space, and neither name knows of the other. Databases never are, but from one backup to the next.
    """

    def __init__(self, folder: Path, former: Former = NO_FORMER, *, linking: bool = True) -> None:
        self.folder = folder
        self.files: dict[str, Kept] = {}
        """What the next backup may take over."""
        self.copied_bytes = self.linked_bytes = self.kept_bytes = 0
        """Written anew; shared with the data folder; taken over from the backup before."""
        self._former, self._linking = former, linking

    def copy(self, source: Path, name: str, size: int | None = None) -> None:
        """Copies a file, or its first bytes. Raises FileNotFoundError where it has gone."""
        with source.open("rb") as file:
            found = os.fstat(file.fileno())
            made = self._place(name)
            wanted = found.st_size if size is None else min(size, found.st_size)
            with open(_created(made), "wb") as copy:
                _copy(file.fileno(), copy.fileno(), wanted)
                os.utime(copy.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
                datasync(copy.fileno())
        self.copied_bytes += wanted

    def take(self, source: Path, name: str) -> None:
        """Links or copies a file that is never changed any more. Raises FileNotFoundError where it has gone."""
        stamp = Stamp.of(source)
        if self._has(name, stamp):
            return
        if self._linking and self._link(source, name):
            self.linked_bytes += stamp.size
        else:
            self.copy(source, name)
        self._keep(name, stamp)

    def take_part(self, source: Path, name: str, size: int) -> None:
        """Copies the first bytes of a file that only grows. Raises FileNotFoundError where it has gone."""
        stamp = Stamp.of(source)
        whole = stamp.size == size and stamp.is_steady
        if whole and self._has(name, stamp):
            return
        self.copy(source, name, size)
        if whole and Stamp.of(source) == stamp:
            self._keep(name, stamp)

    def database(self, source: Path, name: str) -> None:
        """Copies a database as it is at one moment, whoever writes it.

        Raises FileNotFoundError where it has gone, StoreFault where it cannot be read, and OSError.
        """
        before = _at_rest(source)
        if before is not None:
            if self._has(name, before):
                return
            self.copy(source, name)
            if _at_rest(source) == before:
                return self._keep(name, before)
        try:
            self.copied_bytes += _copy_online(source, self._place(name))
        except apsw.Error as error:
            if not source.exists():
                raise FileNotFoundError(f"{source} is gone") from error
            raise StoreFault(f"{source} cannot be copied: {error}: see what `sluice doctor` says of it") from error

    def remove(self, name: str) -> None:
        """It is not part of the backup after all."""
        self.files.pop(name, None)
        (self.folder / name).unlink(missing_ok=True)

    def not_kept(self, name: str) -> None:
        """It was changed here: it is no copy any more that the next backup may take over."""
        self.files.pop(name, None)

    def sync_folders(self) -> None:
        """All names survive a power loss; files were synced one by one."""
        for folder, _, _ in os.walk(self.folder):
            sync_path(Path(folder))

    def _has(self, name: str, source: Stamp) -> bool:
        """Whether it is here already, or was in the backup before, from which it is taken over then."""
        here = self.files.get(name)
        if here is not None and here.source == source:
            return True
        there, path = self._former.files.get(name), self._former.folder / name
        if there is None or there.source != source:
            return False
        with suppress(OSError):
            if Stamp.of(path) == there.made and self._link(path, name):
                self.kept_bytes += there.made.size
                self.files[name] = there
                return True
        return False

    def _keep(self, name: str, source: Stamp) -> None:
        self.files[name] = Kept(source, Stamp.of(self.folder / name))

    def _link(self, source: Path, name: str) -> bool:
        try:
            os.link(source, self._place(name))
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one that has no links, or no more of them
            return False
        return True

    def _place(self, name: str) -> Path:
        """Where it goes; whatever was there before goes first, lest what is linked be written over."""
        place = self.folder / name
        for parent in reversed(Path(name).parents):
            (self.folder / parent).mkdir(mode=0o700, exist_ok=True)
        self.remove(name)
        return place


def _created(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _at_rest(database: Path) -> Stamp | None:
    """Its stamp, where all there is lies in its own file and was left alone for a while."""
    with suppress(FileNotFoundError):
        if Path(f"{database}-wal").stat().st_size:
            return None
    stamp = Stamp.of(database)
    return stamp if stamp.is_steady else None


def _copy_online(source: Path, made: Path) -> int:
    """Copies one moment of a database; returns how many bytes. It keeps no writer waiting."""
    os.close(_created(made))
    with (
        closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as db,
        closing(apsw.Connection(str(made), flags=apsw.SQLITE_OPEN_READWRITE)) as copy,
    ):
        db.set_busy_timeout(BUSY_MS)
        copy.pragma("synchronous", 0)
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on the moment stands
        with copy.backup("main", db, "main") as backup:
            while not backup.done:
                backup.step(_PAGES)
        db.execute("COMMIT")
    sync_path(made)
    return made.stat().st_size


def _copy(source: int, target: int, size: int) -> None:
    """Shares the blocks where the file system can."""
    at = 0
    if sys.platform == "linux":
        with suppress(OSError):
            while at < size and (count := os.copy_file_range(source, target, size - at, at, at)):
                at += count
    while at < size and (piece := os.pread(source, min(_PIECE, size - at), at)):
        at += os.pwrite(target, piece, at)
