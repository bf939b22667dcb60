"""The drain of a worker, with and without connections."""

import asyncio
import socket
from contextlib import closing
from typing import Any

from sluice.deadlines import Deadlines
from sluice.edge.call import Call
from sluice.edge.server import Server
from sluice.engine.remarks import refusal
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.values.errors import GatewayError
from sluice.values.reply import Reply, WholeBody
from sluice.values.settings import LimitSettings


def refuse(error: GatewayError, event_id: bytes, target: bytes) -> Reply:
    return refusal(error, error.status)


async def answer(call: Call) -> Reply:
    return Reply(200, None, [b"Content-Length: 2\r\n"], 2, WholeBody(b"ok"))


async def test_a_server_without_connections_drains_at_once():
    loop = asyncio.get_running_loop()
    with closing(Deadlines(loop)) as deadlines:
        server = Server(
            answer, refuse, LimitSettings(), deadlines, Outbox(asyncio.get_running_loop()), Metrics.unseen()
        )
        await server.listen(socket.create_server(("127.0.0.1", 0)))
        async with asyncio.timeout(1):
            await server.drain(60, asyncio.sleep(60))


async def test_a_reply_at_the_drain_is_the_connections_last(serve: Any, dial: Any):
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(call: Call) -> Reply:
        asked.set()
        await go_on.wait()
        return await answer(call)

    loop = asyncio.get_running_loop()
    with closing(Deadlines(loop)) as deadlines:
        server = Server(
            slowly, refuse, LimitSettings(), deadlines, Outbox(asyncio.get_running_loop()), Metrics.unseen()
        )
        listener = socket.create_server(("127.0.0.1", 0))
        await server.listen(listener)
        reader, writer = await dial(listener.getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        await asked.wait()
        draining = asyncio.create_task(server.drain(60, loop.create_future()))
        await asyncio.sleep(0.05)
        go_on.set()
        received = await reader.read()
        writer.close()
        async with asyncio.timeout(1):
            await draining
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 1  # the second was not run: it may be sent to another worker
    assert b"\r\nConnection: close\r\n" in received
