"""The words of a reply that was taken in whole, for the steps behind it (contract 2.6)."""

from io import BytesIO

from sluice.engine.held import MOST_HELD_BYTES
from sluice.formats.encodings import coding_of, decoded
from sluice.formats.text import text_of


def words_of(content_type: bytes, content_encoding: bytes, body: bytes) -> str:
    """What the model said, were it streamed or not, compressed or not; what nobody can read is text all the same."""
    return text_of(content_type.decode("latin-1"), plain(content_encoding, body) or body)


def plain(content_encoding: bytes, body: bytes) -> bytes | None:
    """The body without its content coding, None where that is unknown."""
    coding = coding_of(content_encoding)
    if coding == "identity":
        return body
    pieces = decoded(BytesIO(body), coding, MOST_HELD_BYTES)
    return None if pieces is None else b"".join(pieces)
