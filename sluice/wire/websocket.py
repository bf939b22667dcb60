"""WebSocket messages for both sides, pure: bytes in, messages out, and messages back to bytes (RFC 6455).

The protocol is that of the library `websockets`. This file adds what it leaves to its callers: the text of a message is
checked, messages are put together in bounded memory, and what is sent is not compressed, so that no reply costs the
event loop more than a copy and an idle connection holds no compressor.
"""

import logging
from collections.abc import Iterable
from struct import Struct
from typing import Final

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from sluice.values.errors import MalformedRequest, WebSocketVersionNotSupported, forget_frames
from sluice.wire.events import RequestHead
from sluice.wire.frames import TEXT, Closing, closing_of, short
from sluice.wire.utf8 import TextCheck

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
INVALID_DATA: Final = 1007
RESTART: Final = 1012

_log: Final = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)  # the library tells of every connection

_DEFLATE: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
"""Either side forgets its window after each message: a connection that waits holds none."""


class WebSocket:
    """One end of an open connection. After every call `outgoing` has what is to be sent, which may be a pong.

    Nothing raises for what the peer does: what is malformed makes it close with the code that says why, and everything
    that comes later is ignored.
    """

    __slots__ = ("_check", "_mask", "_parts", "_protocol", "_text")

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._mask = protocol.side is Side.CLIENT
        self._text = False
        self._check = TextCheck()
        self._parts: bytearray | None = None
        """Of a message that comes in fragments: one more costs no more than its bytes, however many there are."""

    @classmethod
    def dial(cls, url: str, headers: Iterable[tuple[str, str]], max_message_bytes: int | None) -> "WebSocket":
        """The client's end, which begins with a handshake. Raises ValueError for what is no URL of a WebSocket."""
        try:
            protocol = ClientProtocol(parse_uri(url), max_size=max_message_bytes, logger=_log)
        except InvalidURI as error:
            raise ValueError(str(error)) from error
        request = protocol.connect()
        for name, value in headers:
            request.headers[name] = value
        protocol.send_request(request)
        return cls(protocol)

    @property
    def refusal(self) -> str:
        """Why the handshake failed; empty while it has not."""
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            return f"HTTP {error.response.status_code}: {(error.response.body or b'').decode('utf-8', 'replace')}"
        return str(error or "")

    @property
    def open(self) -> bool:
        """Whether messages may still be sent."""
        return self._protocol.state is State.OPEN

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be sent: this side of the connection may be shut."""
        return self._protocol.eof_sent

    def feed(self, data: bytes) -> list[bytes | Closing]:
        """The messages that these bytes complete, in order, text or not; a Closing is the last that ever comes."""
        self._protocol.receive_data(data)
        said: list[bytes | Closing] = []
        for frame in self._protocol.events_received():
            if not isinstance(frame, Frame) or frame.opcode in _UNTOLD:
                continue
            part, frame.data = bytes(frame.data), b""  # the library's parser keeps its last frame until the next comes
            if frame.opcode is Opcode.CLOSE:
                said.append(closing_of(part))
            elif not self._passes(frame.opcode, part, frame.fin):
                self._protocol.fail(INVALID_DATA, "A text message is not UTF-8")
                break
            elif (message := self._gathered(part, frame.fin)) is not None:
                said.append(message)
        return said

    def finish(self) -> None:
        """The peer will send no more bytes: what it began to say is let go of."""
        self._protocol.receive_eof()
        self._parts = None
        let_go(self._protocol)

    def outgoing(self) -> bytes:
        """What is to be sent now: answers to pings and to a goodbye, what `close` says, why it fails."""
        writes = self._protocol.data_to_send()
        return b"".join(writes) if writes else b""

    def message(self, data: bytes) -> bytes:
        """A message of text, ready to be sent behind what is outgoing."""
        if self._mask:
            return Frame(Opcode.TEXT, data).serialize(mask=True)
        return head_of(len(data)) + data

    def close(self, code: int, reason: str = "") -> None:
        """Says goodbye, once; what the peer still sends is read."""
        if self.open:
            self._protocol.send_close(code, short(reason))

    def _passes(self, opcode: Opcode, part: bytes, last: bool) -> bool:
        """Whether a part of a message may be what that says it is."""
        if opcode is not Opcode.CONT:
            self._text = opcode is Opcode.TEXT
        return not self._text or self._check.passes(part, last)

    def _gathered(self, part: bytes, last: bool) -> bytes | None:
        """The message that this part completes."""
        if self._parts is None:
            if last:
                return part
            self._parts = bytearray()
        self._parts += part
        if not last:
            return None
        whole, self._parts = bytes(self._parts), None
        return whole


def accept(head: RequestHead, max_message_bytes: int, subprotocol: bytes | None) -> tuple[WebSocket, list[bytes]]:
    """The server's end for a client that asks for one by GET, and the field lines of the 101.

    Raises MalformedRequest.
    """
    extensions, lines = agreed(head, subprotocol)
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=max_message_bytes, logger=_log)
    protocol.extensions = extensions
    return WebSocket(protocol), lines


def agreed(head: RequestHead, subprotocol: bytes | None) -> tuple[list[Extension], list[bytes]]:
    """What a handshake agrees to beside the protocol, and the field lines of the 101. Raises MalformedRequest."""
    if head.fields.get(b"sec-websocket-version", _VERSION) != _VERSION:
        raise WebSocketVersionNotSupported
    handshake = ServerProtocol(extensions=[_DEFLATE], logger=_log)
    headers = Headers()
    for lower, name, value in head.headers:
        if lower in _HANDSHAKE:
            headers[name.decode("ascii")] = value.decode("latin-1")
    response = handshake.accept(Request("/", headers))
    let_go(handshake)
    if response.status_code != 101:
        raise MalformedRequest(f"This is no WebSocket handshake: {handshake.handshake_exc}")
    lines = [
        f"{name}: {value}\r\n".encode("latin-1")
        for name, value in response.headers.raw_items()
        if name.lower() in _ANSWERED
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol)
    return handshake.extensions, lines


def let_go(protocol: Protocol) -> None:
    """Nothing more is read: the parser, and what stopped it, hold on to their protocol until the collector comes."""
    protocol.parser.close()
    forget_frames(protocol.parser_exc)
    forget_frames(protocol.handshake_exc)


def head_of(size: int) -> bytes:
    """What stands before a message of text in one frame that is not masked (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((_WHOLE, size))
    return _MIDDLE(_WHOLE, 126, size) if size < 65536 else _LONG(_WHOLE, 127, size)


_WHOLE: Final = 0x80 | TEXT
"""The first byte of a frame that is all of a message of text."""
_MIDDLE: Final = Struct(">BBH").pack
_LONG: Final = Struct(">BBQ").pack
_VERSION: Final = b"13"
_HANDSHAKE: Final = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions")
)
_ANSWERED: Final = frozenset(("upgrade", "connection", "sec-websocket-accept", "sec-websocket-extensions"))
_UNTOLD: Final = frozenset((Opcode.PING, Opcode.PONG))
