"""Where things lie in the spool: a folder for each worker or console, numbered files, a lock, side files in big/."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from sluice.values.ids import WORKERS

CONSOLES: Final = range(WORKERS, WORKERS + 8)
"""Numbers of the spools that consoles write commands to; a reload has two consoles for a while."""
IMPORTS: Final = range(CONSOLES.stop, CONSOLES.stop + 8)
"""Numbers of the spools through which logs are imported."""

Side = Literal["request", "response"]

_SIDE_SUFFIX: Final = {"request": ".req", "response": ".res"}
_SUFFIX: Final = ".sp"
_LOCK: Final = "lock"


def file_path(folder: Path, seq: int) -> Path:
    return folder / f"{seq:010d}{_SUFFIX}"


def file_seqs(folder: Path) -> list[int]:
    """Sequence numbers of the spool files there are, ascending."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def lock_path(folder: Path) -> Path:
    return folder / _LOCK


def side_folder(folder: Path) -> Path:
    return folder / "big"


def side_path(folder: Path, log_id: str, side: Side) -> Path:
    return side_folder(folder) / (log_id + _SIDE_SUFFIX[side])


def side_files(folder: Path) -> list[Path]:
    """All side files of a spool, with a frame or without."""
    try:
        return list(side_folder(folder).iterdir())
    except FileNotFoundError:
        return []


def spool_names(root: Path) -> list[str]:
    """The folders of all numbers that ever wrote here, ascending."""
    try:
        with os.scandir(root) as entries:
            return sorted((entry.name for entry in entries if entry.name.isdecimal()), key=int)
    except FileNotFoundError:
        return []


def is_consoles(name: str) -> bool:
    """Whether a spool is one of commands."""
    return name.isdecimal() and int(name) in CONSOLES


def spool_bytes(root: Path) -> int:
    """What the whole spool takes, side files too. Files that vanish meanwhile are not counted."""
    total = 0
    for name in spool_names(root):
        folder = root / name
        for place in (folder, side_folder(folder)):
            try:
                with os.scandir(place) as entries:
                    total += sum(_bytes_of(entry) for entry in entries)
            except FileNotFoundError:
                continue
    return total


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, however little each write takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def make_folder(folder: Path) -> None:
    """Makes a folder, and its name survives a power loss."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock(folder: Path) -> int | None:
    """Takes the spool's lock: whoever holds it is its only writer. None where another process does.

    Closing the descriptor gives the lock back, and so does any death of the process.
    """
    fd = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def touch_lock(fd: int) -> None:
    """Leaves the time on a lock that is held: when its holder has died, it says until when it lived."""
    os.utime(fd)


def touched_s(folder: Path) -> float:
    """When the lock was touched last, or made, Unix seconds; 0 where there is none."""
    try:
        return lock_path(folder).stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def unowned(folder: Path) -> Iterator[bool]:
    """Whether no process writes this spool; if so none can begin to before the block ends."""
    fd = lock(folder)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _bytes_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    except FileNotFoundError:
        return 0
