"""Content encodings, undone under bounds: a body is hostile until it has been read."""

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import zstandard

MAX_DECODED_BYTES: Final = 100 * 1024 * 1024
PIECE_BYTES: Final = 64 * 1024
_FREE_BYTES: Final = 1024 * 1024
_MAX_RATIO: Final = 256
"""Past the first megabyte a body may unfold to 256 times its size: deflate could 1,032 times, JSON does 5 to 30."""
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
"""RFC 9659 lets nobody use a larger one over HTTP."""
_GZIP, _ZLIB, _RAW = 31, 15, -15


def coding_of(header: bytes) -> str:
    """The one content coding that a Content-Encoding names, `identity` where it names none."""
    if not header:
        return "identity"
    names = [name.strip() for name in header.decode("latin-1").lower().split(",")]
    return ",".join(name for name in names if name not in ("", "identity")) or "identity"


def decoded(source: BinaryIO, coding: str, limit: int = MAX_DECODED_BYTES) -> Iterator[bytes] | None:
    """The body piece by piece, from a source at its start; None where the coding is unknown.

    What cannot be decoded ends it quietly: damage, a cut end, more than `limit` bytes, a ratio that only a bomb has.
    """
    decode = _DECODERS.get(coding)
    return None if decode is None else _bounded(decode(source), source, limit, coding == "identity")


def _bounded(pieces: Iterator[bytes], source: BinaryIO, limit: int, trusted: bool) -> Iterator[bytes]:
    produced = 0
    for piece in pieces:
        allowed = limit if trusted else min(limit, _FREE_BYTES + _MAX_RATIO * source.tell())
        if produced + len(piece) > allowed:
            if produced < allowed:
                yield piece[: allowed - produced]
            return
        produced += len(piece)
        yield piece


def _identity(source: BinaryIO) -> Iterator[bytes]:
    while data := source.read(PIECE_BYTES):
        yield data


def _gzip(source: BinaryIO) -> Iterator[bytes]:
    return _inflated(source, source.read(PIECE_BYTES), _GZIP)


def _deflate(source: BinaryIO) -> Iterator[bytes]:
    """RFC 9110 means the zlib format; some servers send the raw one, as browsers have learned."""
    data = source.read(PIECE_BYTES)
    zlib_header = len(data) >= 2 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _inflated(source, data, _ZLIB if zlib_header else _RAW)


def _inflated(source: BinaryIO, data: bytes, wbits: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits)
    while True:
        try:
            piece = inflate.decompress(data, PIECE_BYTES)
        except zlib.error:
            return
        if piece:
            yield piece
        data = inflate.unconsumed_tail
        if inflate.eof:
            data = inflate.unused_data or source.read(PIECE_BYTES)
            if wbits != _GZIP or not data:
                return
            inflate = zlib.decompressobj(wbits)  # a gzip body may have several members
        elif not data:
            data = source.read(PIECE_BYTES)
            if not data and len(piece) < PIECE_BYTES:  # a full piece may leave more behind it
                return


def _zstd(source: BinaryIO) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    reader = decompressor.stream_reader(source, read_across_frames=True, closefd=False)
    try:
        while piece := reader.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError:
        return


_DECODERS: Final[dict[str, Callable[[BinaryIO], Iterator[bytes]]]] = {
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
