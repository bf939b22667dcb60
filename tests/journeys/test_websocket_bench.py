"""The clients of `scripts/bench websocket` against a real gateway, and what they refuse to count."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.contenders import Contender, endpoints, sluice
from bench.exchange import reply_body
from bench.machine import BenchFault, Cores
from bench.streams import Pace, start_upstream
from bench.traffic import read_message, stored_logs
from bench.websocket import idle, ways
from bench.websocket.load import flood
from bench.websocket.messages import Creates, Told, answered, told
from bench.websocket.streams import by_websocket
from bench.websocket.wire import Frames, text_frame

ALLOWED = sorted(os.sched_getaffinity(0))
CORES = Cores(ALLOWED[0], ALLOWED[-1])
METADATA = '"cacheStatus":"MISS","eventId":"00000007","logId":"01JC3R94FRD97JBCBX3S0ZAXKW","step":"0"'
WHOLE = f'{{"type":"universal.created","metadata":{{{METADATA},"contentType":"application/json"}},"response":'
STREAMED = f'"metadata":{{{METADATA},"contentType":"text/event-stream"}}'
REPLY = f"{WHOLE}{reply_body()}}}"


async def instant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that always gives the one reply."""
    reply = reply_body().encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
    while True:
        await read_message(reader)
        writer.write(head + reply)


@pytest.fixture(scope="module")
def contender(stand: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contender]:
    """A gateway as `scripts/bench` starts it, in front of whatever stands at a port of the tests' own."""
    with ExitStack() as stack:
        yield sluice("sluice", stand.port, CORES, tmp_path_factory.mktemp("bench") / "data", stack)


@pytest.fixture
def universal(contender: Contender) -> Contender:
    return endpoints(contender)[1]


async def test_every_request_of_a_load_is_answered_and_logged_once(universal: Contender, stand: Any):
    before = (await stored_logs(universal.port, universal.token)).total()
    async with stand.serve(instant):
        load = await asyncio.to_thread(flood, universal, 3, 8, 0.3)
    logs = await stored_logs(universal.port, universal.token)
    async with asyncio.timeout(20):
        while logs.total() < before + load.requests:  # on a busy machine the keeper may begin late
            logs = await stored_logs(universal.port, universal.token)
    assert load.requests > 3 * 8
    assert len(logs) == logs.total() == before + load.requests
    assert 0 < load.p50_us <= load.p99_us <= load.duration_us


async def test_a_load_of_no_time_asks_once_for_all_that_may_be_in_flight(universal: Contender, stand: Any):
    async with stand.serve(instant):
        load = await asyncio.to_thread(flood, universal, 3, 8, 0)
    assert load.requests == 3 * 8


@pytest.mark.parametrize("ask", [ways.one_websocket, ways.kept_connections, ways.new_connections])
async def test_each_way_asks_as_often_as_it_is_told(
    contender: Contender, stand: Any, ask: Callable[[ways.Target, int], Awaitable[list[float]]]
):
    native, universal, _ = endpoints(contender)
    called = universal if ask is ways.one_websocket else native
    async with stand.serve(instant):
        times = await ask(ways.Target(called, called.port, None), 40)
    assert len(times) == 40
    assert min(times) > 0


async def test_idle_websockets_are_all_open_still_when_each_is_used(universal: Contender, stand: Any):
    idle.allow_descriptors(20)
    async with stand.serve(instant):
        run = await asyncio.to_thread(idle.measure, universal, 20)
    assert run.sockets == 20
    assert min(run.before_mb, run.open_mb, run.used_mb) > 10


@pytest.mark.parametrize("on_each", [1, 6])
async def test_streams_are_timed_event_by_event(tmp_path: Path, on_each: int):
    with ExitStack() as stack:
        upstream = await asyncio.to_thread(start_upstream, CORES, tmp_path, stack)
        gateway = await asyncio.to_thread(sluice, "sluice", upstream, CORES, tmp_path / "data", stack)
        sockets = await by_websocket(endpoints(gateway)[1], Pace(6, 20, 2, 3), on_each=on_each)
    timings = [timing for socket in sockets for timing in socket.timings(20)]
    assert [len(timing.delays_us) for timing in timings] == [20] * 6
    assert all(timing.first_us > timing.delays_us[0] > 0 for timing in timings)
    with pytest.raises(BenchFault, match="22 messages"):
        sockets[0].timings(21)


def lying(message: str, times: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A gateway that says one thing, so many times, to the first request of a WebSocket."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.read(1)
        text = message.encode()
        writer.write((b"\x81\x7e" + len(text).to_bytes(2) + text) * times)
        await reader.read()  # until the client has left

    return handle


@pytest.mark.parametrize(
    ("message", "times", "why"),
    [
        (REPLY, 1, "nobody had asked"),
        (REPLY.replace("00000007", "00000000"), 2, "nobody had asked"),
        (REPLY.replace("lorem", "ipsum", 1), 1, "a wrong message"),
    ],
    ids=["of another event", "twice", "of other words"],
)
async def test_a_load_ends_with_a_reply_that_is_none(stand: Any, message: str, times: int, why: str):
    liar = Contender("sluice", stand.port, "/", {}, None, CORES.gateway)
    async with stand.serve(lying(message, times)):
        with pytest.raises(BenchFault, match=why):
            await asyncio.to_thread(flood, liar, 1, 1, 0)


async def test_a_refused_websocket_ends_the_measurement(universal: Contender):
    stranger = Contender("sluice", universal.port, universal.path, {}, None, CORES.gateway)
    with pytest.raises(BenchFault, match="was refused"):
        await asyncio.to_thread(flood, stranger, 1, 1, 0)


def test_a_whole_reply_is_known_by_its_name():
    assert answered(REPLY.encode()) == 7


@pytest.mark.parametrize(
    "message",
    [
        REPLY + " ",
        REPLY.replace("created", "done", 1),
        REPLY.replace('"step"', '"statusCode":500,"step"'),
        REPLY.replace('"eventId":"00000007",', ""),
        f"{WHOLE}{reply_body()[:-1]} }}}}",
        '{"type":"universal.error","metadata":{"eventId":"00000007"},"error":[],"success":false}',
    ],
)
def test_no_other_message_is_a_whole_reply(message: str):
    with pytest.raises(BenchFault):
        answered(message.encode())


def test_what_is_told_of_a_stream():
    assert told(f'{{"type":"universal.created",{STREAMED}}}'.encode()) == Told(7, b"created", b"")
    event = b'{"type":"universal.stream","metadata":{"eventId":"00000007"},"response":{"n":1}}'
    assert told(event) == Told(7, b"stream", b'{"n":1}')
    assert told(f'{{"type":"universal.done",{STREAMED}}}'.encode()) == Told(7, b"done", b"")
    broken = STREAMED.replace('stream"}', 'stream","error":[{"code":2005,"message":"cut"}]}')
    with pytest.raises(BenchFault):
        told(f'{{"type":"universal.done",{broken}}}'.encode())


@pytest.mark.parametrize("size", [0, 125, 126, 70_000])
def test_messages_are_found_however_their_frames_are_cut(size: int):
    length = (
        bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65_536 else b"\x7f" + size.to_bytes(8)
    )
    data = (b"\x81" + length + b"x" * size) * 3
    for cut in (1, 2, 3, len(data) // 2, len(data) - 1):
        frames = Frames()
        assert frames.feed(data[:cut]) + frames.feed(data[cut:]) == [b"x" * size] * 3


def test_a_frame_that_is_no_text_ends_the_measurement():
    with pytest.raises(BenchFault, match="no text"):
        Frames().feed(b"\x88\x02\x03\xe8")


def test_what_is_asked_bears_its_number():
    frame = Creates.plain().frame(12)
    assert b'"eventId": "00000012"' in frame
    assert frame == text_frame(frame[8:])
