"""Mixed traffic: plain and streamed replies, clients that hang up, providers that fail, and WebSockets.

Each request ends as its kind says, or is a fault. Whose log id was told must be in the log: `Account.due` has those
that were not found there yet.
"""

import asyncio
import json
import random
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from bench.exchange import head
from bench.traffic import CHAT, DONE, LOG_ID, Broken, read_body

SERVICE_RESTART: Final = 1012
PATIENCE_S: Final = 30.0
SOCKETS: Final = 4
A_SOCKETS_PAUSE_S: Final = 0.25
GATEWAY: Final = "/v1/local/default"


class Restarting(Exception):
    """The gateway restarts, and did not run a request of a WebSocket."""


class Kind(NamedTuple):
    """What is asked, how often of a hundred times, and how it ends."""

    share: int
    model: str
    stream: bool
    status: int
    end: str
    """`whole`; `broken` by the provider; `abandoned` by the client, after the first part."""


KINDS: Final = {
    "plain": Kind(70, "gpt-4o-mini", False, 200, "whole"),
    "streamed": Kind(16, "gpt-4o-mini~words-20", True, 200, "whole"),
    "abandoned": Kind(5, "gpt-4o-mini~words-500~pace-5", True, 200, "abandoned"),
    "failing": Kind(3, "gpt-4o-mini~status-500", False, 500, "whole"),
    "unreachable": Kind(3, "gpt-4o-mini~drop", False, 400, "whole"),
    "broken": Kind(3, "gpt-4o-mini~words-50~cut-5", True, 200, "broken"),
}
_NAMES: Final = list(KINDS)
_SHARES: Final = [kind.share for kind in KINDS.values()]


@dataclass(slots=True)
class Account:
    """What became of all requests."""

    sent: Counter[str] = field(default_factory=Counter)
    """By kind."""
    ended: int = 0
    due: dict[str, float] = field(default_factory=dict)
    """When each request ended that was not found in the log yet, by its log id."""
    faults: list[str] = field(default_factory=list)
    not_begun: int = 0
    """Requests of WebSockets that came too late for a gateway that restarts, as it said."""
    at_s: "array[float]" = field(default_factory=lambda: array("d"))
    took_s: "array[float]" = field(default_factory=lambda: array("d"))
    """When each plain reply was whole, and after how long."""

    def end(self, log_id: str, now_s: float) -> None:
        self.ended += 1
        self.due[log_id] = now_s


class Traffic:
    """So many connections and a few WebSockets, until it is told to stop."""

    def __init__(self, port: int, token: str, connections: int) -> None:
        self.account = Account()
        self._port, self._connections = port, connections
        self._headers = {"cf-aig-authorization": f"Bearer {token}"}
        self._stop = asyncio.Event()
        self._rate = 0.0

    @asynccontextmanager
    async def running(self, rate: float) -> AsyncIterator[Account]:
        """While the block runs, at so many requests a second, or as fast as replies come where it is 0."""
        self._stop.clear()
        self._rate = rate
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._client(number)) for number in range(self._connections)]
            tasks += [group.create_task(self._talk(number)) for number in range(SOCKETS)]
            try:
                yield self.account
            except BaseException:
                for task in tasks:
                    task.cancel()
                raise
            self._stop.set()

    async def _client(self, number: int) -> None:
        """Connection after connection."""
        every_s = self._connections / self._rate if self._rate else 0.0
        await self._pause(number * every_s / self._connections)
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.account.faults.append(f"no connection: {error!r}")
                return
            try:
                await self._use(reader, writer, every_s)
            finally:
                writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while not self._stop.is_set():
            [name] = random.choices(_NAMES, _SHARES)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    usable = await self._ask(name, reader, writer)
            except (OSError, asyncio.IncompleteReadError, Broken, TimeoutError) as error:
                self.account.faults.append(f"{name}: {error!r}")
                return
            if not usable:
                return
            due_s = max(due_s + every_s, loop.time() - every_s)
            await self._pause(due_s - loop.time())

    async def _ask(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request to its end; false where the connection cannot be used any more."""
        kind, loop = KINDS[name], asyncio.get_running_loop()
        self.account.sent[name] += 1
        body = json.dumps(_query(kind, self.account.sent.total())).encode()
        asked_s = loop.time()
        writer.write(head(CHAT, self._headers, len(body)) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        log_id = LOG_ID.search(answer)
        if not answer.startswith(b"HTTP/1.1 %d " % kind.status) or not log_id:
            raise Broken(f"a wrong reply: {answer!r}")
        if kind.end == "abandoned":
            await reader.readuntil(b"\n\n")
        elif not await _is_whole(kind, answer, reader):
            raise Broken(f"an end that is not {kind.end}")
        now_s = loop.time()
        self.account.end(log_id[1].decode(), now_s)
        if name == "plain":
            self.account.at_s.append(now_s)
            self.account.took_s.append(now_s - asked_s)
        return kind.end == "whole" and b"\r\nconnection: close" not in answer.lower()

    async def _talk(self, number: int) -> None:
        """WebSocket after WebSocket; a restart of the gateway is a reason for another."""
        url = f"ws://127.0.0.1:{self._port}{GATEWAY}/"
        while not self._stop.is_set():
            try:
                async with connect(url, additional_headers=self._headers, compression=None) as socket:
                    while not self._stop.is_set() and await self._create(socket):
                        await self._pause(A_SOCKETS_PAUSE_S)
            except (OSError, WebSocketException, Broken, TimeoutError) as error:
                self.account.faults.append(f"WebSocket {number}: {error!r}")

    async def _create(self, socket: ClientConnection) -> bool:
        """One request to its end; false where the gateway restarts, and has not begun it."""
        kind = random.choice((KINDS["plain"], KINDS["streamed"]))
        self.account.sent["by WebSocket"] += 1
        query = _query(kind, self.account.sent.total())
        step = {"provider": "openai", "endpoint": "chat/completions", "query": query}
        begun = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await socket.send(json.dumps({"type": "universal.create", "request": step}))
                while not _is_last(kind, message := json.loads(await socket.recv())):
                    begun = True
        except Restarting:
            self.account.not_begun += 1
            return False
        except ConnectionClosed as closed:
            if begun or closed.rcvd is None or closed.rcvd.code != SERVICE_RESTART:
                raise
            self.account.not_begun += 1
            return False
        self.account.end(message["metadata"]["logId"], asyncio.get_running_loop().time())
        return True

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stop.wait(), seconds)
            except TimeoutError:
                return


def _query(kind: Kind, number: int) -> dict[str, Any]:
    message = {"role": "user", "content": f"This is number {number}."}
    return {"model": kind.model, "stream": kind.stream, "messages": [message]}


async def _is_whole(kind: Kind, answer: bytes, reader: asyncio.StreamReader) -> bool:
    """Reads the rest of a reply; whether it ends as its kind says."""
    try:
        body = await read_body(answer, reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return kind.end == "broken"
    return kind.end == "whole" and (body.endswith(DONE) if kind.stream else body.startswith(b"{"))


def _is_last(kind: Kind, message: Mapping[str, Any]) -> bool:
    """Whether a message of a WebSocket is the last one of a reply. Raises Broken for what is no part of one."""
    said, told = message["type"], message.get("metadata", {})
    if said == "universal.error" and "restarting" in str(message["error"]):
        raise Restarting
    if (
        said not in ("universal.created", "universal.stream", "universal.done")
        or "statusCode" in told
        or "error" in told
    ):
        raise Broken(f"a wrong message: {message}")
    last = "universal.done" if kind.stream else "universal.created"
    return bool(said == last)
