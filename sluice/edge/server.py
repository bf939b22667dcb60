"""The worker's front: it takes connections, keeps their deadlines, and drains. Start reading here.

A request goes on to connection.py, which reads it and writes its reply, to paths.py, which finds its handler, and
from there to native.py.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from sluice.deadlines import Deadlines
from sluice.edge.body import BodyBudget
from sluice.edge.call import Call
from sluice.edge.connection import Downstream
from sluice.edge.handover import Connection
from sluice.edge.proxies import TrustedProxies
from sluice.edge.tls import Doors
from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.values.errors import GatewayError, Overloaded
from sluice.values.reply import Reply
from sluice.values.settings import LimitSettings

_log = logging.getLogger(__name__)

BACKLOG: Final = 2048
"""As long as the supervisor has it: to listen again with less would shorten the queue."""


class Server:
    """Serves what `answer` answers on listening sockets, until it has drained."""

    def __init__(
        self,
        answer: Callable[[Call], Awaitable[Reply]],
        refuse: Callable[[GatewayError, bytes, bytes], Reply],
        limits: LimitSettings,
        deadlines: Deadlines,
        outbox: Outbox,
        metrics: Metrics,
        tls: ssl.SSLContext | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.answer, self.refuse, self.limits = answer, refuse, limits
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.trusts = (proxies or TrustedProxies(())).trusts
        self._deadlines = deadlines
        self.outbox = outbox
        self.bodies = BodyBudget(limits.whole_bodies_bytes, metrics)
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._doors = tls and Doors(tls, lambda: Downstream(self), limits.connections, limits.head_timeout_s, metrics)
        self._empty = asyncio.Event()
        self._open = metrics.gauge("sluice_connections", "Client connections open.")
        self._replies = [
            metrics.counter("sluice_replies_total", "Replies begun, by status class.", status=f"{hundreds}xx")
            for hundreds in range(1, 10)
        ]

    async def listen(self, listener: socket.socket) -> None:
        """Takes connections from a socket that listens already."""
        if self._doors:
            return self._doors.listen(listener, BACKLOG)
        self._listeners.append(await self.loop.create_server(lambda: Downstream(self), sock=listener, backlog=BACKLOG))

    async def drain(self, timeout_s: float, hastened: Awaitable[None]) -> None:
        """Stops taking connections and lets what runs finish, up to a deadline or until it is to hurry."""
        self.draining = True
        await asyncio.sleep(0.01)  # the loop accepts what is queued on the sockets before they are closed
        for listener in self._listeners:
            listener.close()
        if self._doors:
            self._doors.close()
        for connection in list(self._connections):
            connection.drain()
        if self._doors:
            await self._doors.settle()
        await self._emptied(timeout_s, hastened)
        if self._connections:
            _log.warning("drain cut short", extra=fields(connections=len(self._connections)))
        await asyncio.gather(*[connection.cut() for connection in self._connections])

    async def _emptied(self, timeout_s: float, hastened: Awaitable[None]) -> None:
        self._empty.clear()
        waits = {asyncio.ensure_future(self._empty.wait()), asyncio.ensure_future(hastened)}
        if self._connections:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    # --- what connections call

    def joined(self, connection: Downstream) -> None:
        self._connections.add(connection)
        self._deadlines.watch(connection)
        self._open.set(len(self._connections))
        if len(self._connections) > self.limits.connections:
            connection.refuse(Overloaded())
        elif self.draining:
            connection.drain()

    def handed_over(self, connection: Connection, successor: Connection) -> None:
        """Somebody else goes on with a connection."""
        self._deadlines.forget(connection)
        self._connections.discard(connection)
        self._connections.add(successor)
        self._deadlines.watch(successor)

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._deadlines.forget(connection)
        self._open.set(len(self._connections))
        if not self._connections:
            self._empty.set()

    def replied(self, status: int) -> None:
        self._replies[status // 100 - 1].add()
