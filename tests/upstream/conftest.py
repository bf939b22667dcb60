"""The client of this process, on the product's event loop, and a provider that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import pytest
import uvloop

from sluice.deadlines import Deadlines
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.upstream.http import HttpClient, UpstreamReply
from sluice.upstream.origin import Origin
from sluice.upstream.pool import Pool
from sluice.values.reply import Part
from sluice.values.settings import UpstreamSettings

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class Nothing:
    """The body of a request that has none."""

    length: int | None = 0
    whole: bytes | None = b""

    async def read(self) -> bytes:
        return b""


class Client:
    """An HttpClient, and the shortest way to ask it something."""

    def __init__(self, http: HttpClient, metrics: Metrics) -> None:
        self.http = http
        self.open = metrics.gauge("sluice_upstream_connections", "Connections to providers.")
        self.waiting = metrics.gauge("sluice_upstream_waiting", "Requests that wait for a connection to a provider.")

    def pool(self, port: int, host: str = "127.0.0.1") -> Pool:
        return self.http.pool(Origin(host, port, False))

    async def begin(self, pool: Pool) -> UpstreamReply:
        """The reply, its body to be read."""
        return await self.http.send(pool, b"GET", HEAD, Nothing())

    async def ask(self, pool: Pool) -> bytes:
        """The body of the reply."""
        reply = await self.begin(pool)
        body = b""
        part = Part(b"", False)
        while not part.last:
            part = reply.poll() or await reply.read()
            body += part.data
        return body


@pytest.fixture
async def make_client() -> AsyncIterator[Callable[..., Client]]:
    """`make_client(connections=1)`: a client with these settings."""
    clients: list[Client] = []
    with closing(Deadlines(asyncio.get_running_loop(), tick_s=0.02)) as deadlines:

        def make(**settings: Any) -> Client:
            metrics = Metrics.unseen()
            outbox = Outbox(asyncio.get_running_loop())
            clients.append(Client(HttpClient(UpstreamSettings(**settings), deadlines, outbox, metrics), metrics))
            return clients[-1]

        yield make
        for client in clients:
            client.http.close()
        await asyncio.sleep(0.01)  # the loop closes what was aborted


@pytest.fixture
async def stand() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """`await stand(handler)`: a provider whose connections go to the handler; its port."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(handler: Handler) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.01)
