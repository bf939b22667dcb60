"""The file of the table of windows: how it is laid out, made and locked.

A head of 4,096 bytes (magic, length), then three fields of slots, in words of 8 bytes. A slot has a head of its own
(name, until when it is needed, width of its cells) and the counts of one bucket.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from sluice.storage.embedded import cells, reserved, stamps
from sluice.storage.ports import StoreFault

NAME: Final = 0
"""Two words; both 0 where nothing is there."""
UNTIL: Final = 2
"""Microseconds since the epoch; after it the slot may go to another bucket."""
WIDTH: Final = 3
COUNTS: Final = 4

SPAN: Final = 1000
"""Cells of a sliding window with a large limit: a thousandth of it is how late a permit may come back."""
SPEND_SPAN: Final = 100
"""Likewise of money."""
RESERVED: Final = COUNTS + cells.words_for(SPEND_SPAN)

_HEAD_WORDS: Final = 512
_HEAD: Final = struct.Struct("<8sQ")
_MAGIC: Final = b"SLUWIN01"
_PROBES: Final = 64
_PATIENCE_S: Final = 1.0
"""A lock is held for microseconds; whoever waits longer than this for one waits for a process that is stopped."""
_HURRIED_S: Final = 0.01
"""How long it is waited for after such a wait, for the next `_HURRY_S`: a worker has other requests to serve."""
_HURRY_S: Final = 10.0
_PIECE: Final = 1 << 20


class Field(NamedTuple):
    """Slots of one size."""

    at: int
    """Where it begins, in words; likewise `size`."""
    size: int
    slots: int

    def places(self, name: tuple[int, int]) -> Iterator[int]:
        """Where a bucket of this name may be, the likeliest first."""
        start = name[1] % self.slots
        for probe in range(min(_PROBES, self.slots)):
            yield self.at + (start + probe) % self.slots * self.size


class Fields(NamedTuple):
    fixed: Field
    sliding: Field
    spend: Field


def fields_of(length: int) -> Fields:
    """The parts of such a file: a sixteenth is for fixed windows, half for sliding ones, the rest for money."""
    words = length // 8 - _HEAD_WORDS
    sizes = (16, COUNTS + stamps.WORDS, RESERVED + reserved.WORDS)
    found, at = [], _HEAD_WORDS
    for size, share in zip(sizes, (words // 16, words // 2, words - words // 16 - words // 2), strict=True):
        found.append(Field(at, size, share // size))
        at += share
    return Fields(*found)


class WindowsFile:
    """The mapped file, and locks on parts of it. The kernel lets go of the locks of a process that dies."""

    __slots__ = ("_file", "_hurried_s", "_map", "fields", "words")

    def __init__(self, file: int, length: int) -> None:
        self._file = file
        self._hurried_s = 0.0
        self._map = mmap.mmap(file, length)
        self.words = memoryview(self._map).cast("q")
        self.fields = fields_of(length)

    @classmethod
    def open(cls, path: Path, length: int) -> Self:
        """Opens it, made with this length where it is missing. Raises StoreFault."""
        try:
            if not path.exists():
                _create(path, length)
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreFault(f"{path}: {error}") from error
        try:
            if not _is_whole(file):
                raise StoreFault(f"{path} is damaged: the next start of the server puts it aside")
            return cls(file, os.fstat(file).st_size)
        except OSError as error:
            os.close(file)
            raise StoreFault(f"{path}: {error}") from error
        except BaseException:
            os.close(file)
            raise

    @property
    def length(self) -> int:
        return len(self._map)

    def is_at(self, path: Path) -> bool:
        """Whether it still bears its name."""
        try:
            return os.stat(path).st_ino == os.fstat(self._file).st_ino
        except OSError:
            return False

    def lock(self, at: int) -> None:
        """Keeps all other processes from what is locked by this word. Raises StoreFault after a second in vain."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at * 8)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise StoreFault(f"the table of windows cannot be locked: {error}") from error
        started_s = time.monotonic()
        give_up_s = started_s + (_PATIENCE_S if started_s >= self._hurried_s else _HURRIED_S)
        while time.monotonic() < give_up_s:
            os.sched_yield()
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at * 8)
                return
        self._hurried_s = time.monotonic() + _HURRY_S
        raise StoreFault("the table of windows is locked by a process that does not go on")

    def unlock(self, at: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, at * 8)

    def close(self) -> None:
        self.words.release()
        self._map.close()
        os.close(self._file)


def put_aside_if_damaged(path: Path) -> None:
    """Makes room for a new table, and removes what was never made whole.

    For the holder of the data folder's lock, while nobody has it open.
    """
    for unfinished in path.parent.glob(f".{path.name}.*"):
        unfinished.unlink(missing_ok=True)
    if is_damaged(path):
        path.replace(path.with_name(f"{path.name}.damaged"))


def is_damaged(path: Path) -> bool:
    """Whether there is such a file and it cannot be used."""
    if not path.is_file():
        return False
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _is_whole(file)
    finally:
        os.close(file)


def _is_whole(file: int) -> bool:
    return os.pread(file, _HEAD.size, 0) == _HEAD.pack(_MAGIC, os.fstat(file).st_size)


def _create(path: Path, length: int) -> None:
    """Makes the file whole or not at all; one made meanwhile counts.

    The disk has room for all of it: touching a mapped page that a full one cannot hold kills.
    """
    length -= length % 8
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(_HEAD.pack(_MAGIC, length))
        if sys.platform == "linux":  # milliseconds, where writing 32 MB holds an event loop up
            os.posix_fallocate(file.fileno(), 0, length)
        else:
            for start in range(_HEAD.size, length, _PIECE):
                file.write(bytes(min(_PIECE, length - start)))
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
