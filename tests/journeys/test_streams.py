"""Replies on their way: as they arrive, broken off, left behind, held up; and what the log says of each."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def single(start_shared_gateway: Any) -> Any:
    """One worker, so that what it holds and which connections it uses again can be seen."""
    return start_shared_gateway("--simulate", "--workers", "1", upstream={"idle_timeout_s": 0.5})


@pytest.fixture(scope="module")
def single_provider(single: Any, provider_of: Any) -> Any:
    return provider_of(single)


def chat(model: str, stream: bool = True) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}


def worker_mb(gateway: Any, field: str = "VmRSS") -> float:
    status = Path(f"/proc/{gateway.processes()['sluice: worker 1']}/status").read_text()
    [kb] = [int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:")]
    return kb / 1024


# --- as they arrive


async def test_the_head_and_each_event_pass_when_they_come(single: Any, wire: Any, compose: Any):
    times = []
    async with wire(single) as line:
        await line.send(compose(single, body=chat("gpt-4o~slow-first-token-200~pace-100~words-2")))
        for mark in (b"\r\n\r\n", b"data: ", b"data: [DONE]"):
            await line.until(mark)
            times.append(time.monotonic())
    assert times[1] - times[0] > 0.15
    assert times[2] - times[1] > 0.15


async def test_events_are_neither_joined_nor_cut(single: Any, wire: Any, compose: Any):
    """One chunk of ours for each of the provider's: nothing waits for more."""
    async with wire(single) as line:
        await line.send(compose(single, body=chat("gpt-4o~pace-5~words-20")))
        raw = await line.until(b"0\r\n\r\n")
    body = raw.partition(b"\r\n\r\n")[2]
    count = 0
    while not body.startswith(b"0\r\n"):
        size, _, rest = body.partition(b"\r\n")
        piece, body = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        assert piece.startswith(b"data: ")
        assert piece.endswith(b"\n\n")
        count += piece.count(b"\n\n")
    assert count > 20


# --- left behind


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
async def test_a_client_that_leaves_before_the_reply_ends_the_providers_work(
    single: Any, single_provider: Any, wire: Any, compose: Any, marker: str, how: str
):
    async with wire(single) as line:
        await line.send(
            compose(single, body=chat("gpt-4o~slow-head-60000"), x_sluice_marker=marker, cf_aig_event_id=marker)
        )
        await single_provider.arrived(marker)
        started = time.monotonic()
        await leave(line, how)
        [entry] = await single_provider.entries(marker, 1)
    assert (entry["ended"], time.monotonic() - started < 1) == ("client gone", True)
    log = log_named(single, marker)
    assert (log["status_code"], log["success"], log["ending"], log["error_code"]) == (499, False, "abandoned", None)
    assert log["timings"]["latency"] is None


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
async def test_a_client_that_leaves_mid_stream_ends_the_providers_work(
    single: Any, single_provider: Any, wire: Any, compose: Any, marker: str, how: str
):
    async with wire(single) as line:
        await line.send(compose(single, body=chat("gpt-4o~pace-50~words-1000"), x_sluice_marker=marker))
        head = await line.until(b"\r\n\r\n")
        passed = await line.until(b"\n\n")
        started = time.monotonic()
        await leave(line, how)
        [entry] = await single_provider.entries(marker, 1)
    assert (entry["ended"], time.monotonic() - started < 1) == ("client gone", True)
    log_id = id_in(head)
    log = single.log(log_id)
    assert (log["status_code"], log["success"], log["ending"]) == (200, False, "abandoned")
    assert (log["tokens_in"], log["tokens_out"], log["cost"]) == (None, None, None)
    stored = single.log_body(log_id, "response")
    assert stored.startswith(passed.partition(b"\r\n")[2].strip())
    assert b"[DONE]" not in stored


async def test_a_client_that_leaves_while_it_sends_ends_the_providers_work(
    single: Any, single_provider: Any, wire: Any, compose: Any, marker: str
):
    async with wire(single) as line:
        sent = compose(single, "POST", "openai/files", b"x" * 100_000, x_sluice_marker=marker, cf_aig_event_id=marker)
        await line.send(sent[:-1])
        await single_provider.arrived(marker)
        line.reset()
        [entry] = await single_provider.entries(marker, 1)
    assert (entry["ended"], entry["body_bytes"]) == ("client gone", 99_999)
    log = log_named(single, marker)
    assert (log["status_code"], log["path"], log["request_size"]) == (499, "v1/files", 99_999)


async def leave(line: Any, how: str) -> None:
    if how == "reset":
        line.reset()
    elif how == "half-close":
        line.writer.write_eof()
    else:
        await line.close()


def id_in(head: bytes) -> str:
    [found] = [line[15:].decode() for line in head.split(b"\r\n") if line.startswith(b"cf-aig-log-id: ")]
    return found


def log_named(gateway: Any, event_id: str) -> dict[str, Any]:
    """The log of a request that never got to know its id."""

    def look() -> dict[str, Any] | None:
        return next((log for log in gateway.logs() if log["event_id"] == event_id), None)

    found: dict[str, Any] = gateway.log(gateway.until(look, f"the log of {event_id}")["id"])
    return found


# --- broken off

BREAKS = ["cut-3", "reset-3", "half-close-3", "malformed-3"]


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", BREAKS)
async def test_a_reply_that_breaks_off_is_never_taken_for_whole(
    single: Any, wire: Any, compose: Any, fault: str, stream: bool, framing: str
):
    async with wire(single) as line:
        asked = compose(single, body=chat(f"gpt-4o~{fault}", stream), x_sluice_framing=framing)
        reply = await line.ask(asked)
    assert (reply.status, reply.fault) == (200, "cut")
    log = single.log(reply.header("cf-aig-log-id"))
    assert (log["status_code"], log["success"], log["ending"], log["error_code"]) == (200, False, "broken", 2005)
    assert log["error_message"].startswith("The reply ")
    assert single.log_body(reply.header("cf-aig-log-id"), "response") == reply.body


@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "malformed-3"])
async def test_where_the_end_of_the_connection_is_the_end_of_the_reply_a_broken_one_ends_by_a_reset(
    single: Any, wire: Any, compose: Any, fault: str
):
    sent = compose(single, body=chat(f"gpt-4o~pace-5~{fault}")).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(single) as line:
        reply = await line.ask(sent)
    assert (reply.status, reply.fault) == (200, "reset")
    assert single.log(reply.header("cf-aig-log-id"))["ending"] == "broken"


async def test_a_reply_that_stalls_is_broken_off(single: Any, wire: Any, compose: Any):
    async with wire(single) as line:
        reply = await line.ask(compose(single, body=chat("gpt-4o~stall-3")))
    assert (reply.status, reply.fault) == (200, "cut")
    log = single.log(reply.header("cf-aig-log-id"))
    assert (log["ending"], log["error_message"]) == ("broken", "The reply stalled")


async def test_a_provider_that_closes_to_end_its_reply_has_ended_it(single: Any, wire: Any, compose: Any):
    async with wire(single) as line:
        reply = await line.ask(compose(single, body=chat("gpt-4o"), x_sluice_framing="close"))
        again = await line.ask(compose(single, body=chat("gpt-4o"), x_sluice_framing="close"))
    assert (reply.status, reply.fault, again.body) == (200, "", reply.body)
    assert reply.header("transfer-encoding") == "chunked"
    assert single.log(reply.header("cf-aig-log-id"))["ending"] == "complete"


async def test_an_error_within_a_stream_is_the_providers_own_and_passes(single: Any, wire: Any, compose: Any):
    async with wire(single) as line:
        reply = await line.ask(compose(single, body=chat("gpt-4o~error-event-2~no-tail")))
    assert (reply.status, reply.fault) == (200, "")
    assert b'"error"' in reply.body
    assert single.log(reply.header("cf-aig-log-id"))["ending"] == "complete"


# --- terminal events


@pytest.mark.parametrize(("linger_ms", "ended", "reused"), [(40, "complete", True), (2000, "client gone", False)])
async def test_a_client_that_leaves_at_the_terminal_event_has_all_and_the_connection_gets_a_moment(
    single: Any, single_provider: Any, wire: Any, compose: Any, marker: str, linger_ms: int, ended: str, reused: bool
):
    async with wire(single) as line:
        started = time.monotonic()
        await line.send(compose(single, body=chat(f"gpt-4o~linger-{linger_ms}"), x_sluice_marker=marker))
        head = await line.until(b"\r\n\r\n")
        await line.until(b"data: [DONE]\n\n")
        line.reset()
    [entry] = await single_provider.entries(marker, 1)
    assert (entry["ended"], time.monotonic() - started < 1) == (ended, True)
    log = single.log(id_in(head))
    assert (log["ending"], log["success"]) == ("complete", True)
    async with wire(single) as line:
        following = await line.ask(compose(single, "GET", "openai/models", x_sluice_echo="1"))
    assert (following.connection == entry["connection"]) is reused


# --- held up


async def test_a_slow_reader_holds_the_provider_up_and_not_our_memory(
    single: Any, single_provider: Any, compose: Any, marker: str
):
    before = worker_mb(single)
    reader, writer = await narrow(single)
    writer.write(compose(single, body=chat("gpt-4o~huge-60mb"), x_sluice_marker=marker))
    head = await reader.readuntil(b"\r\n\r\n")
    received = 0
    for _ in range(50):  # half a second in all, in which the provider could send it several times
        received += len(await reader.readexactly(10_000))
        await asyncio.sleep(0.01)
    [entry] = await single_provider.entries(marker)
    assert entry["ended"] == "running"
    assert worker_mb(single) - before < 25
    while piece := await reader.read(1 << 20):
        received += len(piece)
        if received > 60 * 1024 * 1024 and piece.endswith(b"0\r\n\r\n"):
            break
    writer.close()
    assert single.log(id_in(head))["ending"] == "complete"
    assert worker_mb(single) - before < 40


async def narrow(gateway: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with little room for what is not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.connect(("127.0.0.1", gateway.port))
    return await asyncio.open_connection(sock=connection, limit=1 << 16)
