"""What a client of measurement needs of a WebSocket: the upgrade, frames made beforehand, frames read."""

import socket
from contextlib import ExitStack

from bench.contenders import Contender
from bench.machine import BenchFault

PATIENCE_S = 30
ZERO_KEY = bytes(4)
"""A masking key is legal if it is zero, and leaves the text as it is; the gateway unmasks with it all the same."""
_TEXT = 0x81


def upgrade(contender: Contender) -> bytes:
    """The head of a request for a WebSocket at the contender's path."""
    asked = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "c2x1aWNlLWJlbmNobWFyaw==",
        **contender.headers,
    }
    lines = [f"GET {contender.path} HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items()), "", ""]
    return "\r\n".join(lines).encode()


def check_upgraded(answer: bytes) -> None:
    """Raises BenchFault where the answer's head is no acceptance."""
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise BenchFault(f"a WebSocket was refused: {answer!r}")


def connect(contender: Contender, source: str = "127.0.0.1") -> socket.socket:
    """A WebSocket on a blocking socket."""
    with ExitStack() as stack:
        address = ("127.0.0.1", contender.port)
        connection = stack.enter_context(socket.create_connection(address, PATIENCE_S, source_address=(source, 0)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(upgrade(contender))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):  # a gateway says nothing after it before it is asked
            piece = connection.recv(4096)
            if not piece:
                break
            answer += piece
        check_upgraded(answer)
        stack.pop_all()
    return connection


def text_frame(text: bytes) -> bytes:
    """A message of a client's, of fewer than 64 KB."""
    size = len(text)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes((_TEXT,)) + length + ZERO_KEY + text


class Frames:
    """Cuts what the gateway sends into messages, each of which is one text frame."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete. Raises BenchFault for any other frame."""
        if self._rest:
            data = self._rest + data
        messages = []
        start, end = 0, len(data)
        while end - start >= 2:
            if data[start] != _TEXT:
                raise BenchFault(f"a frame that is no text: {data[start : start + 200]!r}")
            length, body = data[start + 1], start + 2
            if length >= 126:
                body += 2 if length == 126 else 8
                length = int.from_bytes(data[start + 2 : body])
            if body + length > end:
                break
            messages.append(data[body : body + length])
            start = body + length
        self._rest = data[start:]
        return messages
