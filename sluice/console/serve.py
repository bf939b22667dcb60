"""Serves the console on its two unix sockets, by uvicorn, until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 60


class _Server(uvicorn.Server):
    """uvicorn without its hands on signals: the supervisor alone says when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(apps: list[tuple[ASGIApp, socket.socket]], stop: Awaitable[None], *, drain_s: float) -> None:
    """Each app on its listening socket. After `stop`, requests that have begun get `drain_s` seconds to end."""
    servers = [_Server(_config(app, drain_s)) for app, _ in apps]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(server.serve([listener])) for server, (_, listener) in zip(servers, apps, strict=True)
        ]
        stopping = asyncio.ensure_future(stop)
        await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for server in servers:
            server.should_exit = True


def _config(app: ASGIApp, drain_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,  # its lines bear query strings
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,  # listening again with another one would shrink the queue
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(drain_s),
    )
