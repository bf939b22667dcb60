"""The edge on a socket of this process, on the product's event loop, in front of an answer that the test hands in."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
import uvloop

from sluice.deadlines import Deadlines
from sluice.edge.call import Call
from sluice.edge.server import Server
from sluice.engine.remarks import refusal
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.values.errors import GatewayError
from sluice.values.reply import Reply
from sluice.values.settings import LimitSettings

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[Call], Awaitable[Reply]]


def refuse(error: GatewayError, event_id: bytes, target: bytes) -> Reply:
    return refusal(error, error.status)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """`await serve(answer, head_bytes=100)` starts it with these limits and returns its port."""
    servers: list[Server] = []
    loop = asyncio.get_running_loop()
    with closing(Deadlines(loop, tick_s=0.02)) as deadlines:

        async def start(answer: Answer, **limits: Any) -> int:
            server = Server(answer, refuse, LimitSettings(**limits), deadlines, Outbox(loop), Metrics.unseen())
            listener = socket.create_server(("127.0.0.1", 0))
            await server.listen(listener)
            servers.append(server)
            port: int = listener.getsockname()[1]
            return port

        yield start
        for server in servers:
            await server.drain(0, loop.create_future())
        await asyncio.sleep(0.01)  # the loop closes what was aborted


@pytest.fixture
async def dial(serve: Any) -> AsyncIterator[Callable[[int], Awaitable[Ends]]]:
    """`reader, writer = await dial(port)`: a client's connection, closed with the test."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(port: int) -> Ends:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()
