"""The lock of the keeper, and of the runner: there is never a second one."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: Path, stop: Callable[[float], bool]) -> Iterator[bool]:
    """Holds the lock for the block; False where `stop` came before it could be had."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _locked(fd, stop)
    finally:
        os.close(fd)


def _locked(fd: int, stop: Callable[[float], bool]) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop(0.05):
                return False
        else:
            return True
