"""Streams through gateways that may write each event anew: an upstream that paces them, clients that time what is said.

How many events and how often is asked for in the message to the model, for not every gateway passes headers on; each
event's text is its number and the time it was written.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import httptools
import uvloop

from bench.contenders import Contender
from bench.exchange import head, reply_body
from bench.machine import BenchFault, Cores, cpu_s, rss_mb, wait_until_quiet, watching_rss
from bench.peers.calls import Call, plain
from bench.peers.gateways import Gateway
from bench.peers.upstreams import Upstream, start_module
from bench.streams import DONE, HEAD

ASKED: Final = re.compile(rb"events=(\d+) every_ms=([0-9.]+)")
PLAIN_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STAMP: Final = re.compile(rb"(\d{8})@(\d{20}) ")


def said(sequence: int, at_ns: int) -> str:
    return f"{sequence:08d}@{at_ns:020d} "


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1735689600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


class Paced(asyncio.Protocol):
    """Answers each request with the events it asks for: the first at once, then one every so many milliseconds."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._events, self._every_s, self._sent = 0, 0.0, 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        asked = ASKED.search(self._body)
        if asked is None:  # as of those who want to know whether a gateway is there
            reply = reply_body().encode()
            self._transport.write(PLAIN_HEAD % len(reply) + reply)
            if not self._parser.should_keep_alive():
                self._transport.close()
            return
        self._events, self._every_s, self._sent = int(asked[1]), float(asked[2]) / 1000, 0
        self._due = asyncio.get_running_loop().time()
        self._transport.write(HEAD + _chunk(event({"role": "assistant", "content": ""})))
        self._tick()

    def _tick(self) -> None:
        if self._sent == self._events:
            self._transport.write(_chunk(event({}, "stop")) + _chunk(DONE) + b"0\r\n\r\n")
            return
        self._transport.write(_chunk(event({"content": said(self._sent, time.perf_counter_ns())})))
        self._sent += 1
        self._due += self._every_s
        self._timer = asyncio.get_running_loop().call_at(self._due, self._tick)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def upstream(cores: Cores, folder: Path, stack: ExitStack) -> Upstream:
    return Upstream(start_module("bench.peers.pacing", cores, folder, stack))


class Pace(NamedTuple):
    """So many streams, opened within a tick, of so many events with a pause between."""

    streams: int
    events: int
    every_ms: float

    @property
    def asked(self) -> str:
        return f"events={self.events} every_ms={self.every_ms}"

    @property
    def patience_s(self) -> float:
        """How long all of it may take before it has failed."""
        return self.events * self.every_ms / 1000 * 3 + 60


class Timing(NamedTuple):
    """Of one stream, in microseconds."""

    first_us: float
    """From asking to reading the first event that has text."""
    delays_us: list[float]
    """From the writing of each such event to its reading."""
    gaps_us: list[float]
    """From the reading of each to that of the next."""


class Client(asyncio.Protocol):
    """Asks for one stream, keeps what each read held and when, and judges it once all is over."""

    def __init__(self, message: bytes, name: str) -> None:
        self._message, self._name, self._asked_ns = message, name, 0
        self._pieces: list[tuple[int, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._asked_ns = time.perf_counter_ns()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter_ns()
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(BenchFault(f"{self._name} cut a stream, after {self._end()!r}"))

    def on_body(self, data: bytes) -> None:
        self._pieces.append((self._now, data))

    def on_message_complete(self) -> None:
        self._transport.close()
        if not self.over.done():
            self.over.set_result(None)

    def timing(self, events: int) -> Timing:
        """Raises BenchFault where it is not the stream that was asked for, in full."""
        body, start = b"", 0
        text, reads, delays = "", list[int](), list[float]()
        for at_ns, piece in self._pieces:
            body += piece
            for stamp in STAMP.finditer(body, start):
                text += said(len(reads), int(stamp[2]))
                reads.append(at_ns)
                delays.append((at_ns - int(stamp[2])) / 1e3)
                start = stamp.end()
        right = self._parser.get_status_code() == 200 and len(reads) == events > 0
        if not right or told(body) != (text, ["stop"]):
            raise BenchFault(f"{self._name} gave a wrong stream, which ends with {self._end()!r}")
        gaps = [(after - before) / 1e3 for before, after in pairwise(reads)]
        return Timing((reads[0] - self._asked_ns) / 1e3, delays, gaps)

    def _end(self) -> bytes:
        return b"".join(piece for _, piece in self._pieces)[-500:]


def told(body: bytes) -> tuple[str, list[str]] | None:
    """All text of a stream and the reasons of its end; nothing where it is no stream of chunks up to `[DONE]`."""
    *lines, last = [line for line in body.decode(errors="replace").splitlines() if line.startswith("data: ")] or [""]
    if last != "data: [DONE]":
        return None
    try:
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
        choices: list[dict[str, Any]] = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
    except (ValueError, KeyError, TypeError):
        return None
    return text, [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    streams: int
    events: int
    events_per_s: float
    cpu_s_per_1000: float
    """Processor seconds of all its processes for a thousand events."""
    first_p50_us: float
    first_p99_us: float
    delay_p50_us: float
    delay_p99_us: float
    gap_p50_us: float
    gap_p99_us: float
    rss_peak_mb: float
    rss_after_mb: float


def way(gateway: Gateway, call: Call, pace: Pace) -> Contender:
    """How to ask a gateway for such streams."""
    query = {**plain(), "stream": True, "messages": [{"role": "user", "content": pace.asked}]}
    return Contender(
        gateway.name, gateway.port, call.path, call.headers, gateway.program, gateway.core, call.write(query)
    )


def measure(contender: Contender, pace: Pace) -> Run:
    """Opens the streams, reads them to their ends, and checks every event."""
    measured = contender.measured()
    wait_until_quiet(measured)
    before = cpu_s(measured)
    with watching_rss(measured) as samples:
        started = time.monotonic()
        clients = uvloop.run(_read(contender, pace))
        took_s = time.monotonic() - started
    spent = cpu_s(measured) - before
    timings = [client.timing(pace.events) for client in clients]
    firsts = sorted(timing.first_us for timing in timings)
    delays = sorted(delay for timing in timings for delay in timing.delays_us)
    gaps = sorted(gap for timing in timings for gap in timing.gaps_us)
    return Run(
        contender.name,
        pace.streams,
        len(delays),
        events_per_s=len(delays) / took_s,
        cpu_s_per_1000=spent * 1000 / len(delays),
        first_p50_us=percentile(firsts, 50),
        first_p99_us=percentile(firsts, 99),
        delay_p50_us=percentile(delays, 50),
        delay_p99_us=percentile(delays, 99),
        gap_p50_us=percentile(gaps, 50),
        gap_p99_us=percentile(gaps, 99),
        rss_peak_mb=max(samples, default=0.0),
        rss_after_mb=sum(rss_mb(pid) for pid in measured),
    )


def percentile(ordered: Sequence[float], part: int) -> float:
    return ordered[len(ordered) * part // 100]


async def _read(contender: Contender, pace: Pace) -> list[Client]:
    """Each stream on a connection of its own."""
    loop = asyncio.get_running_loop()
    message = head(contender.path, contender.headers, len(contender.body)) + contender.body.encode()
    clients = []
    try:
        async with asyncio.timeout(pace.patience_s):
            for _ in range(pace.streams):
                opened = loop.create_connection(lambda: Client(message, contender.name), "127.0.0.1", contender.port)
                clients.append((await opened)[1])
                await asyncio.sleep(pace.every_ms / 1000 / pace.streams)
            await asyncio.gather(*(client.over for client in clients))
    except (OSError, httptools.HttpParserError) as error:
        raise BenchFault(f"{contender.name} did not stream: {error!r}") from error
    return clients


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Paced, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
