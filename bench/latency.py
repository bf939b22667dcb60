"""Latency that a gateway adds, one request at a time at a fixed rate.

wrk has neither a fixed rate nor microseconds, so this is a client of its own: one blocking socket, requests started
by the clock (open loop: a late reply does not put the next start off; its wait counts), times by the monotonic clock.
What the client itself costs is in every contender's figures and in the direct way's, and falls out of the difference.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.contenders import Contender
from bench.exchange import head, reply_body, request_body
from bench.machine import BenchFault, Cores


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    rate: float
    requests: int
    p50_us: float
    p99_us: float
    max_us: float


def measure(contender: Contender, rate: float, requests: int) -> Run:
    """Sends this many requests at this rate per second over one connection and reads each reply whole."""
    expected = reply_body().encode()
    body = request_body().encode()
    message = head(contender.path, contender.headers, len(body)) + body
    times_us = []
    with socket.create_connection(("127.0.0.1", contender.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(50):
            _ask(connection, message, expected, contender)
        due = time.perf_counter() + 0.01
        for _ in range(requests):
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
                started = time.perf_counter()  # waking late is the client's fault, not the gateway's
            else:
                started = due
            _ask(connection, message, expected, contender)
            times_us.append((time.perf_counter() - started) * 1e6)
            due += 1 / rate
    times_us.sort()
    return Run(
        contender=contender.name,
        rate=rate,
        requests=requests,
        p50_us=times_us[len(times_us) // 2],
        p99_us=times_us[len(times_us) * 99 // 100],
        max_us=times_us[-1],
    )


def _ask(connection: socket.socket, message: bytes, expected: bytes, contender: Contender) -> None:
    connection.sendall(message)
    reply = b""
    while not reply.endswith(expected):
        piece = connection.recv(65536)
        if not piece or len(reply) > 65536:
            raise BenchFault(f"{contender.name} gave a wrong reply: {reply + piece!r}")
        reply += piece
    if not reply.startswith(b"HTTP/1.1 200 "):
        raise BenchFault(f"{contender.name} gave a wrong reply: {reply!r}")


def compare(
    contenders: Sequence[Contender], rounds: int, rate: float, requests: int, cores: Cores
) -> list[dict[str, object]]:
    """All contenders in turn, `direct` among them, from the load's core."""
    os.sched_setaffinity(0, {cores.load})
    runs = []
    for number in range(rounds):
        turn = number % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            runs.append({"round": number, **asdict(measure(contender, rate, requests))})
    return runs
