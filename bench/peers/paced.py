"""Latency at a fixed rate (open loop): requests start by the clock on one of several kept connections.

One that finds no connection free waits for one, and its wait counts. What this client itself costs is in the direct
way's figures too, and falls out of the difference.
"""

import select
import socket
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import dataclass

import httptools

from bench.contenders import Contender
from bench.exchange import head, reply_body
from bench.machine import BenchFault

PATIENCE_S = 60
WARM_UP = 50
TRIES = 3


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    rate: float
    connections: int
    requests: int
    p50_us: float
    p99_us: float
    max_us: float
    reopened: int
    """Connections that the gateway had closed."""


class Line:
    """A connection, and the request on it that has no reply yet."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._message = head(contender.path, contender.headers, len(contender.body)) + contender.body.encode()
        self.opened, self._tries, self.started = 0, 0, 0.0
        self._socket = self._open()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, started: float) -> None:
        """Sends the request; on another connection where the gateway has closed this one."""
        self.started, self._tries = started, 0
        if select.select([self], [], [], 0)[0]:  # all that it can say unasked
            self._reopen()
        self._send()

    def read(self) -> bool:
        """Takes what has come; whether the reply is whole. Raises BenchFault where it is not the one expected."""
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data and not self._seen and self._tries < TRIES:  # closed while the request was on its way
            self._reopen()
            self._send()
            return False
        self._seen += data
        self._parser.feed_data(data)
        if not data or self._ended:
            self._judge()
        return self._ended

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._ended = True

    def _open(self) -> socket.socket:
        self.opened += 1
        opened = socket.create_connection(("127.0.0.1", self._contender.port), timeout=PATIENCE_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _reopen(self) -> None:
        self._tries += 1
        self.close()
        self._socket = self._open()

    def _send(self) -> None:
        self._seen, self._body, self._ended = b"", b"", False
        self._parser = httptools.HttpResponseParser(self)
        self._socket.sendall(self._message)

    def _judge(self) -> None:
        pieces, text = self._contender.pieces, self._body.decode(errors="replace")
        right = all(piece in text for piece in pieces) if pieces else text == reply_body()
        if not (right and self._ended and self._parser.get_status_code() == 200):
            raise BenchFault(f"{self._contender.name} gave a wrong reply: {self._seen[:2000]!r}")


class Clock:
    """Which requests are due, and who is to send them."""

    def __init__(self, lines: list[Line], rate: float, requests: int) -> None:
        self._free, self._busy = deque(lines), set[Line]()
        self._late: deque[float] = deque()
        """When they were due, of those that wait for a connection."""
        self._every_s, self._left = 1 / rate, requests
        self._due = time.perf_counter() + 0.01
        self.times_us: list[float] = []

    def run(self) -> None:
        """Raises BenchFault where a reply is wrong or does not come."""
        while self._left or self._late or self._busy:
            self._send_what_is_due()
            pause = max(0.0, self._due - time.perf_counter()) if self._left else PATIENCE_S
            ready, _, _ = select.select(self._busy, [], [], pause)
            if not ready and not self._left:
                raise BenchFault(f"no reply within {PATIENCE_S} s")
            for line in ready:
                if line.read():
                    self.times_us.append((time.perf_counter() - line.started) * 1e6)
                    self._busy.remove(line)
                    self._free.append(line)

    def _send_what_is_due(self) -> None:
        now = time.perf_counter()
        while self._late and self._free:
            self._ask(self._late.popleft())
        while self._left and self._due <= now:
            if self._free:
                self._ask(time.perf_counter())  # waking late is the client's fault, not the gateway's
            else:
                self._late.append(self._due)
            self._due += self._every_s
            self._left -= 1

    def _ask(self, started: float) -> None:
        line = self._free.popleft()
        line.ask(started)
        self._busy.add(line)


def measure(contender: Contender, rate: float, connections: int, requests: int) -> Run:
    """Sends this many requests at this rate per second over so many connections and reads each reply whole."""
    try:
        with ExitStack() as stack:
            lines = [stack.enter_context(closing(Line(contender))) for _ in range(connections)]
            Clock(lines, rate, max(WARM_UP, connections)).run()
            opened = sum(line.opened for line in lines)
            clock = Clock(lines, rate, requests)
            clock.run()
            reopened = sum(line.opened for line in lines) - opened
    except (OSError, httptools.HttpParserError) as error:
        raise BenchFault(f"{contender.name} is not to be measured: {error!r}") from error
    times = sorted(clock.times_us)
    p50, p99 = (times[len(times) * part // 100] for part in (50, 99))
    return Run(contender.name, rate, connections, len(times), p50, p99, times[-1], reopened)
