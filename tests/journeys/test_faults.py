"""What the log says when something breaks: the truth, once, and nothing is left behind."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest


@contextmanager
def stream(gateway: Any, model: str) -> Iterator[httpx.Response]:
    """A chat stream whose first bytes have come."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with gateway.http.stream("POST", f"{gateway.inference_url()}/v1/chat/completions", json=body) as reply:
        yield reply


def cut(reply: httpx.Response) -> bool:
    """Reads to the end; whether it came before its time."""
    try:
        for _ in reply.iter_raw():
            pass
    except httpx.TransportError:
        return True
    return False


def test_streams_that_outlast_the_drain_are_cut_and_logged(start_gateway: Any):
    gateway = start_gateway("--simulate", server={"drain_timeout_s": 0.5})
    with stream(gateway, "gpt-4o~pace-20~words-1000") as reply, stream(gateway, "gpt-4o~huge-60") as large:
        gateway.process.send_signal(signal.SIGTERM)
        assert cut(reply)
        assert cut(large)
    gateway.process.wait(20)
    again = start_gateway("--simulate")
    for cut_off in (reply, large):
        assert again.log(cut_off.headers["cf-aig-log-id"])["ending"] == "abandoned"
    assert '"trace"' not in gateway.said()


async def test_a_request_whose_body_follows_its_head_survives_a_stale_connection(gateway: Any):
    body = b'{"model": "gpt-4o~drop-reused", "messages": [{"role": "user", "content": "hello"}]}'
    head = (
        "POST /v1/local/default/openai/v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"cf-aig-authorization: {gateway.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(3):
        assert gateway.chat().status_code == 200  # leaves a connection to be reused
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head.encode())
        await asyncio.sleep(0.02)
        writer.write(body)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await writer.wait_closed()


def test_a_terminals_signals_end_no_child_before_its_time(start_gateway: Any):
    gateway = start_gateway("--simulate")
    gateway.until(lambda: "sluice: prices" in gateway.processes(), "the process that knows the prices")
    with stream(gateway, "gpt-4o~pace-20~words-50") as reply:
        os.killpg(gateway.process.pid, signal.SIGINT)
        assert not cut(reply)
    assert gateway.process.wait(20) == 0
    assert '"level":"error"' not in gateway.said()


@pytest.mark.parametrize(("when_full", "status"), [("drop", 200), ("refuse", 503)])
def test_a_full_spool_loses_logs_or_turns_requests_away_until_the_keeper_makes_room(
    start_gateway: Any, when_full: str, status: int
):
    gateway = start_gateway("--simulate", spool={"max_bytes": 1 << 20, "file_bytes": 1 << 18, "when_full": when_full})
    gateway.log(gateway.chat().headers["cf-aig-log-id"])  # the keeper is there
    keeper = gateway.processes()["sluice: keeper"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        answers = [gateway.chat(padding="x" * 50_000) for _ in range(40)]
        ready = gateway.http.get("/readyz").status_code
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert [answers[0].status_code, answers[-1].status_code, ready] == [200, status, status]
    lost = [line for line in gateway.http.get("/metrics").text.splitlines() if 'reason="spool_full"' in line]
    assert bool(lost) == (when_full == "drop")
    gateway.until(lambda: gateway.http.get("/readyz").status_code == 200, "room in the spool")
    gateway.until(lambda: is_logged(gateway, gateway.chat()), "a log again")
    assert gateway.log(answers[0].headers["cf-aig-log-id"])["ending"] == "complete"


def is_logged(gateway: Any, reply: httpx.Response) -> bool:
    """Whether a reply's log comes within a moment."""
    path = f"/gateways/default/logs/{reply.headers.get('cf-aig-log-id', 'none')}"
    end = time.monotonic() + 1
    while gateway.manage("GET", path).status_code != 200:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
