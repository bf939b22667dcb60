"""Logs as lines of JSON that leave nothing out: what `sluice logs export` writes and `import` reads."""

import base64
import binascii
from typing import Final, Literal

import msgspec

from sluice.values.ids import key_of
from sluice.values.log import LogEntry, NewLog

EDITION: Final = 1
_MOST_MS: Final = (1 << 42) - 1
"""The latest time that a log's key has room for."""


class WrongLine(ValueError):
    """A line that is no log; the text says why, and is shown to whoever imports it."""


class Unfit(ValueError):
    """A log that a format has no room for; the text says why, and is shown to whoever exports it."""


class Portable(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. A body is text where it is UTF-8, else base64; null is one that was not kept."""

    sluice_log: Literal[1]
    entry: LogEntry
    request: str | None = None
    request_base64: str | None = None
    response: str | None = None
    response_base64: str | None = None


_decode: Final = msgspec.json.Decoder(Portable).decode


def written(entry: LogEntry, request: bytes | None, response: bytes | None) -> bytes:
    """The line, with its line feed."""
    asked, answered = _body(request), _body(response)
    line = Portable(EDITION, entry, *asked, *answered)
    return msgspec.json.encode(line) + b"\n"


def read(line: bytes) -> NewLog:
    """Raises WrongLine."""
    try:
        found = _decode(line.decode())
        if key_of(found.entry.id) >> 21 > _MOST_MS:
            raise ValueError("out of range")
    except msgspec.ValidationError as error:
        raise WrongLine(f"no exported log: {error}") from None
    except (ValueError, RecursionError):
        raise WrongLine("no JSON, or without a log's id") from None
    request = _bytes(found.request, found.request_base64)
    return NewLog(found.entry, request, _bytes(found.response, found.response_base64))


def _body(body: bytes | None) -> tuple[str | None, str | None]:
    if body is None:
        return None, None
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()


def _bytes(text: str | None, encoded: str | None) -> bytes | None:
    if text is not None:
        return text.encode()
    try:
        return None if encoded is None else base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise WrongLine("a body is no base64") from None
