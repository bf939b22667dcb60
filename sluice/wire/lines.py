"""What is written of an HTTP/1.1 message: its lines, its chunks."""

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS: Final = {
    101: b"Switching Protocols",
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
