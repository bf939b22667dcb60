"""Host names to addresses, each looked up in a thread of its own, and remembered for a while.

The event loop has few threads for that, and whoever names a host may have a name server that takes its time: it would
hold up the calls of all others.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from sluice.metrics import Metrics
from sluice.upstream.addresses import parsed
from sluice.values.errors import Overloaded

MOST_AT_ONCE: Final = 64
MOST_OF_ACCOUNT: Final = 16
"""So that the slow names of one leave room for those of others."""
KEEP_S: Final = 30.0
"""The system's resolver does not tell how long an answer holds."""
STALE_S: Final = 300.0
"""While a name cannot be looked up its last addresses do for so long."""
PATIENCE_S: Final = 1.0
"""And while a name server does not answer, after this."""
MOST_KNOWN: Final = 1_024
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

    def __init__(
        self,
        look: Look = look_up,
        keep_s: float = KEEP_S,
        metrics: Metrics | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._keep_s, self._clock_s = look, keep_s, clock_s
        self._running: dict[_Asked, asyncio.Future[list[str]]] = {}
        self._known: dict[_Asked, _Known] = {}
        metrics = metrics or Metrics.unseen()
        self._count = metrics.gauge("sluice_names_known", "Host names of providers whose addresses are remembered.")
        self._looked = metrics.counter("sluice_name_lookups_total", "Host names of providers looked up.")
        self._failed = metrics.counter("sluice_name_lookups_failed_total", "Of those, the ones without an address.")

    async def addresses(self, host: str, port: int, account: str = "") -> list[str]:
        """None where it has none. Raises Overloaded where too many are being looked up, some perhaps for nobody."""
        if parsed(host):
            return [host]
        asked = _Asked(account, host, port)
        known = self._known.get(asked)
        age_s = self._clock_s() - known.looked_s if known else STALE_S
        if known and age_s < self._keep_s:
            return known.addresses
        if known is None or age_s >= STALE_S:
            return await asyncio.shield(self._running.get(asked) or self._start(asked))
        with suppress(Overloaded):
            looking = self._running.get(asked) or self._start(asked)
            done, _ = await asyncio.wait((looking,), timeout=PATIENCE_S)
            return (looking.result() if done else []) or known.addresses
        return known.addresses

    def _start(self, asked: "_Asked") -> asyncio.Future[list[str]]:
        of_account = sum(other.account == asked.account for other in self._running) if asked.account else 0
        if len(self._running) >= MOST_AT_ONCE or of_account >= MOST_OF_ACCOUNT:
            raise Overloaded
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def done(addresses: list[str]) -> None:
            del self._running[asked]
            self._keep(asked, addresses)
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

    def _keep(self, asked: "_Asked", addresses: list[str]) -> None:
        self._looked.add()
        if not addresses:
            self._failed.add()
            return
        self._known.pop(asked, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[asked] = _Known(addresses, self._clock_s())
        self._count.set(len(self._known))


class _Asked(NamedTuple):
    account: str
    host: str
    port: int


class _Known(NamedTuple):
    addresses: list[str]
    looked_s: float
