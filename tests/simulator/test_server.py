import asyncio
import base64
import hashlib
import json
import ssl
from typing import Any

import pytest

from sluice.simulator.server import serve
from sluice.simulator.staging import STALL_MS


async def test_the_same_request_has_the_same_reply_to_the_byte(simulator: Any) -> None:
    first, second = await simulator.chat(stream=True), await simulator.chat(stream=True)
    assert (first.headers, first.body) == (second.headers, second.body)


async def test_a_connection_serves_many_requests_and_the_journal_tells(simulator: Any) -> None:
    async with simulator.line() as line:
        for _ in range(3):
            assert (await line.ask("GET", "/v1/models", headers={"x-sluice-marker": "reuse"})).status == 200
    entries = await simulator.journal("reuse", 3)
    assert len({entry["connection"] for entry in entries}) == 1
    assert [entry["number"] for entry in entries] == [1, 2, 3]
    assert [entry["ended"] for entry in entries] == ["complete"] * 3


async def test_the_journal_tells_who_was_asked_what_and_with_which_kind_of_key(simulator: Any) -> None:
    headers = {"x-sluice-marker": "who", "X-Api-Key": "k", "anthropic-version": "2023-06-01"}
    await simulator.ask("POST", "/anthropic/v1/messages?beta=true", b"\x00{}", headers)
    (entry,) = await simulator.journal("who")
    assert (entry["provider"], entry["target"]) == ("anthropic", "/anthropic/v1/messages?beta=true")
    assert entry["key_headers"] == ["X-Api-Key"]
    assert base64.b64decode(entry["body"]) == b"\x00{}"


async def test_a_client_that_expects_tls_is_told_so_in_tls(simulator: Any) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        await asyncio.open_connection("127.0.0.1", simulator.port, ssl=ssl.create_default_context())


async def test_pipelined_requests_are_answered_in_order(simulator: Any) -> None:
    async with simulator.line() as line:
        line.writer.write(b"GET /v1/models/a HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models/b HTTP/1.1\r\nHost: x\r\n\r\n")
        line.replies.expect(b"GET")
        data = b""
        while data.count(b'"id"') < 2:
            data += await line.reader.read(65_536)
    assert data.index(b'"id": "a"') < data.index(b'"id": "b"')


async def test_the_echo_tells_exactly_what_was_received(simulator: Any) -> None:
    headers = {"X-Mixed-CASE": "a  b", "x-twice": "1", "X-Twice": "2", "x-sluice-echo": "1"}
    reply = (await simulator.ask("PATCH", "/openai/v1/odd?q=%2F&q", b"\x00\xff", headers)).json()
    assert (reply["method"], reply["target"]) == ("PATCH", "/openai/v1/odd?q=%2F&q")
    assert reply["headers"] == [["Host", "sim"], ["Content-Length", "2"], *map(list, headers.items())]
    assert base64.b64decode(reply["body"]) == b"\x00\xff"


async def test_a_long_upload_is_digested_and_not_kept(simulator: Any) -> None:
    piece, digest = b"x" * 65_536, hashlib.sha256()
    async with simulator.line() as line:
        line.writer.write(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nx-sluice-echo: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(100):
            digest.update(piece)
            line.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await line.writer.drain()
        line.writer.write(b"0\r\n\r\n")
        reply = (await line.read()).json()
    assert reply["body"] is None
    assert (reply["body_bytes"], reply["body_sha256"]) == (6_553_600, digest.hexdigest())


async def test_a_client_that_expects_to_continue_is_told_to(simulator: Any) -> None:
    async with simulator.line() as line:
        line.writer.write(
            b"POST /v1/x HTTP/1.1\r\nHost: x\r\nx-sluice-echo: 1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.writer.write(b"{}")
        assert (await line.read()).status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_noticed_at_once(simulator: Any, stream: bool) -> None:
    async with simulator.line() as line:
        body = {"model": "gpt-4o~stall-2", "messages": [], "stream": stream}
        line.send("POST", "/v1/chat/completions", json.dumps(body).encode(), {"x-sluice-marker": "gone"})
        await line.reader.readuntil(b"\r\n\r\n")
    (entry,) = await simulator.journal("gone")
    assert entry["ended"] == "client gone"


async def test_a_client_that_leaves_amid_its_upload_is_in_the_journal(simulator: Any) -> None:
    async with simulator.line() as line:
        head = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nx-sluice-marker: half\r\nContent-Length: 9\r\n"
        line.writer.write(head + b"Expect: 100-continue\r\n\r\n")
        await line.reader.readuntil(b"\r\n\r\n")
    (entry,) = await simulator.journal("half")
    assert (entry["ended"], entry["status"]) == ("client gone", None)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [("cut-2", "cut short"), ("half-close-2", "cut short"), ("malformed-2", "not HTTP")],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_broken_reply_is_seen_as_such(simulator: Any, fault: str, seen: str, stream: bool) -> None:
    reply = await simulator.chat(f"gpt-4o~{fault}", stream=stream)
    assert reply.status == 200
    assert seen in reply.fault
    assert reply.body.count(b"data: ") == 2 if stream else len(reply.body) == 64


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_connection_is_seen_as_such(simulator: Any, stream: bool) -> None:
    assert (await simulator.chat("gpt-4o~reset-2", stream=stream)).fault == "reset"


async def test_a_dropped_reply_is_none(simulator: Any) -> None:
    assert "did not come" in (await simulator.chat("gpt-4o~drop")).fault
    async with simulator.line() as line:
        fault = {"x-sluice-fault": "drop-reused"}
        assert (await line.ask("GET", "/v1/models", headers=fault)).status == 200
        assert "did not come" in (await line.ask("GET", "/v1/models", headers=fault)).fault


async def test_faults_may_end_after_the_first_requests(simulator: Any) -> None:
    statuses = [(await simulator.chat("gpt-4o~status-503~first-2")).status for _ in range(4)]
    assert statuses == [503, 503, 200, 200]


async def test_events_come_one_by_one(simulator: Any) -> None:
    reply = await simulator.chat("gpt-4o~pace-1~words-5", stream=True)
    assert len(reply.pieces) == reply.body.count(b"\n\n")


async def test_what_is_no_request_is_refused(simulator: Any) -> None:
    async with simulator.line() as line:
        line.writer.write(b"GET /\r\n\r\n")
        assert (await line.read()).status == 400
        assert await line.reader.read() == b""


async def test_unread_replies_are_not_made(simulator: Any) -> None:
    async with simulator.line() as line:
        body = b'{"model":"gpt-4o~huge-1000mb","messages":[]}'
        line.send("POST", "/v1/chat/completions", body, {"x-sluice-marker": "slow"})
        await line.reader.readuntil(b"\r\n\r\n")
    (entry,) = await simulator.journal("slow")
    assert entry["ended"] == "client gone"
    assert entry["sent_bytes"] < 50_000_000


async def test_the_counters_know_what_is_open(simulator: Any) -> None:
    await simulator.chat()
    async with simulator.line() as line:
        counters = (await line.ask("GET", "/_simulator/counters")).json()
    assert counters["requests"] == 1
    assert counters["ended"] == {"complete": 1}
    assert (counters["running"], counters["connections_opened"]) == (0, 2)


async def test_the_root_says_what_this_is_and_any_method_is_answered(simulator: Any) -> None:
    assert b"provider simulator" in (await simulator.ask("GET", "/")).body
    assert (await simulator.ask("PROPFIND", "/v1/models")).status == 405
    head, got = await simulator.ask("HEAD", "/v1/models"), await simulator.ask("GET", "/v1/models")
    assert (head.status, head.body, int(head.header("content-length"))) == (200, b"", len(got.body))


async def test_stopping_ends_what_is_running() -> None:
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve("127.0.0.1", 0, port.set_result, stop))
    reader, writer = await asyncio.open_connection("127.0.0.1", await port)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-sluice-fault: stall=0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    stop.set()
    await asyncio.wait_for(task, STALL_MS / 1000 / 100)
    assert await reader.read() == b""
    writer.close()
