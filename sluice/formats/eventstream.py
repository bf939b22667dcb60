"""AWS's event streams: binary messages, each with headers, a payload and two checksums. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, and the Smithy specification.
"""

import struct
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
MAX_MESSAGE_BYTES: Final = 24 * 1024 * 1024
"""AWS's own bound."""
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_OVERHEAD: Final = _PRELUDE.size + _CRC.size
_TEXT: Final = 7
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of a header's value by its type: booleans, numbers, a timestamp, a UUID."""
_COUNTED: Final = (6, _TEXT)
"""Bytes and text, whose length comes before them."""


class Message(NamedTuple):
    """One message; of its headers those that are text, as all of Bedrock's are."""

    headers: Mapping[str, str]
    payload: bytes


class MessageReader:
    """Cuts a stream, however it was split, into messages."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that this data completes. Raises ValueError behind the last good one where it is damaged."""
        held, at = self._held, 0
        held += data
        try:
            while len(held) - at >= _PRELUDE.size:
                length = _length_at(held, at)
                if len(held) - at < length:
                    return
                message = _message(bytes(held[at : at + length]))
                at += length
                yield message
        finally:
            del held[:at]

    @property
    def whole(self) -> bool:
        """Whether the stream may end here."""
        return not self._held


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """The bytes of a message whose headers are text."""
    lines = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), _TEXT, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", _OVERHEAD + len(lines) + len(payload), len(lines))
    message = lengths + _CRC.pack(crc32(lengths)) + lines + payload
    return message + _CRC.pack(crc32(message))


class _Wrapped(msgspec.Struct, gc=False):
    bytes: str | None = None


_WRAPPED: Final = msgspec.json.Decoder(_Wrapped)


def event_of(message: Message) -> bytes:
    """The JSON of an event; where AWS hands on what a model says in its own shape, that: it is in base64."""
    if message.headers.get(":event-type") != "chunk":
        return message.payload
    try:
        inner = _WRAPPED.decode(message.payload).bytes
        return message.payload if inner is None else b64decode(inner, validate=True)
    except (ValueError, RecursionError, BadBase64):
        return message.payload


def events_in(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The JSON of all events of a stream, up to where it is damaged or cut."""
    reader = MessageReader()
    try:
        for piece in pieces:
            yield from map(event_of, reader.feed(piece))
    except ValueError:
        return


def _length_at(held: bytearray, at: int) -> int:
    length, _, checksum = _PRELUDE.unpack_from(held, at)
    if crc32(held[at : at + 8]) != checksum:
        raise ValueError("the checksum of a message's lengths is wrong")
    if not _OVERHEAD <= length <= MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return int(length)


def _message(data: bytes) -> Message:
    if crc32(data[: -_CRC.size]) != _CRC.unpack_from(data, len(data) - _CRC.size)[0]:
        raise ValueError("the checksum of a message is wrong")
    behind_headers = _PRELUDE.size + _PRELUDE.unpack_from(data)[1]
    if behind_headers > len(data) - _CRC.size:
        raise ValueError("the headers of a message are longer than it")
    try:
        headers = dict(_headers(data[_PRELUDE.size : behind_headers]))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("the headers of a message cannot be read") from error
    return Message(headers, data[behind_headers : -_CRC.size])


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        name = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
        kind = data[at]
        at += 1
        if kind in _COUNTED:
            (length,) = struct.unpack_from(">H", data, at)
            at += 2
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"a header of the unknown type {kind}")
        if at + length > len(data):
            raise ValueError("a header is cut")
        if kind == _TEXT:
            yield name, data[at : at + length].decode()
        at += length
