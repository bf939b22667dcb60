"""TLS towards clients: connections taken here are the server's once they have shaken hands."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sluice.metrics import Metrics

SHUTDOWN_S: Final = 2.0
"""How long a client's goodbye is waited for: as long as a plain connection lingers."""
_AT_ONCE: Final = 64
_PAUSE_S: Final = 0.1
"""Without files left nothing is accepted for a moment: the socket would be ready all the time."""


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and later, HTTP/1.1 alone. Raises OSError, ssl.SSLError among them, for files that will not do."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(certificate), Path(key) if key else None, password=lambda: "")  # nobody can be asked
    context.set_alpn_protocols(["http/1.1"])
    return context


class Doors:
    """Accepts connections and lets those in that shake hands in time, so many doing that at once."""

    def __init__(
        self,
        context: ssl.SSLContext,
        inside: Callable[[], asyncio.Protocol],
        most: int,
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        """`inside` makes the protocol of a client that is let in; `most` handshakes go on at once."""
        self._context, self._inside, self._most, self._timeout_s = context, inside, most, timeout_s
        self._loop = asyncio.get_running_loop()
        self._listeners: set[socket.socket] = set()
        self._shaking: set[asyncio.Task[None]] = set()
        self._failed = metrics.counter(
            "sluice_tls_handshakes_failed_total", "Connections of clients that ended before TLS was agreed upon."
        )

    def listen(self, listener: socket.socket, backlog: int) -> None:
        """Accepts from a socket that is bound."""
        listener.setblocking(False)
        listener.listen(backlog)
        self._listeners.add(listener)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Accepts what is queued, and then no more."""
        for listener in self._listeners:
            while self._accept(listener):
                pass
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()

    async def settle(self) -> None:
        """Whoever is at the door has a moment to come in."""
        if self._shaking:
            _, late = await asyncio.wait(self._shaking, timeout=SHUTDOWN_S)
            for task in late:
                task.cancel()

    def _accept(self, listener: socket.socket) -> bool:
        """Whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return False
            except OSError:
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(_PAUSE_S, self._accept_again, listener)
                return False
            client.setblocking(False)
            if len(self._shaking) >= self._most:
                self._failed.add()
                client.close()
                continue
            task = self._loop.create_task(self._let_in(client))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)
        return True

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    async def _let_in(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._inside,
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._timeout_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError:  # ssl.SSLError and TimeoutError are such
            self._failed.add()
            client.close()
        except asyncio.CancelledError:
            self._failed.add()
            client.close()
            raise
