"""What WebSockets that wait cost a worker: its memory before them, with them, and when each has been used once."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket

from bench.contenders import Contender
from bench.machine import BenchFault, cpu_s, rss_mb, wait_until_quiet
from bench.websocket.messages import Creates, answered
from bench.websocket.wire import Frames, connect

SOURCES = [f"127.0.0.{last}" for last in range(2, 6)]
"""One address has 28,000 ports on a Linux that is left as it is, and those of the last round are not free at once."""


@dataclass(frozen=True, slots=True)
class Run:
    sockets: int
    before_mb: float
    open_mb: float
    """With all of them open, none used."""
    used_mb: float
    """With all of them idle again, after a request on each."""
    opened_per_s: float
    """By one client, one after the other; the wait for the network is in it."""
    cpu_us_per_opening: float


def allow_descriptors(sockets: int) -> None:
    """Lets this process, and what it starts from now on, open so many. Raises BenchFault where that is forbidden."""
    wanted = sockets + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchFault(f"{sockets} WebSockets need {wanted} descriptors, and `ulimit -Hn` is {hard}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure(gateway: Contender, sockets: int) -> Run:
    """The gateway must have been started after `allow_descriptors`, and not used before."""
    worker = gateway.process("sluice: worker")
    busy = [worker, gateway.process("sluice: keeper")]
    wait_until_quiet(busy)
    before_mb, before_s = rss_mb(worker), cpu_s([worker])
    with _opened(gateway, sockets) as (idle, took_s):
        spent = cpu_s([worker]) - before_s
        wait_until_quiet(busy)
        open_mb = rss_mb(worker)
        _use_each(idle)
        wait_until_quiet(busy)
        used_mb = rss_mb(worker)
    return Run(sockets, before_mb, open_mb, used_mb, sockets / took_s, spent * 1e6 / sockets)


@contextmanager
def _opened(gateway: Contender, sockets: int) -> Iterator[tuple[list[socket], float]]:
    """So many WebSockets, and how long it took to open them."""
    idle: list[socket] = []
    try:
        started = time.perf_counter()
        for number in range(sockets):
            idle.append(connect(gateway, SOURCES[number % len(SOURCES)]))
        yield idle, time.perf_counter() - started
    finally:
        for one in idle:
            one.close()


def _use_each(idle: list[socket]) -> None:
    """A request on each, one after the other: all of them must still be open."""
    creates = Creates.plain()
    for number, one in enumerate(idle):
        one.sendall(creates.frame(number))
        frames, messages = Frames(), list[bytes]()
        while not messages:
            data = one.recv(65_536)
            if not data:
                raise BenchFault(f"idle WebSocket {number} was closed")
            messages = frames.feed(data)
        if [answered(message) for message in messages] != [number]:
            raise BenchFault(f"WebSocket {number} was told {messages!r}")
