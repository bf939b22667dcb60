"""Content encodings, undone under bounds: a body is hostile until it has been read."""

import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import IO, Final, Protocol, cast

import brotli
import zstandard

MAX_DECODED_BYTES: Final = 100 * 1024 * 1024
PIECE_BYTES: Final = 64 * 1024
_FREE_BYTES: Final = 1024 * 1024
_MAX_RATIO: Final = 256
"""Past the first megabyte a body may unfold to 256 times its size: deflate could 1,032 times, JSON does 5 to 30."""
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
"""RFC 9659 lets nobody use a larger one over HTTP."""
_MOST_CODINGS: Final = 4
"""Put one over the other. Nobody has a use for two; each costs as much time again."""
_MOST_MEMBERS: Final = 10_000
"""Of a gzip body: one that is empty takes 20 bytes, and a microsecond."""
_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of an encoded body: damage behind that costs up to 64 KB before it too."""
_SLICES_BYTES: Final = (512, 1, None)
"""In which what is damaged is decoded again, and once more, and then no more."""
_DAMAGE: Final = (zlib.error, brotli.error, zstandard.ZstdError)
_GZIP, _ZLIB, _RAW = 31, 15, -15


class Source(Protocol):
    """Bytes to be read in order; b"" at their end."""

    def read(self, size: int = ..., /) -> bytes: ...


def coding_of(header: bytes) -> str:
    """The codings that a Content-Encoding names, the first applied first; `identity` where it names none."""
    if not header:
        return "identity"
    names = [name.strip() for name in header.decode("latin-1").lower().split(",")]
    return ",".join(name for name in names if name not in ("", "identity")) or "identity"


def decoded(source: Source, coding: str, limit: int = MAX_DECODED_BYTES) -> Iterator[bytes] | None:
    """The body piece by piece, from a source at its start; None where a coding is unknown, or where they are too many.

    What cannot be decoded ends it quietly: damage, a cut end, more than `limit` bytes, a ratio that only a bomb has.
    So its time has a bound too: a second or so for each coding of the longest body.
    """
    names = coding.split(",")
    if len(names) > _MOST_CODINGS or not _DECODERS.keys() >= set(names):
        return None
    if coding == "identity":
        return _bounded(_identity(source), None, limit)
    outermost = bodies = _Kept(source)
    pieces: Iterator[bytes] = iter(())
    for name in reversed(names):
        pieces = _bounded(_sparing(_DECODERS[name], bodies), outermost, limit)
        bodies = _Kept(_Pieces(pieces))
    return pieces


class _Kept:
    """Counts what was read of a source and remembers it, but where that is too much."""

    __slots__ = ("_pieces", "_source", "taken")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: list[bytes] = []
        self.taken = 0

    def read(self, size: int = PIECE_BYTES) -> bytes:
        data = self._source.read(size)
        self.taken += len(data)
        if self.taken > _KEPT_BYTES:
            self._pieces.clear()
        elif data:
            self._pieces.append(data)
        return data

    def again(self, slice_bytes: int) -> "_Kept":
        """The same from its start, the last that was read in slices."""
        return _Kept(_Sliced(b"".join(self._pieces[:-1]), b"".join(self._pieces[-1:]), slice_bytes))


class _Pieces:
    """A source of what another coding was put over: as it comes, for no reader asks for an exact size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = PIECE_BYTES) -> bytes:
        return next(self._pieces, b"")


def _bounded(pieces: Iterator[bytes], source: _Kept | None, limit: int) -> Iterator[bytes]:
    produced = 0
    for piece in pieces:
        allowed = limit if source is None else min(limit, _FREE_BYTES + _MAX_RATIO * source.taken)
        if produced + len(piece) > allowed:
            if produced < allowed:
                yield piece[: allowed - produced]
            return
        produced += len(piece)
        yield piece


class _Sliced:
    """Bytes as a source, of which the later come in slices."""

    def __init__(self, early: bytes, late: bytes, slice_bytes: int) -> None:
        self._early, self._late = BytesIO(early), BytesIO(late)
        self._slice_bytes = slice_bytes

    def read(self, size: int = PIECE_BYTES) -> bytes:
        return self._early.read(size) or self._late.read(self._slice_bytes)


def _sparing(decode: Callable[[Source], Iterator[bytes]], source: _Kept) -> Iterator[bytes]:
    """All that comes before damage: a decoder loses with it what it had of the same read.

    So what led to it is decoded again, to the byte behind which it begins.
    """
    given = 0
    for slice_bytes in _SLICES_BYTES:
        passed = 0
        try:
            for piece in decode(source):
                passed += len(piece)
                if passed > given:
                    yield piece[given - passed :]
                    given = passed
            return
        except _DAMAGE:
            if slice_bytes is not None:
                source = source.again(slice_bytes)


def _identity(source: Source) -> Iterator[bytes]:
    while data := source.read(PIECE_BYTES):
        yield data


def _gzip(source: Source) -> Iterator[bytes]:
    return _inflated(source, source.read(PIECE_BYTES), _GZIP)


def _deflate(source: Source) -> Iterator[bytes]:
    """RFC 9110 means the zlib format; some servers send the raw one, as browsers have learned."""
    data = source.read(PIECE_BYTES)
    while len(data) < 2 and (more := source.read(PIECE_BYTES)):
        data += more
    zlib_header = len(data) >= 2 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _inflated(source, data, _ZLIB if zlib_header else _RAW)


def _inflated(source: Source, data: bytes, wbits: int) -> Iterator[bytes]:
    inflate, members = zlib.decompressobj(wbits), 1
    while True:
        piece = inflate.decompress(data, PIECE_BYTES)
        if piece:
            yield piece
        data = inflate.unconsumed_tail
        if inflate.eof:
            data = inflate.unused_data or source.read(PIECE_BYTES)
            if wbits != _GZIP or not data or members == _MOST_MEMBERS:
                return
            inflate, members = zlib.decompressobj(wbits), members + 1  # a gzip body may have several members
        elif not data:
            data = source.read(PIECE_BYTES)
            if not data and len(piece) < PIECE_BYTES:  # a full piece may leave more behind it
                return


def _brotli(source: Source) -> Iterator[bytes]:
    decompressor = brotli.Decompressor()
    while not decompressor.is_finished():
        data = source.read(PIECE_BYTES) if decompressor.can_accept_more_data() else b""
        piece = decompressor.process(data, output_buffer_limit=PIECE_BYTES)
        if piece:
            yield piece
        elif not data and decompressor.can_accept_more_data():
            return


def _zstd(source: Source) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    file = cast(IO[bytes], source)  # of which it wants no more than to read
    reader = decompressor.stream_reader(file, read_across_frames=True, closefd=False)
    while piece := reader.read1(PIECE_BYTES):
        yield piece


_DECODERS: Final[dict[str, Callable[[Source], Iterator[bytes]]]] = {
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
