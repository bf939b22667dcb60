"""One side of a WebSocket that is relayed: frames in and frames out, and the weight that pushes back."""

import asyncio
from math import inf
from typing import Final, Protocol

from sluice.outbox import Outbox
from sluice.wire.frames import CLOSE, PING, PONG, Closing, Frame, FrameReader, framed

PIECE_BYTES: Final = 16 * 1024
"""What is parsed before others have their turn: a read of 256 KB may hold 40,000 frames."""


class Relaying(Protocol):
    """What a side tells of."""

    def heard(self, leg: "Leg", frame: Frame) -> None:
        """A frame of a message came."""

    def parted(self, leg: "Leg", frame: Frame, closing: Closing) -> None:
        """A close frame came, the last that ever does."""

    def broke(self, leg: "Leg", fault: Closing) -> None:
        """What came is no WebSocket; nothing more is read."""

    def lost(self, leg: "Leg") -> None:
        """The connection is over."""

    def weighed(self, leg: "Leg") -> None:
        """It takes no more for now, or takes more again: `full` says which."""


class Nobody:
    """Who is told when it is all over."""

    def heard(self, leg: "Leg", frame: Frame) -> None: ...

    def parted(self, leg: "Leg", frame: Frame, closing: Closing) -> None: ...

    def broke(self, leg: "Leg", fault: Closing) -> None: ...

    def lost(self, leg: "Leg") -> None: ...

    def weighed(self, leg: "Leg") -> None: ...


NOBODY: Final = Nobody()


class Leg(asyncio.Protocol):
    """A connection on which the handshake is done. Pings are answered here: they go from hop to hop."""

    def __init__(
        self, relay: Relaying, transport: asyncio.Transport, outbox: Outbox, most_bytes: int, *, masks: bool
    ) -> None:
        self._relay, self._transport, self._outbox, self._masks = relay, transport, outbox, masks
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(not masks, most_bytes)
        self._ahead = b""
        self._held = self._said_goodbye = self._deaf = False
        self._paused = True
        self.over = False
        """Whether the connection is closed."""
        self.full_since = inf
        """Since when, in loop time, its peer has left what was sent unread."""

    def begin(self, rest: bytes) -> None:
        """Takes the connection over, with what has come on it already."""
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self._loop.call_soon(self.connection_lost, None)
            return
        if rest:
            self.data_received(rest)
        self._flow()

    @property
    def full(self) -> bool:
        """Whether it should be sent no more for now."""
        return self.full_since < inf

    def send(self, frame: Frame) -> None:
        """Sends a frame; behind a goodbye nothing is."""
        if not self._said_goodbye and not self.over:
            self._outbox.put(self._transport, framed(frame, self._masks))

    def part(self, frame: Frame) -> None:
        """Sends a close frame, once; the connection closes when the other's has come too."""
        if not self._said_goodbye:
            self.send(frame)
            self._said_goodbye = True
        if self.over:
            return
        self._outbox.flush()
        if self._reader.closing is not None:
            self._transport.close()
        elif self._deaf and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()  # its goodbye would not be understood: the end of the connection is waited for

    def abort(self) -> None:
        if not self.over:
            self._outbox.flush()
            self._transport.abort()

    def hold(self, held: bool) -> None:
        """Whether nothing more is to be heard for now."""
        self._held = held
        if not held and self._ahead:
            self._loop.call_soon(self._go_on)
        self._flow()

    # --- what the event loop calls

    def data_received(self, data: bytes) -> None:
        waits = bool(self._ahead)
        self._ahead += data
        if not waits:
            self._go_on()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over:
            self.over = True
            self.full_since = inf
            self._ahead = b""
            self._reader.close()
            relay, self._relay = self._relay, NOBODY  # which holds on to this side
            relay.lost(self)

    def pause_writing(self) -> None:
        self.full_since = self._loop.time()
        self._relay.weighed(self)

    def resume_writing(self) -> None:
        self.full_since = inf
        self._relay.weighed(self)

    # --- what came

    def _go_on(self) -> None:
        """Reads a piece of what came; the rest in a later turn of the loop."""
        if self._held or not self._ahead:
            return self._flow()
        piece, self._ahead = self._ahead[:PIECE_BYTES], self._ahead[PIECE_BYTES:]
        for frame in self._reader.feed(piece):
            self._take(frame)
        if self._reader.fault is not None:
            self._ahead = b""
            self._deaf = True
            fault, self._reader.fault = self._reader.fault, None
            self._relay.broke(self, fault)
        if self._ahead:
            self._loop.call_soon(self._go_on)
        self._flow()

    def _take(self, frame: Frame) -> None:
        if frame.kind < CLOSE:
            self._relay.heard(self, frame)
        elif frame.kind == PING:
            if not self.full:  # a peer that pings and reads nothing gets no heap of answers
                self.send(Frame(PONG, frame.data))
        elif frame.kind == CLOSE and self._reader.closing is not None:
            self._relay.parted(self, frame, self._reader.closing)

    def _flow(self) -> None:
        """Reads from the socket unless there is something in the way."""
        pause = self._held or bool(self._ahead)
        if pause != self._paused and not self.over:
            self._paused = pause
            self._transport.pause_reading() if pause else self._transport.resume_reading()
