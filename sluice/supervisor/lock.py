"""The data folder's lock: one server, or one offline command, at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.spool.layout import is_consoles


class FolderInUse(Exception):
    """Somebody else holds the folder; the message says who."""


@contextmanager
def hold(data: Path, purpose: str, inherited: int = -1) -> Iterator[int]:
    """Makes the folder if need be and holds it, by a descriptor that may be inherited with the lock on it.

    Raises FolderInUse, or OSError where it cannot be had.
    The lock ends with the process that took it, however it ends: children do not inherit it.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    fd = inherited if inherited >= 0 else os.open(data / "sluice.lock", new, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            raise FolderInUse(
                f"{holder} already works on the data folder {data.absolute()}: "
                "stop it, or choose another folder with --data."
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{purpose} (process {os.getpid()})\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def is_held(lock: Path) -> bool:
    """Whether some process holds this lock file; one that does not exist is free."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def held_spools(spool: Path) -> set[Path]:
    """The locks of spools whose worker lives. A console's is none: it ends when the workers have."""
    return {lock for lock in spool.glob("*/lock") if not is_consoles(lock.parent.name) and is_held(lock)}
