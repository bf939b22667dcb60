"""The words of a reply that was taken in whole, for the steps behind it (contract 2.6)."""

import asyncio
from io import BytesIO
from typing import Final

from sluice.engine.held import MOST_HELD_BYTES
from sluice.formats.encodings import coding_of, decoded
from sluice.formats.text import text_of

SHORT_BYTES: Final = 64 * 1024
"""So much is read at once: 10 ms at worst. A longer body may take seconds, and is read by a thread."""


async def words_of(content_type: bytes, content_encoding: bytes, body: bytes) -> str:
    """What the model said, were it streamed or not, compressed or not; what nobody can read is text all the same."""
    if is_short(content_encoding, body):
        return _words(content_type, content_encoding, body)
    return await asyncio.to_thread(_words, content_type, content_encoding, body)


def is_short(content_encoding: bytes, body: bytes) -> bool:
    """Whether reading a body holds nobody up; of a compressed one the length tells nothing."""
    return len(body) <= SHORT_BYTES and not content_encoding


def _words(content_type: bytes, content_encoding: bytes, body: bytes) -> str:
    return text_of(content_type.decode("latin-1"), plain(content_encoding, body) or body)


def plain(content_encoding: bytes, body: bytes) -> bytes | None:
    """The body without its content coding, None where that is unknown."""
    coding = coding_of(content_encoding)
    if coding == "identity":
        return body
    pieces = decoded(BytesIO(body), coding, MOST_HELD_BYTES)
    return None if pieces is None else b"".join(pieces)
