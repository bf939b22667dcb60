"""Server-sent events over WebSockets, as bench/streams.py has them over HTTP: its upstream, its pace, its judgement."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import cast

from bench.contenders import Contender, endpoints
from bench.machine import BenchFault
from bench.streams import Pace, Read, Timing, by_http, measure, written_ns
from bench.websocket.messages import Creates, Told, told
from bench.websocket.wire import Frames, check_upgraded, upgrade

HTTP = "native HTTP"


class Socket(asyncio.Protocol):
    """Asks for streams over one WebSocket, keeps what was told and when, and judges it once all is over."""

    def __init__(self, head: bytes, creates: Creates, streams: int) -> None:
        self._head, self._creates, self._streams = head, creates, streams
        self._frames = Frames()
        self._told: list[tuple[int, Told]] = []
        self._asked_ns: dict[int, int] = {}
        self._done = 0
        self._answer: bytes | None = b""
        loop = asyncio.get_running_loop()
        self.upgraded: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._head)

    def ask(self, number: int) -> None:
        self._asked_ns[number] = time.perf_counter_ns()
        self._transport.write(self._creates.frame(number))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        try:
            if self._answer is None:
                self._take(now, data)
            else:
                self._take_answer(self._answer + data)
        except BenchFault as fault:
            self._fail(fault)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(BenchFault(f"a WebSocket was closed with {len(self._asked_ns) - self._done} streams on it"))

    def timings(self, events: int) -> list[Timing]:
        """Raises BenchFault where a stream is not whole, in order, and as it was written."""
        by_number: defaultdict[int, list[tuple[int, Told]]] = defaultdict(list)
        for at_ns, one in self._told:
            by_number[one.number].append((at_ns, one))
        if by_number.keys() != self._asked_ns.keys():
            raise BenchFault(f"asked for {sorted(self._asked_ns)}, told of {sorted(by_number)}")
        return [self._timing(number, events, messages) for number, messages in by_number.items()]

    def _timing(self, number: int, events: int, messages: list[tuple[int, Told]]) -> Timing:
        kinds = [one.kind for _, one in messages]
        if kinds != [b"created", *[b"stream"] * events, b"done"]:
            raise BenchFault(f"stream {number} came as {kinds[:3]} ... {kinds[-3:]}, {len(kinds)} messages")
        stream = messages[1:-1]
        delays = [
            (at_ns - written_ns(sequence, b"data: %b\n\n" % one.event)) / 1e3
            for sequence, (at_ns, one) in enumerate(stream)
        ]
        return Timing((stream[0][0] - self._asked_ns[number]) / 1e3, delays)

    def _take(self, now: int, data: bytes) -> None:
        for message in self._frames.feed(data):
            one = told(message)
            self._told.append((now, one))
            self._done += one.kind == b"done"
        if self._done == self._streams and not self.over.done():
            self.over.set_result(None)
            self._transport.close()

    def _take_answer(self, answer: bytes) -> None:
        self._answer = answer
        if answer.endswith(b"\r\n\r\n"):
            check_upgraded(answer)
            self._answer = None
            self.upgraded.set_result(None)

    def _fail(self, fault: BenchFault) -> None:
        wait = self.over if self.upgraded.done() else self.upgraded
        if not wait.done():
            wait.set_exception(fault)
        self._transport.close()


async def by_websocket(contender: Contender, pace: Pace, *, on_each: int) -> Sequence[Socket]:
    """So many of the streams on each WebSocket."""
    loop = asyncio.get_running_loop()
    head, creates = upgrade(contender), Creates.streamed(pace.headers)
    sockets = []
    for _ in range(pace.streams // on_each):
        _, socket = await loop.create_connection(lambda: Socket(head, creates, on_each), "127.0.0.1", contender.port)
        sockets.append(socket)
        await socket.upgraded
    async with asyncio.timeout(pace.patience_s):
        for number in range(pace.streams):
            sockets[number // on_each].ask(number)
            await asyncio.sleep(pace.apart_ms / 1000)
        await asyncio.gather(*(socket.over for socket in sockets))
    return sockets


def compare(gateway: Contender, rounds: int, pace: Pace) -> list[dict[str, object]]:
    """The same streams over HTTP and over WebSockets."""
    native, universal, _ = endpoints(gateway)
    ways: list[tuple[str, Contender, Read]] = [
        (HTTP, native, by_http),
        (f"WebSocket, all {pace.streams} on one", universal, partial(by_websocket, on_each=pace.streams)),
        ("WebSocket, one for each", universal, partial(by_websocket, on_each=1)),
    ]
    runs = []
    for number in range(rounds):
        turn = number % len(ways)
        for name, contender, read in (*ways[turn:], *ways[:turn]):
            runs.append({"round": number, **asdict(replace(measure(contender, pace, read), contender=name))})
    return runs
