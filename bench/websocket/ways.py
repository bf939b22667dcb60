"""The same requests over one WebSocket, over kept connections and over new ones, plain and through TLS.

All by one client of asyncio streams, 16 requests at a time. A request's time has that of its connection in it where it
makes one; connections that many requests share are made beforehand, and are in the total.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.contenders import CERTIFICATE, Contender, endpoints, tls_front
from bench.exchange import head, reply_body
from bench.machine import BenchFault, Cores, Program, cpu_s, wait_until_quiet
from bench.traffic import read_message
from bench.websocket.messages import Creates, answered
from bench.websocket.wire import check_upgraded, upgrade

AT_ONCE = 16
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Target(NamedTuple):
    """How to call a gateway: itself, or through what takes TLS off for it."""

    gateway: Contender
    port: int
    tls: ssl.SSLContext | None

    async def connect(self) -> Streams:
        named = "localhost" if self.tls else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=named)


async def one_websocket(target: Target, requests: int) -> list[float]:
    """One WebSocket, the next request sent when a reply has come."""
    reader, writer = await target.connect()
    writer.write(upgrade(target.gateway))
    check_upgraded(await reader.readuntil(b"\r\n\r\n"))
    creates, numbers = Creates.plain(), iter(range(requests))
    asked: dict[int, float] = {}
    times = []

    def ask() -> None:
        for number in numbers:
            asked[number] = time.perf_counter()
            return writer.write(creates.frame(number))

    for _ in range(AT_ONCE):
        ask()
    while asked:
        number = answered(await _text(reader))
        times.append(time.perf_counter() - asked.pop(number))
        ask()
    writer.close()
    return times


async def kept_connections(target: Target, requests: int) -> list[float]:
    """Connections that are kept, one request at a time on each."""
    message, expected = _post(target.gateway), reply_body().encode()
    numbers, times = iter(range(requests)), list[float]()

    async def client() -> None:
        reader, writer = await target.connect()
        for _ in numbers:
            started = time.perf_counter()
            writer.write(message)
            await _reply(reader, expected)
            times.append(time.perf_counter() - started)
        writer.close()

    await _at_once(client)
    return times


async def new_connections(target: Target, requests: int) -> list[float]:
    """A connection for each request."""
    message, expected = _post(target.gateway), reply_body().encode()
    numbers, times = iter(range(requests)), list[float]()

    async def client() -> None:
        for _ in numbers:
            started = time.perf_counter()
            reader, writer = await target.connect()
            writer.write(message)
            await _reply(reader, expected)
            times.append(time.perf_counter() - started)
            writer.close()

    await _at_once(client)
    return times


async def _at_once(client: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


def _post(gateway: Contender) -> bytes:
    body = gateway.body.encode()
    return head(gateway.path, gateway.headers, len(body)) + body


async def _reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    answer_head, answer = await read_message(reader)
    if not answer_head.startswith(b"HTTP/1.1 200 ") or answer != expected:
        raise BenchFault(f"a wrong reply: {answer_head + answer!r}")


async def _text(reader: asyncio.StreamReader) -> bytes:
    """The next message of at least 126 bytes and fewer than 64 KB, as all replies here are."""
    start = await reader.readexactly(4)
    if not start.startswith(b"\x81\x7e"):
        raise BenchFault(f"a frame that begins with {start!r}")
    return await reader.readexactly(int.from_bytes(start[2:]))


class Way(NamedTuple):
    name: str
    ask: Callable[[Target, int], Awaitable[list[float]]]
    target: Target
    front: Program | None


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    requests: int
    total_s: float
    p50_ms: float
    p99_ms: float
    client_us: float
    """Processor time for each request, as the other two."""
    worker_us: float
    front_us: float
    """Of the nginx that takes TLS off; 0 where there is none."""


def measure(way: Way, requests: int) -> Run:
    """All the requests, once. Raises BenchFault where a reply is not the one expected."""
    gateway = way.target.gateway
    workers = [gateway.process("sluice: worker")]
    fronts = list(way.front.family().values()) if way.front else []
    wait_until_quiet([*workers, gateway.process("sluice: keeper")])
    worker_s, front_s, client_s = cpu_s(workers), cpu_s(fronts), time.process_time()
    started = time.perf_counter()
    times = sorted(uvloop.run(_within(way, requests)))
    total_s = time.perf_counter() - started
    client_s = time.process_time() - client_s
    worker_s, front_s = cpu_s(workers) - worker_s, cpu_s(fronts) - front_s
    if len(times) != requests:
        raise BenchFault(f"{len(times)} replies to {requests} requests by {way.name}")
    p50, p99 = (times[requests * part // 100] * 1e3 for part in (50, 99))
    costs = [seconds * 1e6 / requests for seconds in (client_s, worker_s, front_s)]
    return Run(way.name, requests, total_s, p50, p99, *costs)


async def _within(way: Way, requests: int) -> list[float]:
    async with asyncio.timeout(120):
        return await way.ask(way.target, requests)


def compare(gateway: Contender, rounds: int, requests: int, cores: Cores, folder: Path) -> list[dict[str, object]]:
    """Each way in turn; a first run of each is not counted."""
    with ExitStack() as stack:
        port, front = tls_front(gateway.port, cores, folder, stack)
        ways = list(_ways(gateway, port, front))
        for way in ways:
            measure(way, requests)
        return list(_in_turn(ways, rounds, requests))


def _ways(gateway: Contender, tls_port: int, front: Program) -> Iterator[Way]:
    native, universal, _ = endpoints(gateway)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    for through, port, tls, program in (("", gateway.port, None, None), (" by TLS", tls_port, trusting, front)):
        yield Way(f"one WebSocket{through}", one_websocket, Target(universal, port, tls), program)
        yield Way(f"{AT_ONCE} kept connections{through}", kept_connections, Target(native, port, tls), program)
        yield Way(f"a new connection each{through}", new_connections, Target(native, port, tls), program)


def _in_turn(ways: Sequence[Way], rounds: int, requests: int) -> Iterator[dict[str, object]]:
    for number in range(rounds):
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            yield {"round": number, **asdict(measure(way, requests))}
