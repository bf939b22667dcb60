"""WebSocket frames, pure (RFC 6455, 5), for whoever passes them on one by one instead of taking messages.

Whoever takes messages has websocket.py, which answers pings and goodbyes itself; here both are frames like others.
"""

from collections.abc import Generator
from typing import Final, NamedTuple

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, Opcode
from websockets.frames import Frame as WireFrame
from websockets.streams import StreamReader

from sluice.wire.utf8 import TextCheck

CONTINUATION: Final = int(Opcode.CONT)
TEXT: Final = int(Opcode.TEXT)
BINARY: Final = int(Opcode.BINARY)
CLOSE: Final = int(Opcode.CLOSE)
PING: Final = int(Opcode.PING)
PONG: Final = int(Opcode.PONG)

UNSAID: Final = 1005
"""What stands for the code of a close frame that has none; it is never sent."""
_LONGEST_REASON: Final = 123
"""RFC 6455, 5.5: a control frame has 125 bytes, and the code takes two."""


class Frame(NamedTuple):
    """One frame: its kind, its payload unmasked, and whether it is the last of its message."""

    kind: int
    data: bytes
    last: bool = True


class Closing(NamedTuple):
    """Why a connection is closed, as a close frame says it."""

    code: int
    reason: str = ""


class NotText(Exception):
    """What was said to be text is not UTF-8."""


class FrameReader:
    """Reads the frames of one side of a connection, which masks them if it is the client's.

    `feed` never raises: what breaks the protocol sets `fault`, which stands behind the frames returned so far. Behind a
    close frame nothing is read any more.
    """

    __slots__ = ("_check", "_frames", "_masked", "_most", "_open", "_parser", "_stream", "_text", "closing", "fault")

    def __init__(self, masked: bool, most_bytes: int) -> None:
        self._masked, self._most = masked, most_bytes
        self._stream = StreamReader()
        self._frames: list[Frame] = []
        self._open = self._text = False
        self._check = TextCheck()
        self._parser: Generator[None] | None = self._parse()
        self.closing: Closing | None = None
        """What the close frame said, once it has come."""
        self.fault: Closing | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        if self._parser is None:
            return []
        self._stream.feed_data(data)
        try:
            next(self._parser)
        except StopIteration:
            self.close()
        except PayloadTooBig:
            self._fail(1009, f"a frame has more than {self._most} bytes")
        except ProtocolError as error:
            self._fail(1002, str(error))
        except NotText as error:
            self._fail(1007, str(error))
        frames, self._frames = self._frames, []
        return frames

    def close(self) -> None:
        """Reads nothing more, and lets go of what came of a frame and of the parser, which holds on to this."""
        self._parser = None
        self._stream.discard()

    def _fail(self, code: int, reason: str) -> None:
        self.fault = Closing(code, reason)
        self.close()

    def _parse(self) -> Generator[None]:
        while self.closing is None:
            wire = yield from WireFrame.parse(self._stream.read_exact, mask=self._masked, max_size=self._most)
            data, wire.data = bytes(wire.data), b""
            self._take(Frame(int(wire.opcode), data, wire.fin))
            del data  # here nothing is kept of a frame while the next is waited for, which may be long

    def _take(self, frame: Frame) -> None:
        if frame.kind == CLOSE:
            self.closing = self._closing(frame.data)
        elif frame.kind < CLOSE:
            self._follow(frame)
        self._frames.append(frame)

    def _follow(self, frame: Frame) -> None:
        """Keeps to the message that a frame is of."""
        if (frame.kind == CONTINUATION) != self._open:
            raise ProtocolError("a fragment is out of place")
        if frame.kind != CONTINUATION:
            self._text = frame.kind == TEXT
        self._open = not frame.last
        if self._text and not self._check.passes(frame.data, frame.last):
            raise NotText("a text message is not UTF-8")

    def _closing(self, data: bytes) -> Closing:
        try:
            return closing_of(data)
        except UnicodeDecodeError as error:
            raise NotText("the reason of a close frame is not UTF-8") from error


def closing_of(data: bytes) -> Closing:
    """What a close frame says. Raises ProtocolError, and UnicodeDecodeError for a reason that is no text."""
    said = Close.parse(data)
    return Closing(int(said.code), said.reason)


def short(reason: str) -> str:
    """As much of a reason as a close frame can hold."""
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


def framed(frame: Frame, masked: bool) -> bytes:
    """The frame as it is sent, by a client masked."""
    return WireFrame(Opcode(frame.kind), frame.data, frame.last).serialize(mask=masked)


def close_frame(closing: Closing) -> Frame:
    """The frame that says why."""
    if closing.code == UNSAID:
        return Frame(CLOSE, b"")
    return Frame(CLOSE, Close(closing.code, short(closing.reason)).serialize())
