"""The value of cf-aig-metadata."""

from typing import Final

import msgspec

from sluice.values.log import MAX_METADATA_BYTES, Scalar, kept_metadata

_METADATA: Final = msgspec.json.Decoder(dict[str, str | int | float | bool])


def parse_metadata(raw: bytes) -> dict[str, Scalar]:
    """The value of cf-aig-metadata by the rules of contract 7.5; empty where they discard it."""
    if len(raw) > MAX_METADATA_BYTES:
        return {}
    try:
        return kept_metadata(_METADATA.decode(_as_utf8(raw)))
    except (ValueError, RecursionError, OverflowError):
        return {}


def _as_utf8(raw: bytes) -> bytes:
    """Header values are Latin-1 to fetch() in browsers and Node, UTF-8 to most others."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()
    return raw
