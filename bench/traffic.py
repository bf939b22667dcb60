"""Steady traffic with an account of it: which requests ended before the client's eyes, and which were cut.

Each request carries a number of its own and its reply must give the number back; every tenth is a stream. The upstream
is here too: it answers at once, streams in a few writes.
"""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.exchange import head
from bench.machine import BenchFault

CHAT = "/v1/local/default/openai/v1/chat/completions"
LOGS = "/client/v4/accounts/local/ai-gateway/gateways/default/logs"
DONE = b"data: [DONE]\n\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
LOG_ID = re.compile(rb"\r\ncf-aig-log-id: *([0-9A-Z]{26})\r\n", re.IGNORECASE)
_NUMBER = re.compile(rb"number (\d+)")


class Broken(Exception):
    """The connection ended, or said something else than the reply that was due."""


@dataclass(slots=True)
class Account:
    """What became of every request."""

    sent: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    """Number of the request by log id, for each whose whole reply was read."""
    cut: list[str] = field(default_factory=list)
    """Why, for each whose connection broke before the end of its reply."""
    refused: int = 0
    """Connections that were not had, or ended before a first reply on them."""
    turned_away: int = 0
    """Replies that there is no room for a log now, where such are allowed."""
    times_s: list[float] = field(default_factory=list)
    """How long each reply took that was no stream, in their order."""


class Load:
    """So many connections, each sending its share of the rate; a broken one is opened anew."""

    def __init__(
        self,
        port: int,
        headers: Mapping[str, str],
        rate: float,
        connections: int = 50,
        *,
        may_be_turned_away: bool = False,
    ) -> None:
        self.account = Account()
        self._may_be_turned_away = may_be_turned_away
        self._port, self._headers = port, headers
        self._every_s = connections / rate
        self._connections = connections
        self._stop = asyncio.Event()
        self._alone = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Account]:
        """Traffic while the block runs; what is under way at its end is finished."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._client(number)) for number in range(self._connections)]
            try:
                yield self.account
            except BaseException:
                for task in tasks:
                    task.cancel()
                raise
            self._stop.set()

    def expect_the_end(self) -> None:
        """From now on a connection that is closed, or refused, is not opened again."""
        self._alone = True

    async def _client(self, number: int) -> None:
        await asyncio.sleep(number * self._every_s / self._connections)
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.account.refused += 1
            else:
                try:
                    await self._use(reader, writer)
                finally:
                    writer.close()
            if self._alone:
                return
            await self._pause(0.05)

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends request after request until the server closes the connection."""
        served = False
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stop.is_set():
            self.account.sent += 1
            number = self.account.sent
            asked_s = loop.time()
            try:
                reply_head, reply = await self._ask(number, reader, writer)
            except (OSError, asyncio.IncompleteReadError, Broken) as error:
                if served or not isinstance(error, (ConnectionError, asyncio.IncompleteReadError)):
                    self.account.cut.append(f"request {number}: {error!r}")
                else:
                    self.account.refused += 1
                return
            served = True
            if number % 10:
                self.account.times_s.append(loop.time() - asked_s)
            self._judge(number, reply_head, reply)
            if b"\r\nconnection: close" in reply_head.lower():
                return
            due += self._every_s
            await self._pause(due - loop.time())

    async def _ask(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[bytes, bytes]:
        body = json.dumps(
            {
                "model": "gpt-4o-mini",
                "stream": number % 10 == 0,
                "messages": [{"role": "user", "content": f"This is number {number}."}],
            }
        ).encode()
        writer.write(head(CHAT, self._headers, len(body)) + body)
        return await read_message(reader)

    def _judge(self, number: int, reply_head: bytes, reply: bytes) -> None:
        log_id = LOG_ID.search(reply_head)
        given = _NUMBER.search(reply)
        if self._may_be_turned_away and reply_head.startswith(b"HTTP/1.1 503 "):
            self.account.turned_away += 1
        elif not reply_head.startswith(b"HTTP/1.1 200 ") or not log_id or not given or int(given[1]) != number:
            self.account.cut.append(f"request {number}: a wrong reply: {(reply_head + reply)[:2000]!r}")
        elif number % 10 == 0 and not reply.endswith(DONE):
            self.account.cut.append(f"request {number}: a stream without its end: {reply[-300:]!r}")
        else:
            self.account.ended[log_id[1].decode()] = number

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stop.wait(), seconds)
            except TimeoutError:
                return


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """A provider that answers with the number it was asked; yields its port."""
    answering: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering[asyncio.create_task(_answer(reader, writer))] = writer

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in answering.values():
            writer.close()
        await asyncio.gather(*answering)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            _, body = await read_message(reader)
            number = _NUMBER.search(body)
            said = f"You are number {int(number[1]) if number else -1}."
            if json.loads(body)["stream"]:
                await _stream(said, writer)
            else:
                reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
                kind = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(kind % len(reply) + reply)
    except (OSError, asyncio.IncompleteReadError):
        writer.close()  # a gateway that was killed says no goodbye


async def _stream(said: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (said, " And", " so", " on."):
        event = b"data: %b\n\n" % json.dumps({"choices": [{"delta": {"content": piece}}]}).encode()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await asyncio.sleep(0.05)
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request or a reply that has a length or chunks. Raises IncompleteReadError at an early end."""
    message_head = await reader.readuntil(b"\r\n\r\n")
    return message_head, await read_body(message_head, reader)


async def read_body(message_head: bytes, reader: asyncio.StreamReader) -> bytes:
    """What follows a head. Raises IncompleteReadError at an early end."""
    if length := _LENGTH.search(message_head):
        return await reader.readexactly(int(length[1]))
    if b"transfer-encoding: chunked" not in message_head.lower():
        raise Broken(f"neither length nor chunks: {message_head!r}")
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


async def check_logs(account: Account, port: int, token: str, may_lack: int = 0) -> int:
    """Compares the account with the log and returns how many logs are missing, of those that may.

    Raises BenchFault where they differ, or the stored bodies are not its own.
    """
    stored = await stored_logs(port, token, at_least=len(account.ended) - may_lack)
    missing = account.ended.keys() - stored.keys()
    twice = [log_id for log_id, times in stored.items() if times > 1]
    wrong = [why for why in account.cut if "wrong reply" in why or "without its end" in why]
    if len(missing) > may_lack or twice or wrong or not account.ended:
        raise BenchFault(
            f"of {len(account.ended)} ended requests {len(missing)} are not in the log, {len(twice)} logs are there "
            f"twice, {len(wrong)} replies were wrong; as {sorted(missing)[:5]} {twice[:5]} {wrong[:3]}"
        )
    there = sorted(account.ended.keys() - missing)
    for log_id in random.sample(there, min(25, len(there))):
        for side in ("request", "response"):
            if (number := await stored_number(port, token, log_id, side)) != account.ended[log_id]:
                raise BenchFault(f"the stored {side} of log {log_id} bears {number}, not {account.ended[log_id]}")
    return len(missing)


async def stored_logs(port: int, token: str, deadline_s: float = 60.0, *, at_least: int = 0) -> Counter[str]:
    """How often each log id is in the log of the default gateway, once its count has stood still for a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    total = -1
    while True:
        answer = await get(reader, writer, f"{LOGS}?per_page=1", token)
        if at_least <= answer["result_info"]["total_count"] == total or loop.time() > end:
            break
        total = answer["result_info"]["total_count"]
        await asyncio.sleep(1)
    found: Counter[str] = Counter()
    for page in range(1, total // 50 + 2):
        answer = await get(reader, writer, f"{LOGS}?per_page=50&page={page}", token)
        found.update(entry["id"] for entry in answer["result"])
    writer.close()
    return found


async def stored_number(port: int, token: str, log_id: str, side: str) -> int:
    """The number in a stored body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = _NUMBER.search(await get_bytes(reader, writer, f"{LOGS}/{log_id}/{side}", token))
    writer.close()
    return int(number[1]) if number else -1


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, token: str) -> Mapping[str, Any]:
    """What a path of the management API answers."""
    decoded: Mapping[str, Any] = json.loads(await get_bytes(reader, writer, path, token))
    return decoded


async def get_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, token: str) -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    answer_head, answer = await read_message(reader)
    if not answer_head.startswith(b"HTTP/1.1 200 "):
        raise Broken(f"{path} was answered with {answer_head + answer!r}")
    return answer
