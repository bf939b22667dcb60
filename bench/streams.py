"""Server-sent events through a gateway: an upstream that writes one event at a time, and clients that time each.

The upstream writes one event per connection and tick, the connections opened one after the other, so that a gateway's
read holds one event as a model's does. The processor time a gateway spent, divided by the events it passed, gives the
events it could pass on a whole core; that is more honest than saturating it, when reads would gather many events.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol, Self, cast

import httptools
import uvloop

from bench.contenders import ROOT, Contender
from bench.exchange import head, request_body
from bench.machine import BenchFault, Cores, Program, cpu_s, free_port, rss_mb, wait_until_quiet, watching_rss

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
DONE = b"data: [DONE]\n\n"
_PAD = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1735689600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}],
    }
)[1:]


def event(sequence: int, at_ns: int) -> bytes:
    """An event of a chat stream, numbered and stamped with the time of its writing; all have one length."""
    return f'data: {{"n":"{sequence:08d}","at":"{at_ns:020d}",{_PAD}\n\n'.encode()


EVENT_BYTES = len(event(0, 0))
_STAMP = slice(28, 48)


def written_ns(sequence: int, data: bytes) -> int:
    """When this event was written. Raises BenchFault where one byte of it is not as it was then."""
    stamp = data[_STAMP]
    if not stamp.isdigit() or data != event(sequence, int(stamp)):
        raise BenchFault(f"event {sequence} came back as {data!r}")
    return int(stamp)


class Timing(NamedTuple):
    """Of one stream, in microseconds."""

    first_us: float
    """From asking to reading the first event."""
    delays_us: list[float]
    """From the writing of each event to its reading."""


class Upstream(asyncio.Protocol):
    """Answers each request with as many events as its head asks for, one at once and one every so many milliseconds."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._events, self._every_s = 0, 0.0
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-bench-events":
            self._events = int(value)
        elif name.lower() == b"x-bench-every-ms":
            self._every_s = float(value) / 1000

    def on_message_complete(self) -> None:
        self._transport.write(HEAD)
        self._sent = 0
        self._due = asyncio.get_running_loop().time()
        self._tick()

    def _tick(self) -> None:
        if self._sent == self._events:
            self._transport.write(_chunk(DONE) + b"0\r\n\r\n")
            return
        self._transport.write(_chunk(event(self._sent, time.perf_counter_ns())))
        self._sent += 1
        self._due += self._every_s
        self._timer = asyncio.get_running_loop().call_at(self._due, self._tick)


class Client(asyncio.Protocol):
    """Asks for one stream, keeps what each read held and when, and judges it once all is over."""

    def __init__(self, message: bytes) -> None:
        self._message, self._asked_ns = message, 0
        self._reads: list[tuple[int, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._ended = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._asked_ns = time.perf_counter_ns()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._reads.append((time.perf_counter_ns(), data))
        if data.endswith(b"0\r\n\r\n") and not self.over.done():
            self._transport.close()
            self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(BenchFault(f"a stream was cut: {b''.join(d for _, d in self._reads)[-300:]!r}"))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._ended = True

    def timings(self, events: int) -> list[Timing]:
        """Raises BenchFault where one byte is not as it was written."""
        delays = []
        first_ns = 0
        for at_ns, data in self._reads:
            seen = len(self._body) // EVENT_BYTES
            self._parser.feed_data(data)
            for number in range(seen, min(len(self._body) // EVENT_BYTES, events)):
                written = bytes(self._body[number * EVENT_BYTES : (number + 1) * EVENT_BYTES])
                delays.append((at_ns - written_ns(number, written)) / 1e3)
                first_ns = first_ns or at_ns
        if not self._ended or self._parser.get_status_code() != 200 or self._body[events * EVENT_BYTES :] != DONE:
            raise BenchFault(f"a stream came back wrong, its end is {bytes(self._body[-300:])!r}")
        return [Timing((first_ns - self._asked_ns) / 1e3, delays)]


class Reader(Protocol):
    """A client that has read streams to their ends."""

    def timings(self, events: int) -> list[Timing]: ...


class Pace(NamedTuple):
    """So many streams, opened with a pause between, of so many events with a pause between."""

    streams: int
    events: int
    every_ms: float
    apart_ms: float

    @classmethod
    def at_once(cls, streams: int, events: int, every_ms: float) -> Self:
        """Opened within about a tick: a pause of less than a millisecond is none to uvloop."""
        return cls(streams, events, every_ms, every_ms / streams)

    @property
    def headers(self) -> dict[str, str]:
        """What asks the upstream for such a stream."""
        return {"x-bench-events": str(self.events), "x-bench-every-ms": str(self.every_ms)}

    @property
    def patience_s(self) -> float:
        """How long all of it may take before it has failed."""
        return (self.events * self.every_ms + self.streams * self.apart_ms) / 1000 * 3 + 60


Read = Callable[[Contender, Pace], Coroutine[None, None, Sequence[Reader]]]
"""Opens streams and reads them to their ends."""


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    streams: int
    events: int
    events_per_s: float
    events_per_cpu_s: float
    """What the measured process would pass on a whole core; 0 for the direct way."""
    delay_p50_us: float
    delay_p99_us: float
    first_p50_us: float
    """From asking to reading the first event."""
    rss_peak_mb: float
    rss_after_mb: float


def measure(contender: Contender, pace: Pace, read: Read) -> Run:
    """Opens the streams, reads them to their ends, and checks every byte."""
    measured = contender.measured()
    wait_until_quiet(measured)
    before = cpu_s(measured)
    with watching_rss(measured) as samples:
        started = time.monotonic()
        clients = uvloop.run(read(contender, pace))
        took_s = time.monotonic() - started
    spent = cpu_s(measured) - before
    timings = [timing for client in clients for timing in client.timings(pace.events)]
    delays = sorted(delay for timing in timings for delay in timing.delays_us)
    return Run(
        contender=contender.name,
        streams=pace.streams,
        events=len(delays),
        events_per_s=len(delays) / took_s,
        events_per_cpu_s=len(delays) / spent if spent else 0.0,
        delay_p50_us=delays[len(delays) // 2],
        delay_p99_us=delays[len(delays) * 99 // 100],
        first_p50_us=median(timing.first_us for timing in timings),
        rss_peak_mb=max(samples, default=0.0),
        rss_after_mb=sum(rss_mb(pid) for pid in measured),
    )


async def by_http(contender: Contender, pace: Pace) -> list[Client]:
    """Each stream on a connection of its own."""
    loop = asyncio.get_running_loop()
    body = json.dumps({**json.loads(request_body()), "stream": True}).encode()
    message = head(contender.path, {**pace.headers, **contender.headers}, len(body)) + body
    clients = []
    for _ in range(pace.streams):
        _, client = await loop.create_connection(lambda: Client(message), "127.0.0.1", contender.port)
        clients.append(client)
        await asyncio.sleep(pace.apart_ms / 1000)
    async with asyncio.timeout(pace.patience_s):
        await asyncio.gather(*(client.over for client in clients))
    return clients


def start_upstream(cores: Cores, folder: Path, stack: ExitStack) -> int:
    """The paced upstream on the load's core; returns its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.streams", str(port)]
    program = stack.enter_context(Program(command, cores.load, folder / "stream.log", {"PYTHONPATH": str(ROOT)}))
    program.wait_for_port(port)
    return port


def compare(
    contenders: Sequence[Contender], rounds: int, streams: int, events: int, every_ms: float, cores: Cores
) -> list[dict[str, object]]:
    os.sched_setaffinity(0, {cores.load})
    pace = Pace.at_once(streams, events, every_ms)
    runs = []
    for number in range(rounds):
        turn = number % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            runs.append({"round": number, **asdict(measure(contender, pace, by_http))})
    return runs


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
