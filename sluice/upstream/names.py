"""Host names to addresses, each looked up in a thread of its own.

The event loop has few threads for that, and whoever names a host may have a name server that takes its time: it would
hold up the calls of all others.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from sluice.values.errors import Overloaded

MOST_AT_ONCE: Final = 64
MOST_OF_ACCOUNT: Final = 16
"""So that the slow names of one leave room for those of others."""
Look = Callable[[str, int], list[str]]


def look_up(host: str, port: int) -> list[str]:
    """Every address of a host, in the order in which they are to be tried; none where it has none. Blocks."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return [str(address[0]) for *_, address in found]


class Names:
    """Looks names up for one event loop. Whoever asks for one that is being looked up waits for that answer."""

    def __init__(self, look: Look = look_up) -> None:
        self._look = look
        self._running: dict[_Asked, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str, port: int, account: str = "") -> list[str]:
        """Raises Overloaded where too many are being looked up, some perhaps for nobody any more."""
        asked = _Asked(account, host, port)
        return await asyncio.shield(self._running.get(asked) or self._start(asked))

    def _start(self, asked: "_Asked") -> asyncio.Future[list[str]]:
        of_account = sum(other.account == asked.account for other in self._running)
        if len(self._running) >= MOST_AT_ONCE or of_account >= MOST_OF_ACCOUNT:
            raise Overloaded
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def done(addresses: list[str]) -> None:
            del self._running[asked]
            if not found.done():  # the loop may have cancelled it at its end
                found.set_result(addresses)

        def run() -> None:
            addresses = self._look(asked.host, asked.port)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done, addresses)

        try:
            threading.Thread(target=run, daemon=True, name="names").start()
        except RuntimeError as error:  # the system has no thread left
            raise Overloaded from error
        self._running[asked] = found
        return found


class _Asked(NamedTuple):
    account: str
    host: str
    port: int
