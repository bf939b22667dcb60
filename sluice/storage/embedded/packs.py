"""Packs: files of many bodies, each a zstd frame of its own. Rows say where; bytes no row points to are dead."""

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol, cast

import zstandard

from sluice.storage.embedded.open import datasync
from sluice.storage.ports import StoreFault
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
_LONGEST_HEADER: Final = 18
"""Of a zstd frame (RFC 8878, 3.1.1)."""

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


def dictionary_of(folder: Path, segment: str, place: Place) -> int:
    """The number of the dictionary that a body was compressed with; 0 for none, and where there is no such body."""
    if place.pack is None or place.offset is None or not place.stored:
        return 0
    try:
        with pack_path(folder, segment, place.pack).open("rb", buffering=0) as file:
            file.seek(place.offset)
            return dictionary_in(file.read(_LONGEST_HEADER))
    except OSError:
        return 0


def dictionary_in(frame: bytes) -> int:
    """The number of the dictionary that the beginning of a frame names; 0 for none, and where it is no frame."""
    try:
        return zstandard.get_frame_parameters(frame).dict_id
    except zstandard.ZstdError:
        return 0


class Window(Protocol):
    """The bytes of one frame, read once from its beginning."""

    left: int

    def read(self, size: int = -1, /) -> bytes:
        """At most so many, empty at the end. Raises OSError where they are gone."""
        ...

    def close(self) -> None: ...


OpenAway = Callable[[Path, str, Place], Window | None]
"""Opens a frame of a pack that lies elsewhere."""


def read_body(
    folder: Path, segment: str, place: Place, dictionary: bytes | None = None, away: OpenAway | None = None
) -> Iterator[bytes] | None:
    """The body in pieces; None where it is not kept, was lost, or cannot be read from its very beginning."""
    frame = _open_frame(folder, segment, place, dictionary, away)
    if frame is None:
        return iter(()) if place == EMPTY else None
    try:
        first = frame.read(PIECE_BYTES)
    except (zstandard.ZstdError, OSError):
        frame.close()
        return None
    if len(first) == PIECE_BYTES:
        return _rest(frame, first)
    frame.close()
    return iter((first,)) if len(first) == frame.length else None


def read_head(
    folder: Path,
    segment: str,
    place: Place,
    limit: int,
    dictionary: bytes | None = None,
    away: OpenAway | None = None,
) -> bytes | None:
    """The first `limit` bytes of a body without reading the rest; None as for `read_body`."""
    frame = _open_frame(folder, segment, place, dictionary, away)
    if frame is None:
        return b"" if place == EMPTY else None
    try:
        head = frame.read(min(limit, frame.length))
    except (zstandard.ZstdError, OSError):
        return None
    finally:
        frame.close()
    return head if len(head) == min(limit, frame.length) else None


def _rest(frame: "_Frame", piece: bytes) -> Iterator[bytes]:
    seen = 0
    with closing(frame):
        while piece:
            seen += len(piece)
            yield piece
            try:
                piece = frame.read(PIECE_BYTES)
            except (zstandard.ZstdError, OSError) as error:
                raise StoreFault(f"a stored body is damaged: {error}") from error
        if seen != frame.length:
            raise StoreFault(f"a stored body is damaged: it ends at {seen} of {frame.length} bytes")


def _open_frame(
    folder: Path, segment: str, place: Place, dictionary: bytes | None, away: OpenAway | None
) -> "_Frame | None":
    """None where the bytes are not there: a row never gets what lies past the end it was written with."""
    pack, offset, stored, length = place
    if pack is None or offset is None or not stored or length is None:
        return None
    try:
        window = _Window(pack_path(folder, segment, pack), offset, stored)
    except FileNotFoundError:
        elsewhere = away(folder, segment, place) if away else None
        return _Frame(elsewhere, length, dictionary) if elsewhere else None
    if os.fstat(window.fileno()).st_size < offset + stored:
        window.close()
        return None
    return _Frame(window, length, dictionary)


class _Frame:
    """One zstd frame inside a pack, decompressed as it is read: a body of any length in little memory."""

    def __init__(self, window: Window, length: int, dictionary: bytes | None) -> None:
        self.length = length
        self._window = window
        data = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
        read_size = min(window.left, PIECE_BYTES)
        source = cast("IO[bytes]", window)  # no more of it is used than a window has
        self._reader = zstandard.ZstdDecompressor(dict_data=data).stream_reader(source, read_size=read_size)

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end, where the frame's checksum has been compared."""
        parts = []
        while size and (part := self._reader.read(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._window.close()

    def __del__(self) -> None:
        self.close()  # whoever asked for a body may never have begun to read it


class _Window(io.FileIO):
    """A pack of which nothing is seen but one frame: zstd would read on into the next."""

    def __init__(self, path: Path, offset: int, stored: int) -> None:
        super().__init__(path)
        self.seek(offset)
        self.left = stored

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self.left if size is None or size < 0 else min(size, self.left)
        data = super().read(wanted) or b""
        self.left -= len(data)
        return data
