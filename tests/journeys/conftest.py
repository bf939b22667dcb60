"""A client that sees raw bytes, the simulator seen directly, and a provider that does what a test says."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

DEADLINE_S = 20.0
Header = tuple[str, str]


@dataclass
class Reply:
    """A reply as it came over the wire; `fault` is `cut` or `reset` where it is not whole."""

    status: int = 0
    reason: str = ""
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    fault: str = ""

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def seen(self) -> list[Header]:
        """The headers that an echoing provider received."""
        return [(name, value) for name, value in self.json()["headers"]]

    @property
    def seen_body(self) -> bytes:
        return base64.b64decode(self.json()["body"])

    @property
    def connection(self) -> int:
        """Which of its connections an echoing provider received it on."""
        number: int = self.json()["connection"]
        return number


class Line:
    """One connection to the gateway. It reads replies by a few lines of its own, not by the codec under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes, method: str = "GET") -> Reply:
        await self.send(request)
        return await self.reply(method)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, method: str = "GET", deadline_s: float = DEADLINE_S) -> Reply:
        """The next reply to its end, an interim one too."""
        reply = Reply()
        try:
            async with asyncio.timeout(deadline_s):
                await self.head(reply)
                await self._body(reply, method)
        except asyncio.IncompleteReadError as error:
            reply.body += error.partial
            reply.fault = "cut"
        except ConnectionResetError:
            reply.fault = "reset"
        return reply

    async def head(self, reply: Reply) -> None:
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, number, reply.reason = status.split(" ", 2)
        assert version == "HTTP/1.1"
        reply.status = int(number)
        pairs = [line.split(": ", 1) for line in lines]
        reply.headers = [(name, value) for name, value in pairs]

    async def _body(self, reply: Reply, method: str) -> None:
        length = reply.header("content-length")
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return
        if reply.header("transfer-encoding") == "chunked":
            assert length is None
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                reply.body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        elif length is not None:
            reply.body = await self.reader.readexactly(int(length))
        else:
            while piece := await self.reader.read(65_536):
                reply.body += piece

    async def until(self, mark: bytes, deadline_s: float = DEADLINE_S) -> bytes:
        """Raw bytes up to and with a mark."""
        async with asyncio.timeout(deadline_s):
            return await self.reader.readuntil(mark)

    async def end(self, deadline_s: float = DEADLINE_S) -> bytes:
        """All that still comes until the gateway closes its side. Raises ConnectionResetError."""
        async with asyncio.timeout(deadline_s):
            return await self.reader.read()

    def reset(self) -> None:
        """Leaves without a word."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


Wire = Callable[[Any], AbstractAsyncContextManager[Line]]


@pytest.fixture
def wire() -> Wire:
    """`async with wire(gateway) as line`: a connection of its own."""

    @asynccontextmanager
    async def connect(gateway: Any) -> AsyncIterator[Line]:
        line = Line(*await asyncio.open_connection("127.0.0.1", gateway.port, limit=1 << 24))
        try:
            yield line
        finally:
            await line.close()

    return connect


Message = dict[str, Any]


def ends(message: Message) -> bool:
    """Whether an event has no further message."""
    kind = message["type"]
    return kind in ("universal.done", "universal.error") or (kind == "universal.created" and "response" in message)


class Talk:
    """A client of the universal WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def create(self, event_id: str, step: Any, **fields: Any) -> None:
        named = {**step, "eventId": event_id} if isinstance(step, dict) else step
        await self.send({"type": "universal.create", "request": named, **fields})

    async def send(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def next(self) -> Message:
        async with asyncio.timeout(DEADLINE_S):
            message: Message = json.loads(await self.connection.recv())
        return message

    async def until_ended(self, *event_ids: str) -> dict[str, list[Message]]:
        """All messages of these events, by event, once each of them has ended; those of others are passed over."""
        told: dict[str, list[Message]] = {event_id: [] for event_id in event_ids}
        open_ones = set(event_ids)
        while open_ones:
            message = await self.next()
            event_id = message["metadata"]["eventId"]
            if event_id in told:
                assert event_id in open_ones
                told[event_id].append(message)
                if ends(message):
                    open_ones.remove(event_id)
        return told

    async def ask(self, step: Any, event_id: str = "a") -> list[Message]:
        """All that is said to one request."""
        await self.create(event_id, step)
        return (await self.until_ended(event_id))[event_id]

    async def closed(self) -> tuple[int, str]:
        """Code and reason with which the gateway says goodbye."""
        async with asyncio.timeout(DEADLINE_S):
            await self.connection.wait_closed()
        return self.connection.close_code or 0, self.connection.close_reason or ""


@pytest.fixture
def talk() -> Callable[..., AbstractAsyncContextManager[Talk]]:
    """`async with talk(gateway) as client`: a WebSocket of its own to the default gateway."""

    @asynccontextmanager
    async def dial(
        gateway: Any, path: str = "/v1/local/default", headers: dict[str, str] | None = None, **arguments: Any
    ) -> AsyncIterator[Talk]:
        fields = gateway.auth if headers is None else headers
        url = f"ws://127.0.0.1:{gateway.port}{path}"
        arguments = {"ping_interval": None, "max_size": None, "max_queue": None, **arguments}
        async with connect(url, additional_headers=fields, proxy=None, **arguments) as connection:
            yield Talk(connection)

    return dial


class Provider:
    """The simulator behind a gateway."""

    def __init__(self, authority: str) -> None:
        self.authority = authority

    async def entries(self, marker: str, ended: int = 0) -> list[dict[str, Any]]:
        """What it received with this marker, once so many requests have ended."""
        query: dict[str, str | int] = {"marker": marker, "last": 1000}
        if ended:
            query |= {"ended": ended, "wait_ms": int(DEADLINE_S * 1000)}
        found: list[dict[str, Any]] = (await self._own("requests", query))["requests"]
        return found

    async def arrived(self, marker: str, count: int = 1) -> None:
        """Returns once it has received so many requests with this marker."""
        for _ in range(int(DEADLINE_S * 100)):
            if len(await self.entries(marker)) >= count:
                return
            await asyncio.sleep(0.01)  # its journal tells of ends only
        pytest.fail(f"the provider never received {count} requests marked {marker}")

    async def counters(self) -> dict[str, Any]:
        return await self._own("counters", {})

    async def _own(self, path: str, query: dict[str, str | int]) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S + 5) as client:
            answer = await client.get(f"http://{self.authority}/_simulator/{path}", params=query)
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def provider_of() -> Callable[[Any], Provider]:
    """The simulator behind a gateway, found by its echo."""
    return lambda gateway: Provider(dict(gateway.chat(model="echo").json()["headers"])["Host"])


@pytest.fixture(scope="session")
def provider(gateway: Any, provider_of: Callable[[Any], Provider]) -> Provider:
    return provider_of(gateway)


@pytest.fixture
def marker() -> str:
    """A name for the requests of one test in the simulator's journal."""
    return uuid4().hex


@pytest.fixture(scope="session")
def compose() -> Callable[..., bytes]:
    """The bytes of a request to the default gateway. A header of None is left out."""

    def build(
        gateway: Any,
        method: str = "POST",
        path: str = "openai/v1/chat/completions",
        body: bytes | dict[str, Any] = b"",
        **headers: str | None,
    ) -> bytes:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = path if path.startswith("/") or "://" in path else f"/v1/local/default/{path}"
        fields: dict[str, str | None] = {
            "Host": "gateway",
            "cf-aig-authorization": f"Bearer {gateway.token}",
            "Content-Length": str(len(payload)) if payload or method == "POST" else None,
        }
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + payload

    return build


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Stand:
    """A port on which a provider may stand; when none does, connecting is refused."""

    def __init__(self) -> None:
        self._claim = socket.socket()
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._claim.bind(("127.0.0.1", 0))
        self.port: int = self._claim.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self, handler: Handler, **arguments: Any) -> AsyncIterator[None]:
        """Each connection goes to the handler, and is closed when it returns."""
        writers: list[asyncio.StreamWriter] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", self.port, **arguments)
        try:
            yield
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await server.wait_closed()

    def close(self) -> None:
        self._claim.close()


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    one = Stand()
    yield one
    one.close()


def body_of(status: int, code: int, message: str) -> dict[str, Any]:
    one = {"code": code, "message": message}
    return {
        "success": False,
        "result": [],
        "messages": [],
        "error": [one],
        "errors": [one],
        "name": "AiGatewayError",
        "httpCode": status,
        "internalCode": code,
        "message": message,
        "description": message,
    }


@pytest.fixture(scope="session")
def error_body() -> Callable[[int, int, str], dict[str, Any]]:
    """The whole body of an error of ours (docs/errors.md)."""
    return body_of


@pytest.fixture(scope="session")
def expect_failure() -> Callable[[Any, Reply, str], dict[str, Any]]:
    """Compares all that a client is told of a provider's failure, and what only the log tells; returns that."""

    def expect(gateway: Any, reply: Reply, detail: str) -> dict[str, Any]:
        told = body_of(400, 2005, "Failed to get response from provider")
        assert (reply.status, reply.json(), reply.fault) == (400, told, "")
        assert (reply.header("content-type"), reply.header("cf-aig-step")) == ("application/json", "0")
        log: dict[str, Any] = gateway.log(reply.header("cf-aig-log-id"))
        assert (log["status_code"], log["error_code"], log["ending"], log["success"]) == (400, 2005, "refused", False)
        assert (log["path"], log["tokens_in"], log["cost"]) == ("v1/chat/completions", None, None)
        assert detail in log["error_message"]
        assert json.loads(log["response_head"]) == told
        return log

    return expect
