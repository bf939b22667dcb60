"""WebSocket frames for both sides, pure: bytes in, pieces of messages out, and messages back to bytes (RFC 6455).

The protocol is that of the library `websockets`. This file adds what it leaves to its callers: the text of a message is
checked, messages are put together in bounded memory, and what is sent is not compressed, so that no reply costs the
event loop more than a copy and an idle connection holds no compressor.
"""

import logging
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from sluice.values.errors import MalformedRequest, WebSocketVersionNotSupported
from sluice.wire.events import RequestHead
from sluice.wire.utf8 import TextCheck

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
"""Never on the wire: the peer closed without saying why."""
INVALID_DATA: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
INTERNAL: Final = 1011
RESTART: Final = 1012

_log: Final = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)  # the library tells of every connection

_DEFLATE: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
"""Either side forgets its window after each message: a connection that waits holds none."""


class Piece(NamedTuple):
    """A frame of a message: one that begins it says whether it is text, those that go on with it repeat that."""

    data: bytes
    text: bool
    first: bool
    last: bool


class Closed(NamedTuple):
    """The peer's goodbye, NO_STATUS where it gave no reason."""

    code: int
    reason: str


class WebSocket:
    """One end of an open connection. After every call `outgoing` has what is to be sent, which may be a pong.

    Nothing raises for what the peer does: what is malformed makes it close with the code that says why, and everything
    that comes later is ignored.
    """

    __slots__ = ("_check", "_mask", "_protocol", "_text")

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._mask = protocol.side is Side.CLIENT
        self._text = False
        self._check = TextCheck()

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

    @property
    def closed_with(self) -> Closed | None:
        """What this side said when it closed, be it by itself or in answer; None while it has not."""
        sent = self._protocol.close_sent
        return None if sent is None else Closed(int(sent.code), sent.reason)

    def feed(self, data: bytes) -> list[Piece | Closed]:
        """What these bytes complete, in order; a Closed is the last that ever comes."""
        self._protocol.receive_data(data)
        said: list[Piece | Closed] = []
        for frame in self._protocol.events_received():
            if not _is_told(frame):
                continue
            one = self._told(frame)
            if isinstance(one, Piece) and one.text and not self._check.passes(one.data, one.last):
                self._protocol.fail(INVALID_DATA, "A text message is not UTF-8")
                break
            said.append(one)
        return said

    def finish(self) -> None:
        """The peer will send no more bytes."""
        self._protocol.receive_eof()

    def outgoing(self) -> bytes:
        """What is to be sent now: answers to pings and to a goodbye, what `close` says, why it fails."""
        writes = self._protocol.data_to_send()
        return b"".join(writes) if writes else b""

    def message(self, data: bytes, *, text: bool = True, first: bool = True, last: bool = True) -> bytes:
        """A message as a frame, or one frame of it, ready to be sent behind what is outgoing."""
        opcode = Opcode.CONT if not first else Opcode.TEXT if text else Opcode.BINARY
        if self._mask:
            return Frame(opcode, data, last).serialize(mask=True)
        return head_of(int(opcode), len(data), last) + data

    def close(self, code: int, reason: str = "") -> None:
        """Says goodbye, once; what the peer still sends is read. NO_STATUS gives no reason."""
        if self.open:
            self._protocol.send_close(*((None, "") if code == NO_STATUS else (code, short(reason))))

    def _told(self, frame: object) -> Piece | Closed:
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(bytes(frame.data))
            return Closed(int(close.code), close.reason)
        first = frame.opcode is not Opcode.CONT
        if first:
            self._text = frame.opcode is Opcode.TEXT
        return Piece(bytes(frame.data), self._text, first, frame.fin)


class Gathered:
    """Puts messages together; a frame more costs no more than its bytes, however many there are."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: bytearray | None = None

    def add(self, piece: Piece) -> bytes | None:
        """The message that this piece completes."""
        if self._parts is None:
            if piece.last:
                return piece.data
            self._parts = bytearray()
        self._parts += piece.data
        if not piece.last:
            return None
        whole, self._parts = bytes(self._parts), None
        return whole


def accept(head: RequestHead, max_message_bytes: int, subprotocol: bytes | None) -> tuple[WebSocket, list[bytes]]:
    """The server's end for a client that asks for one by GET, and the field lines of the 101.

    Raises MalformedRequest.
    """
    if head.fields.get(b"sec-websocket-version", _VERSION) != _VERSION:
        raise WebSocketVersionNotSupported
    handshake = ServerProtocol(extensions=[_DEFLATE], logger=_log)
    headers = Headers()
    for lower, name, value in head.headers:
        if lower in _HANDSHAKE:
            headers[name.decode("ascii")] = value.decode("latin-1")
    response = handshake.accept(Request("/", headers))
    if response.status_code != 101:
        raise MalformedRequest(f"This is no WebSocket handshake: {handshake.handshake_exc}")
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=max_message_bytes, logger=_log)
    protocol.extensions = handshake.extensions
    lines = [
        f"{name}: {value}\r\n".encode("latin-1")
        for name, value in response.headers.raw_items()
        if name.lower() in _ANSWERED
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol)
    return WebSocket(protocol), lines


def head_of(opcode: int, size: int, last: bool) -> bytes:
    """What stands before the payload of a frame that is not masked (RFC 6455, 5.2)."""
    first = opcode | FIN if last else opcode
    if size < 126:
        return bytes((first, size))
    return _MIDDLE(first, 126, size) if size < 65536 else _LONG(first, 127, size)


FIN: Final = 0x80
_MIDDLE: Final = Struct(">BBH").pack
_LONG: Final = Struct(">BBQ").pack
_VERSION: Final = b"13"
_HANDSHAKE: Final = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions")
)
_ANSWERED: Final = frozenset(("upgrade", "connection", "sec-websocket-accept", "sec-websocket-extensions"))
_CONTROL: Final = frozenset((Opcode.PING, Opcode.PONG))
_LONGEST_REASON: Final = 123
"""What a close frame has room for."""


def _is_told(frame: object) -> bool:
    return isinstance(frame, Frame) and frame.opcode not in _CONTROL


def short(reason: str) -> str:
    """As much of a reason as a close frame can hold."""
    data = reason.encode()
    return reason if len(data) <= _LONGEST_REASON else data[:_LONGEST_REASON].decode("utf-8", "ignore")
