"""Closed-loop throughput over WebSockets: one process that keeps so many requests in flight on each.

Frames are made beforehand but for their numbers, and replies are found by the heads of their frames, so that the
gateway is the limit and not the client; how much of its core the client used is measured beside it.
"""

import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from bench.contenders import Contender, endpoints
from bench.machine import BenchFault, Cores
from bench.throughput import Load, Way, by_wrk, in_turn
from bench.websocket.messages import Creates, answered
from bench.websocket.wire import PATIENCE_S, Frames, connect

READ_BYTES = 256 * 1024


@dataclass(slots=True)
class Line:
    """One WebSocket and what it owes."""

    socket: socket.socket
    frames: Frames = field(default_factory=Frames)
    asked: dict[int, float] = field(default_factory=dict)
    """When each request without a reply was sent, by its number."""


class Flood:
    """Requests in flight on several WebSockets, and how long each took."""

    def __init__(self, contender: Contender, sockets: int, stack: ExitStack) -> None:
        self._creates, self._numbers = Creates.plain(), count()
        self._poll = stack.enter_context(select.epoll())
        self._lines = {}
        for _ in range(sockets):
            line = Line(stack.enter_context(connect(contender)))
            self._lines[line.socket.fileno()] = line
            self._poll.register(line.socket, select.EPOLLIN)
        self.times_s: list[float] = []

    def run(self, in_flight: int, duration_s: float) -> float:
        """Asks for so long, waits for every reply, and returns how long both took."""
        started = time.perf_counter()
        for line in self._lines.values():
            self._ask(line, in_flight)
        while any(line.asked for line in self._lines.values()):
            ready = self._poll.poll(PATIENCE_S)
            if not ready:
                raise BenchFault(f"no reply within {PATIENCE_S} s")
            more = time.perf_counter() - started < duration_s
            for number, _ in ready:
                got = self._read(self._lines[number])
                if more and got:
                    self._ask(self._lines[number], got)
        return time.perf_counter() - started

    def _ask(self, line: Line, many: int) -> None:
        numbers = [next(self._numbers) for _ in range(many)]
        now = time.perf_counter()
        line.asked.update((number, now) for number in numbers)
        line.socket.sendall(b"".join([self._creates.frame(number) for number in numbers]))

    def _read(self, line: Line) -> int:
        """Takes what has come; returns how many replies it held, each to one of this line's own requests."""
        data = line.socket.recv(READ_BYTES)
        if not data:
            raise BenchFault(f"a WebSocket with {len(line.asked)} requests was closed")
        messages = line.frames.feed(data)
        now = time.perf_counter()
        for message in messages:
            number = answered(message)
            sent = line.asked.pop(number, None)
            if sent is None:
                raise BenchFault(f"nobody had asked, or was still to be answered: {message!r}")
            self.times_s.append(now - sent)
        return len(messages)


def flood(contender: Contender, sockets: int, in_flight: int, duration_s: float) -> Load:
    """So many WebSockets, each with as many requests in flight as the other number says."""
    with ExitStack() as stack:
        client = Flood(contender, sockets, stack)
        took_s = client.run(in_flight, duration_s)
    times = sorted(client.times_s)
    p50, p99 = (round(times[len(times) * part // 100] * 1e6) for part in (50, 99))
    return Load(len(times), round(took_s * 1e6), p50, p99)


NATIVE = "native HTTP, 64 connections"
UNIVERSAL = "universal HTTP, 64 connections"
ONE = "WebSocket, 64 in flight on one"
MANY = "WebSocket, 8 in flight on each of 16"


def compare(gateway: Contender, rounds: int, duration_s: float, cores: Cores, folder: Path) -> list[dict[str, object]]:
    """The same requests by HTTP and by WebSocket, to one gateway."""
    native, universal, _ = endpoints(gateway)
    ways = [
        by_wrk(native, 64, cores, folder)._replace(name=NATIVE),
        by_wrk(universal, 64, cores, folder)._replace(name=UNIVERSAL),
        Way(ONE, universal, 1, partial(flood, universal, 1, 64)),
        Way(MANY, universal, 16, partial(flood, universal, 16, 8)),
    ]
    return in_turn(ways, rounds, duration_s)
