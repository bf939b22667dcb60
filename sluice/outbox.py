"""Writes to sockets, handed to the kernel together at the end of a turn of the event loop."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 256 * 1024
"""Past it what waits is written at once."""
LONE_S: Final = 0.0001
"""A turn's first write so long after the one before is alone: to wait for company would only delay it."""


class Outbox:
    """Keeps what is to be written until every event of the turn was looked at, then writes it all.

    A write to a peer that sleeps pays for waking it, which on a virtual machine is a fifth of a request's time. Of
    writes in a row only the first does: the others find it awake (docs/performance.md). What goes to one connection,
    the messages of a WebSocket among them, is one write; connections come in the order of their first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._call_soon, self._clock_s = loop.call_soon, clock_s
        self._pieces: dict[asyncio.Transport, list[bytes]] = {}
        self._bytes = 0
        self._last_s = 0.0
        self._ending = False
        """Whether the end of this turn is asked for: something was written in it, or waits."""

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Writes before the loop waits again, behind all that was put before for the same connection."""
        now_s = self._clock_s()
        quiet_s, self._last_s = now_s - self._last_s, now_s
        if not self._ending:
            self._ending = True
            self._call_soon(self._end)
            if quiet_s > LONE_S:
                transport.write(data)
                return
        pieces = self._pieces.get(transport)
        if pieces is None:
            self._pieces[transport] = [data]
        else:
            pieces.append(data)
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.flush()

    def _end(self) -> None:
        self._ending = False
        self.flush()

    def flush(self) -> None:
        """Writes what waits now. What is meant for a connection that has closed meanwhile is dropped."""
        waiting, self._pieces, self._bytes = self._pieces, {}, 0
        for transport, pieces in waiting.items():
            if not transport.is_closing():
                transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
