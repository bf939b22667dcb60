"""Host names to addresses, each looked up in a thread of its own.

The event loop has few threads for that, and whoever names a host may have a name server that takes its time: it would
hold up the calls of all others.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sluice.values.errors import Overloaded

MOST_AT_ONCE: Final = 32
Look = Callable[[str, int], list[str]]


def look_up(host: str, port: int) -> list[str]:
    """Every address of a host, in the order in which they are to be tried; none where it has none. Blocks."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return [str(address[0]) for *_, address in found]


class Names:
    """Looks names up for one event loop."""

    def __init__(self, look: Look = look_up) -> None:
        self._look = look
        self._running = 0

    async def addresses(self, host: str, port: int) -> list[str]:
        """Raises Overloaded where too many are being looked up, some perhaps for nobody any more."""
        if self._running >= MOST_AT_ONCE:
            raise Overloaded
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def done(addresses: list[str]) -> None:
            self._running -= 1
            if not found.done():
                found.set_result(addresses)

        def run() -> None:
            addresses = self._look(host, port)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done, addresses)

        self._running += 1
        threading.Thread(target=run, daemon=True, name="names").start()
        return await found
