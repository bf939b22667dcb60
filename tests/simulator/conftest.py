"""A simulator on a free port, and a client that sees raw bytes."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from sluice.simulator.server import serve
from sluice.wire.events import END, ReplyHead
from sluice.wire.http1 import ReplyReader


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    fault: str = ""
    pieces: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of the events of a stream, decoded where they are JSON."""
        lines = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Line:
    """One connection to the simulator."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.replies = ReplyReader(1 << 26)

    async def ask(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send(method, target, payload, headers)
        return await self.read(method)

    def send(self, method: str, target: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Sends a request and waits for nothing."""
        said = (f"{name}: {value}" for name, value in (headers or {}).items())
        lines = [f"{method} {target} HTTP/1.1", "Host: sim", f"Content-Length: {len(payload)}", *said]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)

    async def read(self, method: str = "GET") -> Reply:
        self.replies.expect(method.encode())
        reply = Reply(0, [], b"")
        while not self.replies.ended and self.replies.fault is None:
            try:
                data = await self.reader.read(65_536)
            except ConnectionResetError:
                reply.fault = "reset"
                break
            for event in self.replies.feed(data) if data else self.replies.finish():
                if isinstance(event, ReplyHead):
                    reply.status = event.status
                    reply.headers = [(name.decode(), value.decode("latin-1")) for _, name, value in event.headers]
                elif event is not END:
                    assert isinstance(event, bytes)
                    reply.pieces.append(event)
        reply.body = b"".join(reply.pieces)
        reply.fault = reply.fault or str(self.replies.fault or "")
        return reply

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Simulator:
    def __init__(self, port: int) -> None:
        self.port = port

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield line
        finally:
            await line.close()

    async def ask(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request on a connection of its own."""
        async with self.line() as line:
            return await line.ask(method, target, body, headers)

    async def chat(self, model: str = "gpt-4o", said: str = "hello", **more: object) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": said}]} | more
        return await self.ask("POST", "/v1/chat/completions", body)

    async def journal(self, marker: str, ended: int = 1) -> list[Any]:
        """The requests with this marker, once so many have ended."""
        reply = await self.ask("GET", f"/_simulator/requests?marker={marker}&ended={ended}")
        found: list[Any] = reply.json()["requests"]
        return found


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator on the event loop of the product, in a thread of its own."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        await serve("127.0.0.1", 0, lambda port: started.set_result((port, loop, stop)), stop)

    thread = threading.Thread(target=uvloop.run, args=(run(),))
    thread.start()
    port, loop, stop = started.result(10)
    yield Simulator(port)
    loop.call_soon_threadsafe(stop.set)
    thread.join()
