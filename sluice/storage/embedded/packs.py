"""Packs: files of many bodies, each a zstd frame of its own. Rows say where; bytes no row points to are dead."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from sluice.storage.embedded.open import datasync
from sluice.values.log import SideFile

MB: Final = 1024 * 1024
PACK_BYTES: Final = 64 * MB
ALONE_BYTES: Final = 16 * MB
"""A body of this length gets a pack of its own, so that deleting it is an unlink."""
STREAM_BYTES: Final = 1 * MB
PIECE_BYTES: Final = 256 * 1024
_PENDING_BYTES: Final = 1 * MB
LEVEL: Final = 1
"""Level 3 takes 7 µs a log longer and saves 48 bytes of 780 (8.2 KB of chat bodies, dictionary of 64 KB)."""

FILLING, FULL, ALONE, REMOVED, MAKING = 0, 1, 2, 3, 4
"""States of a pack. A removed one keeps its number: whoever still has a place in it must not read another's bodies. One
in the making is a compacted copy, into which no row points yet."""


COPIES_FROM: Final = 10_000_000
"""Compacted copies are numbered from here on, by whoever makes them: a writer numbers its packs without asking."""


class Place(NamedTuple):
    """Where a body lies. A known length without the rest says that the body was lost; all None, that none is kept."""

    pack: int | None = None
    offset: int | None = None
    stored: int | None = None
    length: int | None = None


NOWHERE: Final = Place()
EMPTY: Final = Place(0, 0, 0, 0)


class Extent(NamedTuple):
    """A pack as the index knows it."""

    pack: int
    bytes: int
    state: int


class _Lost(Exception):
    """A side file is missing, short or unreadable."""


def pack_path(folder: Path, segment: str, pack: int) -> Path:
    return folder / f"{segment}-{pack:04d}.pack"


def plain_compressor() -> zstandard.ZstdCompressor:
    """One without a dictionary. The checksum lets a reader tell damage (0.7 µs a log)."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)


class PackWriter:
    """Appends bodies to the packs of one segment: first `put` and `flush`, then the rows commit, then `kept`.

    Where the rows do not commit, `abandon` takes the bytes back and ends this writer.
    """

    def __init__(
        self, folder: Path, segment: str, extents: list[Extent], compressor: Callable[[], zstandard.ZstdCompressor]
    ) -> None:
        self._folder, self._segment, self._compressor = folder, segment, compressor
        self._plain = plain_compressor()
        self._remove_orphans({extent.pack for extent in extents if extent.state != REMOVED})
        self._last = max((extent.pack for extent in extents if extent.pack < COPIES_FROM), default=0)
        self._pack = max((extent.pack for extent in extents if extent.state == FILLING), default=0)
        self._file = os.open(self._path(self._pack), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if self._pack else -1
        self._size = os.fstat(self._file).st_size if self._pack else 0
        self._elsewhere = sum(extent.bytes for extent in extents if extent.pack != self._pack)
        self._before = self._pack, self._size, self._last
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._changed: dict[int, Extent] = {}
        self._unsynced = self._pack > 0
        self.folder_changed = False
        """A pack was made since the folder was last synced; whoever syncs it sets this back."""

    @property
    def total_bytes(self) -> int:
        """Of all packs of the segment."""
        return self._elsewhere + self._size

    def put(self, body: bytes | SideFile | None) -> Place:
        """Takes a body; its bytes are surely in the file only after `flush`."""
        if body is None:
            return NOWHERE
        if isinstance(body, SideFile):
            return self._put_side_file(body)
        if not body:
            return EMPTY
        if len(body) >= STREAM_BYTES:
            return self._put_stream(_slices(body), len(body))
        frame = self._compressor().compress(body)
        self._make_room(len(frame))
        place = Place(self._pack, self._size, len(frame), len(body))
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        self._size += len(frame)
        if self._pending_bytes >= _PENDING_BYTES:
            self._write_pending()
        return place

    def flush(self) -> list[Extent]:
        """Hands all bytes to the file system; returns the packs that changed, for the index to commit."""
        self._write_pending()
        if self._pack and self._before[:2] != (self._pack, self._size):
            self._changed[self._pack] = Extent(self._pack, self._size, FILLING)
        return list(self._changed.values())

    def kept(self) -> None:
        """The rows that point to what was put are committed."""
        self._before = self._pack, self._size, self._last
        self._changed.clear()

    def abandon(self) -> None:
        """Takes back what was put since `kept`, as far as the disk lets us: what stays is dead space, never served."""
        pack, size, last = self._before
        self.close()
        with suppress(OSError):
            for started in range(last + 1, self._last + 1):
                self._path(started).unlink(missing_ok=True)
            if pack:
                os.truncate(self._path(pack), size)

    def end_pack(self) -> list[Extent]:
        """No more goes into the present pack; returns it for the index to commit."""
        if not self._pack:
            return []
        self._end_pack()
        ended, self._changed = list(self._changed.values()), {}
        self._pack = self._size = 0
        self._before = 0, 0, self._last
        return ended

    def revise(self, extents: Sequence[Extent]) -> None:
        """Packs were compacted meanwhile."""
        self._elsewhere = sum(extent.bytes for extent in extents if extent.pack != self._pack)

    def remove(self, packs: Iterable[int]) -> None:
        """Removes packs into which no row points any more."""
        for pack in packs:
            path = self._path(pack)
            with suppress(FileNotFoundError):
                self._elsewhere -= path.stat().st_size
                path.unlink()
            self.folder_changed = True

    def sync(self) -> None:
        if self._unsynced:
            datasync(self._file)
            self._unsynced = False

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _path(self, pack: int) -> Path:
        return pack_path(self._folder, self._segment, pack)

    def _remove_orphans(self, known: set[int]) -> None:
        """Packs whose first rows never committed, or whose last ones were deleted: nothing can point into them."""
        for path in self._folder.glob(f"{self._segment}-*.pack"):
            number = path.stem.removeprefix(f"{self._segment}-")
            if number.isdecimal() and int(number) not in known:
                path.unlink()

    def _put_side_file(self, side: SideFile) -> Place:
        lost = Place(length=side.length)
        try:
            with closing(_SideReader(side)) as reader:
                return self._put_stream(reader.pieces(), side.length) if side.length else EMPTY
        except _Lost:
            return lost

    def _put_stream(self, pieces: Iterator[bytes | memoryview], length: int) -> Place:
        """Compresses piece by piece, so that a body of any length costs no more memory than a small one."""
        self._write_pending()
        if length >= ALONE_BYTES:
            return self._put_alone(pieces, length)
        self._make_room(length + length // 128 + 1024)
        start = self._size
        try:
            self._size = self._stream(self._file, start, pieces, length)
        except _Lost:
            os.ftruncate(self._file, start)
            raise
        self._unsynced = True
        return Place(self._pack, start, self._size - start, length)

    def _put_alone(self, pieces: Iterator[bytes | memoryview], length: int) -> Place:
        pack = self._last + 1
        file = self._create(pack)
        try:
            size = self._stream(file, 0, pieces, length)
            datasync(file)
        except _Lost:
            self._path(pack).unlink()
            raise
        finally:
            os.close(file)
        self._changed[pack] = Extent(pack, size, ALONE)
        self._elsewhere += size
        return Place(pack, 0, size, length)

    def _stream(self, file: int, at: int, pieces: Iterator[bytes | memoryview], length: int) -> int:
        stream = self._plain.compressobj(size=length)
        for piece in pieces:
            if out := stream.compress(piece):
                at = _write(file, out, at)
        return _write(file, stream.flush(), at)

    def _make_room(self, size: int) -> None:
        """Starts the next pack where the body would overflow this one, or where there is none yet."""
        if self._pack and self._size + size <= PACK_BYTES:
            return
        if self._pack:
            self._end_pack()
        pack = self._last + 1
        self._file = self._create(pack)
        self._pack, self._size = pack, 0

    def _end_pack(self) -> None:
        self._write_pending()
        datasync(self._file)
        self._unsynced = False
        self._changed[self._pack] = Extent(self._pack, self._size, FULL)
        self._elsewhere += self._size
        self.close()

    def _create(self, pack: int) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(self._path(pack), flags, 0o600)
        self._last = pack
        self.folder_changed = True
        return file

    def _write_pending(self) -> None:
        if not self._pending:
            return
        _write(self._file, b"".join(self._pending), self._size - self._pending_bytes)
        self._pending.clear()
        self._pending_bytes = 0
        self._unsynced = True


class _SideReader:
    """Reads exactly the length that the frame names from a side file."""

    def __init__(self, side: SideFile) -> None:
        self._left = side.length
        try:
            self._file = os.open(side.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _Lost from error
        if os.fstat(self._file).st_size < side.length:
            self.close()
            raise _Lost

    def pieces(self) -> Iterator[bytes]:
        while self._left:
            try:
                piece = os.read(self._file, min(PIECE_BYTES, self._left))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                raise _Lost from error  # a bad sector stays bad: better this body lost than all logs behind it
            if not piece:
                raise _Lost
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _slices(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _write(file: int, data: bytes, at: int) -> int:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view = view[written:]
        at += written
    return at
