"""Writes to sockets, handed to the kernel together at the end of a turn of the event loop."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 256 * 1024
"""Past it what waits is written at once."""
LONE_S: Final = 0.0001
"""A write so long after the one before is alone: to wait for company would only delay it."""


class Outbox:
    """Keeps what is to be written until every event of the turn was looked at, then writes it all, in order.

    A write to a peer that sleeps pays for waking it, which on a virtual machine is a fifth of a request's time. Of
    writes in a row only the first does: the others find it awake (docs/performance.md).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._call_soon, self._clock_s = loop.call_soon, clock_s
        self._transports: list[asyncio.Transport] = []
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._last_s = 0.0

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Writes before the loop waits again, behind all that was put before."""
        now_s = self._clock_s()
        quiet_s, self._last_s = now_s - self._last_s, now_s
        if not self._transports:
            if quiet_s > LONE_S:
                transport.write(data)
                return
            self._call_soon(self.flush)
        self._transports.append(transport)
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits now. What is meant for a connection that has closed meanwhile is dropped."""
        transports, pieces = self._transports, self._pieces
        self._transports, self._pieces, self._bytes = [], [], 0
        for place, transport in enumerate(transports):
            if not transport.is_closing():
                transport.write(pieces[place])
