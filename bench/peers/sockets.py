"""WebSockets relayed to the provider's: each of several sends a message and waits until it is back (closed loop)."""

import json
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from bench.contenders import Contender
from bench.machine import BenchFault
from bench.throughput import Load, Way
from bench.websocket.wire import PATIENCE_S, Frames, connect, text_frame


@dataclass(slots=True)
class Line:
    socket: socket.socket
    frames: Frames = field(default_factory=Frames)
    sent: int = 0
    at: float = 0.0


class Echoes:
    """What was sent, and how long each message took to come back."""

    def __init__(self, contender: Contender, sockets: int, stack: ExitStack) -> None:
        self._name = contender.name
        self._poll = stack.enter_context(select.epoll())
        self._lines = {}
        for _ in range(sockets):
            line = Line(stack.enter_context(connect(contender)))
            self._lines[line.socket.fileno()] = line
            self._poll.register(line.socket, select.EPOLLIN)
        self.times_s: list[float] = []

    def run(self, duration_s: float) -> float:
        """Sends for so long, waits for what is still out, and returns how long both took."""
        started = time.perf_counter()
        out = len(self._lines)
        for line in self._lines.values():
            self._say(line)
        while out:
            ready = self._poll.poll(PATIENCE_S)
            if not ready:
                raise BenchFault(f"{self._name}: no message came back within {PATIENCE_S} s")
            more = time.perf_counter() - started < duration_s
            for number, _ in ready:
                if not self._came_back(self._lines[number]):
                    continue
                if more:
                    self._say(self._lines[number])
                else:
                    out -= 1
        return time.perf_counter() - started

    def _say(self, line: Line) -> None:
        line.sent += 1
        line.at = time.perf_counter()
        line.socket.sendall(text_frame(message(line.sent)))

    def _came_back(self, line: Line) -> bool:
        data = line.socket.recv(65_536)
        if not data:
            raise BenchFault(f"{self._name} closed a WebSocket")
        messages = line.frames.feed(data)
        if not messages:
            return False
        if messages != [message(line.sent)]:
            raise BenchFault(f"{self._name} gave {messages!r} back for message {line.sent}")
        self.times_s.append(time.perf_counter() - line.at)
        return True


_PART = {"type": "input_text", "text": "lorem ipsum dolor sit amet " * 3}
_ITEM = {"type": "message", "role": "user", "content": [_PART]}
_MESSAGE = json.dumps({"type": "conversation.item.create", "event_id": "event_%08d", "item": _ITEM}).encode()


def message(number: int) -> bytes:
    """An event of OpenAI's realtime protocol, numbered, of about 200 bytes."""
    return _MESSAGE % number


def echoed(contender: Contender, sockets: int, duration_s: float) -> Load:
    try:
        with ExitStack() as stack:
            client = Echoes(contender, sockets, stack)
            took_s = client.run(duration_s)
    except OSError as error:
        raise BenchFault(f"{contender.name} relayed no WebSocket: {error!r}") from error
    times = sorted(client.times_s)
    p50, p99 = (round(times[len(times) * part // 100] * 1e6) for part in (50, 99))
    return Load(len(times), round(took_s * 1e6), p50, p99)


def way(contender: Contender, sockets: int) -> Way:
    return Way(contender.name, contender, sockets, partial(echoed, contender, sockets))
