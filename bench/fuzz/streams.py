"""WebSocket frames and messages, server-sent events, AWS's event streams: the same promises as those of HTTP."""

from struct import pack
from typing import Final
from zlib import crc32

from bench.fuzz.cuts import Broken, bounded, given, same
from sluice.formats.eventstream import Message, MessageReader, event_of
from sluice.formats.sse import EventSplitter, parse_event
from sluice.wire.events import RequestHead
from sluice.wire.frames import Closing, FrameReader
from sluice.wire.websocket import WebSocket, accept

MOST_BYTES: Final = 1 << 10
LONGEST_HEAD: Final = 14
"""Of a frame."""
_FIELDS: Final = {
    b"connection": b"Upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
}
_FAULTY: Final = -1
_FAULTS: Final = (1002, 1007, 1009)
_DEFLATED: Final = {b"sec-websocket-extensions": b"permessage-deflate; client_no_context_takeover"}


def frames(raw: bytes) -> None:
    """Frames as a relay reads them."""
    bits, data, pieces = given(raw)
    whole, split = (FrameReader(bool(bits & 1), MOST_BYTES) for _ in range(2))
    found, others = whole.feed(data), []
    for piece in pieces:
        others += split.feed(piece)
        bounded("a frame", len(split._stream.buffer), MOST_BYTES + LONGEST_HEAD + len(piece))
    same("frames", found, others)
    same("goodbyes", whole.closing, split.closing)
    same("faults", whole.fault, split.fault)
    if any(len(frame.data) > MOST_BYTES for frame in found):
        raise Broken("a frame larger than allowed")


def messages(raw: bytes) -> None:
    """Messages as the universal WebSocket reads them, compressed or not."""
    bits, data, pieces = given(raw)
    whole, split = _opened(bool(bits & 1)), _opened(bool(bits & 1))
    found, others = whole.feed(data), []
    for piece in pieces:
        others += split.feed(piece)
        bounded("a message", len(split._parts or b""), MOST_BYTES)
    same("messages", found, others)
    whole.finish()
    split.finish()
    same("answers", _answers(whole), _answers(split))
    if any(isinstance(one, Closing) for one in found[:-1]):
        raise Broken("a message behind a goodbye")
    if any(isinstance(one, bytes) and len(one) > MOST_BYTES for one in found):
        raise Broken("a message larger than allowed")


def _answers(socket: WebSocket) -> bytes | int:
    """What is said to the client; where it broke the protocol, that much: of two faults in one read either is told."""
    said, goodbye = socket.outgoing(), socket._protocol.close_sent
    return _FAULTY if goodbye is not None and goodbye.code in _FAULTS else said


def _opened(compressed: bool) -> WebSocket:
    fields = _FIELDS | _DEFLATED if compressed else _FIELDS
    headers = [(name, name, value) for name, value in fields.items()]
    return accept(RequestHead(b"GET", b"/", headers, fields, 0, True, True, False, True), MOST_BYTES, None)[0]


def server_sent(raw: bytes) -> None:
    """A stream of server-sent events."""
    bits, data, pieces = given(raw)
    most = 64 if bits & 1 else MOST_BYTES * MOST_BYTES
    whole, split = EventSplitter(most), EventSplitter(most)
    found, others = whole.feed(data), []
    for piece in pieces:
        others += split.feed(piece)
        bounded("an event", sum(map(len, split._held)), most + len(piece))
    same("events", found, others)
    same("what is left", whole.end(), split.end())
    for block in found:
        parse_event(block)
        if len(block) > most or not block:
            raise Broken(f"a block of {len(block)} bytes")


def event_stream(raw: bytes) -> None:
    """AWS's messages; with checksums put right, for no mutation would ever hit one."""
    bits, data, pieces = given(raw)
    if bits & 1:
        headers, payload = data[: bits >> 1], data[bits >> 1 :]
        data = _summed(headers, payload)
        pieces = [data[start : start + 7] for start in range(0, len(data), 7)]
    found, fault = _read([data])
    others, other_fault = _read(pieces)
    same("messages", found, others)
    same("damage", fault, other_fault)
    for message in found:
        event_of(message)


def _read(pieces: list[bytes]) -> tuple[list[Message], bool]:
    """The messages, and whether the stream is damaged behind them."""
    reader = MessageReader()
    found: list[Message] = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
    except ValueError:
        return found, True
    return found, False


def _summed(headers: bytes, payload: bytes) -> bytes:
    lengths = pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + pack(">I", crc32(lengths)) + headers + payload
    return message + pack(">I", crc32(message))
