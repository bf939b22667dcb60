"""Bodies read out of packs, piece by piece, by any process."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Final, Protocol, cast

import zstandard

from sluice.storage.embedded.packs import EMPTY, PIECE_BYTES, Place, pack_path
from sluice.storage.ports import StoreFault

_LONGEST_HEADER: Final = 18
"""Of a zstd frame (RFC 8878, 3.1.1)."""


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
