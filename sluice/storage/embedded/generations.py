"""The generations of accounts, shared by all processes: one mapped word per hashed account (design.md 1)."""

import contextlib
import fcntl
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from sluice.storage.ports import StoreFault

SLOTS: Final = 1 << 16
_BYTES: Final = SLOTS * 8
_KNOWN_ACCOUNTS: Final = 4096


class MappedGenerations:
    """Words of 64 bits in `generations.map`. Two accounts may share one: a bump then only costs a look-up more.

    The file is made once and never replaced, for a process that holds another mapping would never see a bump.
    """

    __slots__ = ("_file", "_map", "_slots", "_words")

    def __init__(self, file: int, *, writable: bool) -> None:
        self._file = file
        self._map = mmap.mmap(file, _BYTES, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        self._words = memoryview(self._map).cast("Q")
        self._slots: dict[str, int] = {}

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> Self:
        """Only the console, or who holds the data folder's lock, opens it writable."""
        file = os.open(path, os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY))
        try:
            if os.fstat(file).st_size != _BYTES:
                raise StoreFault(f"{path} is damaged: it must have {_BYTES} bytes")
            return cls(file, writable=writable)
        except BaseException:
            os.close(file)
            raise

    def of(self, account: str) -> int:
        """150 ns: the slot is remembered, for the checksum alone takes as long."""
        slot = self._slots.get(account)
        return self._words[self._remember(account) if slot is None else slot]

    def bump(self, account: str) -> None:
        slot = self._remember(account)
        with self._alone():
            self._words[slot] += 1

    def bump_all(self) -> None:
        words = self._words
        with self._alone():
            for slot in range(SLOTS):
                words[slot] += 1

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self._file)

    def _remember(self, account: str) -> int:
        if len(self._slots) >= _KNOWN_ACCOUNTS:  # names come from clients
            self._slots.clear()
        slot = self._slots[account] = zlib.crc32(account.encode("utf-8", "surrogatepass")) & (SLOTS - 1)
        return slot

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """A console and its successor may overlap: neither may lose the other's increment."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def create_generations(path: Path) -> None:
    """Makes the file whole or not at all; leaves one that exists as it is."""
    if path.exists():
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.truncate(_BYTES)
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # made meanwhile: that one counts
            os.link(file.name, path)
