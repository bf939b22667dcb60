"""HTTP/1.1 to providers: connections kept alive, streams both ways, every wait with a deadline."""

import asyncio
import ssl
from typing import Final

from sluice.deadlines import Deadlines
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.upstream.connection import Connection
from sluice.upstream.dialling import Dialling, no_foreigner
from sluice.upstream.foreign import Foreign
from sluice.upstream.names import Names
from sluice.upstream.origin import Origin
from sluice.upstream.pool import Gauges, Pool
from sluice.upstream.proxy import Proxy
from sluice.values.errors import Overloaded, UpstreamBroken
from sluice.values.reply import Part, Ready
from sluice.values.request import Body
from sluice.values.settings import UpstreamSettings
from sluice.wire.events import ReplyHead

MOST_POOLS: Final = 1024
"""Of some vendors the clients choose the host, as they do where Google's tokens are asked for."""


class HttpClient:
    """Sends requests to origins. One for each worker, on its event loop."""

    def __init__(
        self,
        settings: UpstreamSettings,
        deadlines: Deadlines,
        outbox: Outbox,
        metrics: Metrics,
        foreign: Foreign | None = None,
        names: Names | None = None,
    ) -> None:
        """`foreign`, where it serves accounts that name origins themselves."""
        self._settings, self._deadlines, self._outbox = settings, deadlines, outbox
        self._loop = asyncio.get_running_loop()
        self._foreign = foreign
        hosts = no_foreigner if foreign is None else foreign.hosts
        proxy = Proxy.of(settings.proxy.reveal(), settings.no_proxy)
        self._dialling = Dialling(trust(settings.ca_file), hosts, names, proxy)
        self._pools: dict[Origin, Pool] = {}
        self._gauges = Gauges(metrics)

    def pool(self, origin: Origin) -> Pool:
        """The connections to an origin. Raises Overloaded for one too many that clients or accounts have named."""
        if origin.account and self._foreign is not None:
            return self._foreign.pool(origin) or self._foreign.keep(self._made(origin))
        pool = self._pools.get(origin)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                self._make_room()
            pool = self._pools[origin] = self._made(origin)
        return pool

    def forget(self, pool: Pool) -> bool:
        """Gives a pool up, if no connection is open in it; whether it did."""
        if pool.size:
            return False
        self._pools.pop(pool.origin, None)
        return True

    async def send(self, pool: Pool, method: bytes, head: bytes, body: Body, switches: bool = False) -> "UpstreamReply":
        """Sends a request and returns its reply as soon as the head is in.

        `head` is the request line and the field lines but those of framing. A connection that was idle and turns out to
        be closed, with not one byte of a reply, is replaced and the request sent once more, provided that its body is
        wholly in memory. `switches` says that the head offers to go on as a WebSocket. Raises UpstreamFailure,
        Overloaded, and what reading the body raises.
        """
        connection = pool.take() or await pool.connect()
        whole = body.whole
        data = head + framing(method, body.length if whole is None else len(whole)) + (whole or b"")
        while True:
            connection.start(method, data, switches)
            pump = None if whole is not None else self._loop.create_task(connection.pump(body))
            try:
                return UpstreamReply(await connection.head(), connection, pool, pump)
            except BaseException as error:
                if pump is not None:
                    pump.cancel()
                pool.give_up(connection)
                stale = connection.used and connection.silent and isinstance(error, UpstreamBroken)
                if whole is None or not stale:
                    raise
            connection = await pool.fresh()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        if self._foreign is not None:
            self._foreign.close()

    def _make_room(self) -> None:
        """Forgets origins that no connection is open to. Raises Overloaded where there is one to each."""
        self._pools = {origin: pool for origin, pool in self._pools.items() if pool.size}
        if len(self._pools) >= MOST_POOLS:
            raise Overloaded

    def _made(self, origin: Origin) -> Pool:
        return Pool(origin, self._settings, self._dialling.dial, self._deadlines, self._outbox, self._gauges)


class UpstreamReply:
    """A provider's reply: its head, and its body to be pulled. `close` is called once, whatever happened."""

    __slots__ = ("_connection", "_pool", "_pump", "head")

    def __init__(self, head: ReplyHead, connection: Connection, pool: Pool, pump: asyncio.Task[None] | None) -> None:
        self.head = head
        self._connection: Connection | None = connection
        self._pool, self._pump = pool, pump

    def poll(self) -> Part | None:
        assert self._connection is not None
        part = self._connection.poll()
        if part is not None and part.last:
            self._finish()
        return part

    async def read(self) -> Part:
        assert self._connection is not None
        part = await self._connection.read()
        if part.last:
            self._finish()
        return part

    def alert(self, ready: Ready | None) -> bool:
        return self._connection is not None and self._connection.alert(ready)

    def close(self, complete: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.alert(None)
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
        elif complete:
            return self._pool.recover(connection)
        self._pool.give_up(connection)

    def release(self) -> tuple[asyncio.Transport, bytes]:
        """The socket of a reply that switched protocols, and what came behind its head. Raises UpstreamBroken."""
        connection, self._connection = self._connection, None
        assert connection is not None
        return connection.release()

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.alert(None)
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()  # answered before it had read the whole request
            self._pool.give_up(connection)
        else:
            self._pool.give_back(connection)


def framing(method: bytes, length: int | None) -> bytes:
    """The field line that says how long the body is, and the end of the head."""
    if length is None:
        return b"Transfer-Encoding: chunked\r\n\r\n"
    if length or method in (b"POST", b"PUT", b"PATCH"):
        return b"Content-Length: %d\r\n\r\n" % length
    return b"\r\n"


def trust(ca_file: str) -> ssl.SSLContext:
    """Certificates are always verified; `ca_file` adds authorities to the system's."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
