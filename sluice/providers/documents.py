"""Credentials that are JSON documents: a service account of Google's, keys of AWS. Clients send them in base64."""

from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Container, Sequence
from typing import Final, TypeVar

import msgspec

from sluice.values.errors import MalformedCredential
from sluice.values.request import Header

LONGEST: Final = 32 * 1024
"""In base64; Google's are about 3 KB."""
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_SCHEMES: Final = (b"bearer", b"key", b"token")
Decoded = TypeVar("Decoded")


def key_in(headers: Sequence[Header], names: Sequence[bytes]) -> bytes:
    """The key that a client sent, without its scheme; empty where it sent none."""
    for wanted in names:
        for name, _, value in headers:
            if name == wanted:
                scheme, _, rest = value.partition(b" ")
                return rest.strip() if rest and scheme.lower() in _SCHEMES else value.strip()
    return b""


def document_in(key: bytes) -> bytes | None:
    """The JSON object that a key is, as it stands or in base64; None for a key of any other kind."""
    if key.startswith(b"{"):
        return key
    if not key or len(key) > LONGEST:
        return None
    plain = key.rstrip(b"=").translate(_FROM_URL_SAFE)
    try:
        document = b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (ValueError, BadBase64):
        return None
    return document if document.lstrip()[:1] == b"{" else None


def read_document(document: bytes, decoder: msgspec.json.Decoder[Decoded], provider: str) -> Decoded:
    """The document. Raises MalformedCredential, which names the field and never a value."""
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise MalformedCredential(f"The credential for {provider} does not fit: {error}") from None
    except (ValueError, RecursionError):
        raise MalformedCredential(f"The credential for {provider} is not valid JSON") from None


def without(headers: Sequence[Header], names: Container[bytes]) -> list[Header]:
    """The headers but for those of these names."""
    return [header for header in headers if header[0] not in names]
