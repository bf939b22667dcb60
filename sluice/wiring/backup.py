"""A backup from the first file to its name: in which order what is written meanwhile is copied, and when it counts."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from sluice import __version__
from sluice.spool.copying import copy_last_numbers, copy_spools
from sluice.storage.embedded.backup_target import NO_FORMER, BackupTarget, Former, Kept
from sluice.storage.embedded.open import sync_path
from sluice.storage.embedded.shard_backup import back_up_shard
from sluice.storage.sealing import MASTER_KEY

MANIFEST: Final = "backup.json"
"""Says that a folder is a backup: written last, so that there is none without it."""
_LOCK: Final = "sluice.lock"
"""Whoever works on a data folder makes it, and no backup has it."""
_BEFORE: Final = ("keeper.db", "logpush.db")
"""What is said to be done in these, the shards have done: so they are copied before them."""
_AFTER: Final = ("spend.db", "usage.db", "control.db")
"""And what is in these the other way round."""


class CannotBackUp(Exception):
    """Why there can be no backup; the message is for the person at the terminal."""


class Wishes(NamedTuple):
    """What may be left out or done otherwise."""

    cache: bool = False
    master_key: bool = False
    linking: bool = True


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a backup in it."""

    format: int = 1
    sluice: str = __version__
    data: str
    began_s: float
    ended_s: float
    cache: bool
    master_key: bool
    files: dict[str, Kept] = {}


def back_up(data: Path, target: BackupTarget, wishes: Wishes, told: Callable[[str], None]) -> None:
    """Copies a data folder, beside its server or without one.

    Every log whose reply had ended when it began is in it once, in its shard or in its spool. Raises StoreFault and
    OSError.
    """
    told("spools")
    copy_spools(data / "spool", "spool", target.copy)
    _databases(data, target, _BEFORE)
    shards = sorted((data / "shards").glob("[!.]*/*"))
    for count, folder in enumerate(shards, 1):
        told(f"gateway {count} of {len(shards)}: {folder.parent.name}/{folder.name}")
        back_up_shard(folder, str(folder.relative_to(data)), target)
    told("databases")
    _databases(data, target, [*_AFTER, *(["cache.db"] if wishes.cache else [])])
    copy_last_numbers(data / "spool", "spool", target.folder, target.copy)
    if wishes.master_key:
        target.copy(data / MASTER_KEY, MASTER_KEY)


def former_backup(place: Path) -> Former:
    """The backup that lies there, or none. Raises CannotBackUp where something else does, or what was served since."""
    if (place / _LOCK).exists():
        raise CannotBackUp(f"A server has worked on {place}: it is no backup any more. Name another folder.")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return NO_FORMER
    try:
        manifest = msgspec.json.decode((place / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise CannotBackUp(f"{place} is there, and is no backup: name another folder.") from error
    return Former(place, manifest.files)


def check_place(data: Path, place: Path) -> None:
    """Raises CannotBackUp where a backup of this folder cannot lie there."""
    if place.is_relative_to(data) or data.is_relative_to(place):
        raise CannotBackUp(f"A backup of {data} cannot lie in {place}: neither may be in the other.")
    if not place.parent.is_dir():
        raise CannotBackUp(f"There is no folder {place.parent}: make it, or mount what should be there.")


@contextmanager
def making(place: Path) -> Iterator[Path]:
    """A folder beside the place, hidden, that takes its name when the block ends without an error.

    Else it goes; what a killed backup leaves of it is removed by the next one. Raises CannotBackUp, and OSError.
    """
    draft, old = place.with_name(f".{place.name}.part"), place.with_name(f".{place.name}.old")
    with _alone(draft):
        if old.exists() and not place.exists():  # killed between two renames
            old.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        _empty(draft)
        try:
            yield draft
            if place.exists():
                place.rename(old)
            draft.rename(place)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync_path(place.parent)
        shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes a backup of a folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(folder / MANIFEST, flags, 0o600), "wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())


def leave_no_traces(folder: Path) -> None:
    """Removes what SQLite leaves beside databases that were only read."""
    for path in [*folder.rglob("*.db-shm"), *folder.rglob("*.db-wal")]:
        path.unlink()


def _databases(data: Path, target: BackupTarget, names: list[str] | tuple[str, ...]) -> None:
    for name in names:
        if (data / name).exists():
            target.database(data / name, name)


@contextmanager
def _alone(draft: Path) -> Iterator[None]:
    draft.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CannotBackUp("Another backup to this place is under way.") from error
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
