"""HTTP/1.1 for both sides, pure: bytes in, events out, and heads and chunks back to bytes (RFC 9112).

The parser is llhttp (by httptools), strict in all it offers. This file adds what it does not know: a reply to HEAD ends
at its head, a reply without a length ends with its connection, bytes after a message spoil the connection, heads are
capped, `Upgrade` to anything but websocket is ignored, and of two ways to say a length neither is believed.
"""

from enum import Enum
from typing import Final

import httptools
import msgspec

from sluice.values.errors import (
    GatewayError,
    HeadTooLarge,
    MalformedRequest,
    UnsupportedEncoding,
    UnsupportedVersion,
    UpstreamBroken,
)
from sluice.values.request import Header


class EndOfMessage(Enum):
    END = 0


END: Final = EndOfMessage.END


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """`length` is None where the body is chunked. `upgrade` is true for websocket alone."""

    method: bytes
    target: bytes
    headers: list[Header]
    length: int | None
    keep_alive: bool
    http11: bool
    expects_continue: bool
    upgrade: bool


class ReplyHead(msgspec.Struct, frozen=True, gc=False):
    """`length` is None where the body is chunked or ends with the connection."""

    status: int
    reason: bytes
    headers: list[Header]
    length: int | None


RequestEvent = RequestHead | bytes | EndOfMessage
ReplyEvent = ReplyHead | bytes | EndOfMessage

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"host", b"expect", b"upgrade"})
_BODILESS: Final = frozenset({204, 304})


class RequestReader:
    """Reads the requests of one connection; pipelined ones come in order.

    `feed` never raises: a malformed message sets `fault`, which stands after the events returned so far, and ends the
    connection. Bytes after a message that asked to close are dropped. After an upgrade `rest` holds what followed it.
    """

    __slots__ = (
        "_barren",
        "_chunked",
        "_events",
        "_expects",
        "_head",
        "_headers",
        "_hosts",
        "_last",
        "_length",
        "_limit",
        "_most_headers",
        "_parser",
        "_size",
        "_target",
        "_upgrade",
        "fault",
        "rest",
    )

    def __init__(self, head_bytes: int, most_headers: int) -> None:
        self._limit, self._most_headers = head_bytes, most_headers
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[RequestEvent] = []
        self._barren = 0
        self._last = False
        self.fault: GatewayError | None = None
        self.rest: bytes | None = None
        self.on_message_begin()

    @property
    def in_head(self) -> bool:
        """Whether the next event due is a head."""
        return self._head is None

    def feed(self, data: bytes) -> list[RequestEvent]:
        """The events that these bytes complete; body pieces as they came."""
        if self._last or self.fault is not None:
            return []
        self._events = []
        self._parse(data)
        events = self._events
        if events:
            self._barren = 0
        elif self.fault is None:
            self._barren += len(data)  # a head, a trailer, chunk extensions, empty lines without end
            if self._barren > self._limit:
                self._fail(HeadTooLarge())
        return events

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[Header] = []
        self._length: int | None = 0
        self._size = self._hosts = 0
        self._chunked = self._expects = self._upgrade = False
        self._head: RequestHead | None = None

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        if self._head is not None:  # a trailer: read, bounded, dropped (RFC 9110, 6.5.1)
            if self._size > self._limit:
                self._fail(HeadTooLarge())
            return
        lower = name.lower()
        self._headers.append((lower, name, value))
        if lower in _FRAMING:
            self._frame(lower, value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return self._fail(UnsupportedVersion())
        if self._size + len(self._target) > self._limit or len(self._headers) > self._most_headers:
            return self._fail(HeadTooLarge())
        http11 = version == "1.1"
        if self._hosts != 1 and (http11 or self._hosts):
            return self._fail(MalformedRequest("Malformed request: exactly one Host header is needed"))
        if self._chunked:
            if not http11:
                return self._fail(MalformedRequest("Malformed request: HTTP/1.0 has no Transfer-Encoding"))
            self._length = None
        if self.fault is None:
            self._head = RequestHead(
                parser.get_method(),
                self._target,
                self._headers,
                self._length,
                parser.should_keep_alive(),
                http11,
                self._expects and http11,
                self._upgrade and parser.should_upgrade(),
            )
            self._events.append(self._head)
            self._size = 0

    def on_body(self, piece: bytes) -> None:
        if self.fault is None:
            self._events.append(piece)

    def on_message_complete(self) -> None:
        if self._head is not None and self.fault is None:
            self._events.append(END)
            self._last = not self._head.keep_alive
            self._head = None

    def _frame(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._length = int(value)  # llhttp has seen to it that these are digits, once
        elif name == b"transfer-encoding":
            self._chunked = True
            if value.strip().lower() != b"chunked":
                self._fail(UnsupportedEncoding())
        elif name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self._expects = value.strip().lower() == b"100-continue"
        else:
            self._upgrade = value.strip().lower() == b"websocket"

    def _fail(self, fault: GatewayError) -> None:
        if self.fault is None:
            self.fault = fault

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                return self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as stop:
                data = self._upgraded(data[stop.args[0] :])
            except httptools.HttpParserError as error:
                if not self._last:
                    self._fail(MalformedRequest(f"Malformed request: {error}"))
                return

    def _upgraded(self, rest: bytes) -> bytes:
        """llhttp stops at an Upgrade and takes a body for the new protocol's, which only websocket's may be.

        Returns what is to be parsed instead: the message without that header, and all that followed.
        """
        if self.fault is not None:
            return b""
        self._events.pop()  # the END that llhttp saw too early
        head = self._events.pop()
        assert isinstance(head, RequestHead)
        if head.method == b"CONNECT":
            self._fail(MalformedRequest("Malformed request: CONNECT is not served here"))
            return b""
        if head.upgrade:
            self._events += [head, END]
            self._last, self.rest = True, rest
            return b""
        self._last = False
        self._parser = httptools.HttpRequestParser(self)
        lines = [field(name, value) for lower, name, value in head.headers if lower != b"upgrade"]
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (head.method, head.target, b"".join(lines), rest)


class ReplyReader:
    """Reads the replies of one upstream connection, one at a time.

    Call `expect` with the request's method before its reply can come. Interim replies (1xx) are skipped. `feed` and
    `finish` never raise: what is no HTTP, or is cut short, sets `fault`. Once `ended`, `reusable` tells whether the
    connection may carry another request.
    """

    __slots__ = (
        "_barren",
        "_bodiless",
        "_by_close",
        "_chunked",
        "_events",
        "_head",
        "_headers",
        "_interim",
        "_length",
        "_limit",
        "_parser",
        "_persistent",
        "_reason",
        "_size",
        "_stale",
        "_surplus",
        "ended",
        "fault",
    )

    def __init__(self, head_bytes: int) -> None:
        self._limit = head_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._stale = self._surplus = False
        self._events: list[ReplyEvent] = []
        self._headers: list[Header] = []
        self._length: int | None = None
        self._reason = b""
        self._size = self._barren = 0
        self._chunked = self._head = self._interim = False
        self._bodiless = self._persistent = self._by_close = False
        self.fault: UpstreamBroken | None = None
        self.ended = True

    def expect(self, method: bytes) -> None:
        """Begins the next reply."""
        if self._stale:
            self._parser = httptools.HttpResponseParser(self)
            self._stale = False
        self._bodiless = method == b"HEAD"
        self._barren = 0
        self.ended = self._persistent = self._by_close = False
        self._begin()

    @property
    def started(self) -> bool:
        """Whether the head of the awaited reply has been read."""
        return self._head

    @property
    def reusable(self) -> bool:
        return self.ended and self._persistent and not self._surplus and self.fault is None

    def feed(self, data: bytes) -> list[ReplyEvent]:
        """The events that these bytes complete."""
        if self.ended or self.fault is not None:
            self._surplus = True
            return []
        events: list[ReplyEvent] = []
        self._events = events
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("switched protocols unasked")
        except httptools.HttpParserError as error:
            if self.ended:
                self._surplus = True
            else:
                self._fail(f"is not HTTP: {error}")
        if events:
            self._barren = 0
        else:
            self._barren += len(data)
            if self._barren > self._limit:
                self._fail("has too large a head")
        return events

    def finish(self) -> list[ReplyEvent]:
        """The connection has ended: an END where that is how this reply ends, else a fault."""
        if self.ended or self.fault is not None:
            return []
        if self._head and self._by_close:
            self.ended = True
            return [END]
        self._fail("was cut short" if self._head else "did not come: the connection was closed")
        return []

    def on_message_begin(self) -> None:
        if self.ended:
            self._surplus = True
        else:
            self._begin()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        if self._head or self.ended:
            return  # a trailer; it is capped as barren bytes are
        lower = name.lower()
        self._headers.append((lower, name, value))
        if lower == b"content-length":
            self._length = int(value)
        elif lower == b"transfer-encoding":
            self._chunked = True
            if value.strip().lower() != b"chunked":
                self._fail("has a transfer coding that is not chunked")

    def on_headers_complete(self) -> None:
        if self.ended or self.fault is not None:
            return
        if self._size > self._limit:
            return self._fail("has too large a head")
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200
        if self._interim:
            return
        if status < 200 or status > 999:
            return self._fail("has a status out of range")
        self._head = True
        self._persistent = self._parser.should_keep_alive()
        length = None if self._chunked else self._length
        self._events.append(ReplyHead(status, self._reason, self._headers, length))
        if self._bodiless:
            self._stale = True  # llhttp now waits for a body that never comes
            self._end()
        elif status not in _BODILESS:
            self._by_close = length is None and not self._chunked

    def on_body(self, piece: bytes) -> None:
        if self.ended:
            self._surplus = True
        elif self.fault is None:
            self._events.append(piece)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.ended and self.fault is None:
            self._end()

    def _begin(self) -> None:
        self._reason = b""
        self._headers = []
        self._length = None
        self._size = 0
        self._chunked = self._head = self._interim = False

    def _end(self) -> None:
        self.ended = True
        self._events.append(END)

    def _fail(self, what: str) -> None:
        if self.fault is None:
            self.fault = UpstreamBroken(f"The reply {what}")


LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS: Final = {
    200: b"OK",
    204: b"No Content",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def status_line(status: int, reason: bytes | None = None) -> bytes:
    """`HTTP/1.1 200 OK` with its line end; the standard reason where none is given."""
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"") if reason is None else reason)


def field(name: bytes, value: bytes) -> bytes:
    """One field line. The caller vouches for the value: see `is_safe_value`."""
    return b"%b: %b\r\n" % (name, value)


_CONTROLS: Final = bytes(set(range(32)) - {9}) + b"\x7f"


def is_safe_value(value: bytes) -> bool:
    """Whether a field value may be sent: no control character but the tab (RFC 9110, 5.5)."""
    return len(value.translate(None, _CONTROLS)) == len(value)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)
