"""Pictures that follow from a prompt."""

import struct
import zlib

from sluice.simulator import words


def png(seed: str) -> bytes:
    """A picture of one pixel, its colour from the seed."""
    source = words.noise(seed)
    pixel = bytes((0, next(source), next(source), next(source)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _block(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
            _block(b"IDAT", zlib.compress(pixel)),
            _block(b"IEND", b""),
        )
    )


def _block(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
