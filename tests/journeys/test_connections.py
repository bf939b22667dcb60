"""A client's connection: what may be sent on it, in which order it is answered, when and how it ends."""

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

BODY_BYTES = 1_000_000
ON_TIME_S = 3.0
"""A deadline of half a second, a tick of the clock that looks after it, and a slow machine."""


@pytest.fixture(scope="module")
def tight(start_shared_gateway: Any) -> Any:
    """One worker, short deadlines, small limits, the simulator behind it."""
    return start_shared_gateway(
        "--simulate",
        "--workers",
        "1",
        limits={
            "head_timeout_s": 0.5,
            "body_idle_timeout_s": 0.5,
            "keep_alive_s": 0.7,
            "send_idle_timeout_s": 0.5,
            "body_bytes": BODY_BYTES,
            "connections": 30,
            "requests_per_connection": 8,
            "pipelined_bytes": 65_536,
        },
    )


def said_of(number: int) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": f"number {number}"}]}


# --- one request after another


async def test_a_connection_is_kept_for_the_next_request(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        for number in range(3):
            reply = await line.ask(compose(gateway, body=said_of(number)))
            assert json.loads(reply.seen_body) == said_of(number)
            assert reply.header("connection") is None


async def test_a_refusal_leaves_the_connection_as_it_was(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        refused = await line.ask(compose(gateway, body=b"{}", cf_aig_authorization=None))
        lost = await line.ask(compose(gateway, "GET", "/v1"))
        served = await line.ask(compose(gateway, "GET", "openai/models"))
    assert [refused.status, lost.status, served.status] == [401, 404, 200]


async def test_a_client_that_asks_to_close_gets_its_reply_and_the_end(
    gateway: Any, wire: Any, compose: Any, provider: Any, marker: str
):
    one = compose(gateway, "GET", "openai/models", Connection="close", x_sluice_marker=marker)
    async with wire(gateway) as line:
        reply = await line.ask(one + one)
        assert (reply.status, reply.header("connection")) == (200, "close")
        assert await line.end() == b""
    assert len(await provider.entries(marker)) == 1


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini"])
@pytest.mark.parametrize("stays", [False, True])
async def test_http_1_0_gets_no_chunks_and_is_kept_only_on_demand(
    gateway: Any, wire: Any, compose: Any, stays: bool, model: str
):
    asked: dict[str, str] = {"Connection": "keep-alive"} if stays else {}
    whole = compose(gateway, body={"model": model, "messages": []}, **asked).replace(b"HTTP/1.1", b"HTTP/1.0")
    stream = compose(gateway, body={"model": model, "messages": [], "stream": True}, **asked)
    async with wire(gateway) as line:
        first = await line.ask(whole)
        assert (first.status, first.header("connection")) == (200, "keep-alive" if stays else "close")
        if stays:
            last = await line.ask(stream.replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert (last.header("connection"), last.header("transfer-encoding")) == ("close", None)
            assert last.body.endswith(b"data: [DONE]\n\n")
        assert await line.end() == b""


# --- pipelining


async def test_pipelined_requests_are_answered_in_order(gateway: Any, wire: Any, compose: Any):
    sent = compose(gateway, body={**said_of(0), "model": "echo~slow-head-100"})
    sent += b"".join(compose(gateway, body=said_of(number)) for number in range(1, 20))
    async with wire(gateway) as line:
        await line.send(sent)
        replies = [await line.reply() for _ in range(20)]
    contents = [json.loads(reply.seen_body)["messages"][0]["content"] for reply in replies]
    assert contents == [f"number {number}" for number in range(20)]


async def test_a_pipelined_request_may_come_in_any_pieces(gateway: Any, wire: Any, compose: Any):
    sent = b"".join(compose(gateway, body=said_of(number)) for number in range(6))
    async with wire(gateway) as line:
        for start in range(0, len(sent), 97):
            await line.send(sent[start : start + 97])
        replies = [await line.reply() for _ in range(6)]
    assert [json.loads(reply.seen_body) for reply in replies] == [said_of(number) for number in range(6)]


async def test_a_bad_request_behind_good_ones_is_answered_last(gateway: Any, wire: Any, compose: Any):
    good = [compose(gateway, body=said_of(number)) for number in range(3)]
    async with wire(gateway) as line:
        await line.send(b"".join(good) + b"GET / HTTP/1.1\r\n\r\n" + good[0])
        replies = [await line.reply() for _ in range(4)]
        assert await line.end() == b""
    assert [reply.status for reply in replies] == [200, 200, 200, 400]
    assert replies[3].json()["message"] == "Malformed request: exactly one Host header is needed"
    assert replies[3].header("connection") == "close"


async def test_a_client_that_pipelines_without_end_is_held_up(tight: Any, wire: Any, compose: Any):
    """Bodies behind a request that takes its time wait in the socket, not in the worker."""
    stalled = compose(tight, "GET", "openai/models", x_sluice_fault="slow-head=2000")
    body = b"x" * 200_000
    one = compose(tight, "POST", "openai/files", body)
    before = rss_mb(tight)
    async with wire(tight) as line:
        line.writer.transport.set_write_buffer_limits(0)
        await line.send(stalled)
        accepted = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while accepted < 200_000_000:
                    await line.send(one)
                    accepted += len(one)
        assert accepted < 120_000_000  # what the sockets of both sides hold, at their largest
        assert rss_mb(tight) - before < 20
        line.reset()


# --- Expect: 100-continue


async def test_a_client_that_waits_for_leave_gets_it_once_it_is_let_in(gateway: Any, wire: Any, compose: Any):
    body = json.dumps(said_of(1)).encode()
    head = compose(gateway, body=body, Expect="100-continue").removesuffix(body)
    async with wire(gateway) as line:
        assert (await line.ask(head)).status == 100
        reply = await line.ask(body)
        assert (reply.status, reply.seen_body) == (200, body)
        assert "Expect" not in dict(reply.seen)
        assert (await line.ask(compose(gateway, body=body))).status == 200


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [
        ("openai/files", 401, {"cf_aig_authorization": None}),
        ("openai/files", 401, {"cf_aig_authorization": "Bearer undefined"}),
        ("/v1/local/nowhere/openai/files", 400, {}),
        ("nobody/files", 400, {}),
        ("/nothing", 404, {}),
        ("openai/files", 413, {"Content_Length": str(BODY_BYTES + 1)}),
    ],
)
async def test_a_client_that_waits_for_leave_and_is_refused_gets_no_100(
    tight: Any, wire: Any, compose: Any, path: str, status: int, headers: dict[str, str | None]
):
    head = compose(tight, "POST", path, **{"Content_Length": "10", "Expect": "100-continue", **headers})
    async with wire(tight) as line:
        reply = await line.ask(head)
        assert (reply.status, reply.header("connection")) == (status, "close")
        assert await line.end() == b""


async def test_leave_is_given_in_turn_when_requests_are_pipelined(gateway: Any, wire: Any, compose: Any):
    waiting = compose(gateway, body=b"{}", Expect="100-continue", x_sluice_echo="1").removesuffix(b"{}")
    slow = compose(gateway, body={**said_of(1), "model": "echo~slow-head-50"})
    async with wire(gateway) as line:
        assert (await line.ask(slow + waiting)).status == 200
        assert (await line.reply()).status == 100
        assert (await line.ask(b"{}")).seen_body == b"{}"


async def test_a_client_that_does_not_wait_for_leave_is_served(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        first = await line.ask(compose(gateway, body=said_of(1), Expect="100-continue"))
        reply = first if first.status != 100 else await line.reply()
        assert (reply.status, json.loads(reply.seen_body)) == (200, said_of(1))


# --- deadlines


async def test_an_idle_connection_is_closed_without_a_word(tight: Any, wire: Any, compose: Any):
    async with wire(tight) as fresh, wire(tight) as used:
        await used.ask(compose(tight, "GET", "openai/models"))
        started = time.monotonic()
        assert [await fresh.end(), await used.end()] == [b"", b""]
        assert 0.3 < time.monotonic() - started < ON_TIME_S


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_head_that_dawdles_is_answered_408_however_busy_it_looks(
    tight: Any, wire: Any, compose: Any, asked_before: bool
):
    sent = compose(tight, "GET", "openai/models", **{f"x_{number}": "a" for number in range(50)})
    async with wire(tight) as line:
        if asked_before:
            await line.ask(compose(tight, "GET", "openai/models"))
        trickle = asyncio.create_task(dribble(line, sent))
        reply = await line.reply(deadline_s=ON_TIME_S)
        assert (reply.status, reply.header("connection")) == (408, "close")
        assert await line.end() == b""
        trickle.cancel()


async def dribble(line: Any, data: bytes) -> None:
    for place in range(len(data)):
        line.writer.write(data[place : place + 1])
        await asyncio.sleep(0.05)


async def test_a_body_that_keeps_coming_has_all_the_time_it_needs(tight: Any, wire: Any, compose: Any):
    sent = compose(tight, "POST", "openai/files", b"x" * 30, x_sluice_echo="1")
    async with wire(tight) as line:
        await line.send(sent[:-30])
        await dribble(line, b"x" * 30)  # one and a half seconds, three times the longest silence
        assert (await line.reply()).seen_body == b"x" * 30


async def test_a_body_that_stops_coming_is_answered_408_and_logged(tight: Any, wire: Any, compose: Any):
    async with wire(tight) as line:
        await line.send(compose(tight, "POST", "openai/files", b"x" * 30)[:-10])
        reply = await line.reply(deadline_s=ON_TIME_S)
        assert (reply.status, reply.json()["message"]) == (408, "The request did not arrive in time")
        assert await line.end() == b""
    log = tight.log(reply.header("cf-aig-log-id"))
    assert (log["status_code"], log["error_code"], log["ending"]) == (408, 2004, "refused")


async def test_a_reply_that_nobody_reads_is_given_up(tight: Any, compose: Any, provider_of: Any, marker: str):
    body = {"model": "gpt-4o~huge-60mb", "messages": [], "stream": True}
    connection = narrow(tight)
    connection.sendall(compose(tight, body=body, x_sluice_marker=marker))
    head = connection.recv(4096).decode("latin-1")
    [entry] = await provider_of(tight).entries(marker, 1)
    assert entry["ended"] == "client gone"
    connection.close()
    [log_id] = [line[15:] for line in head.split("\r\n") if line.startswith("cf-aig-log-id: ")]
    assert tight.log(log_id)["ending"] == "abandoned"


def narrow(gateway: Any) -> socket.socket:
    """A connection with little room for what nobody reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect(("127.0.0.1", gateway.port))
    return connection


# --- limits


async def test_one_connection_too_many_is_told_so(tight: Any, wire: Any, compose: Any, error_body: Any):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            line = await stack.enter_async_context(wire(tight))
            await line.send(b"G")
            with contextlib.suppress(TimeoutError):
                reply = await line.reply(deadline_s=0.01)
                break
        else:
            pytest.fail("all were let in")
        assert (reply.status, reply.header("connection")) == (503, "close")
        assert reply.json() == error_body(503, 2005, "The gateway is at its limit, try again")
    async with wire(tight) as line:
        assert (await line.ask(compose(tight, "GET", "/healthz"))).status == 200


async def test_a_connection_ends_behind_its_last_request(tight: Any, wire: Any, compose: Any):
    async with wire(tight) as line:
        replies = [await line.ask(compose(tight, "GET", "openai/models")) for _ in range(8)]
        assert await line.end() == b""
    assert [reply.header("connection") for reply in replies] == [None] * 7 + ["close"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_refusal_is_read_whole_by_a_client_that_is_still_sending(
    tight: Any, wire: Any, compose: Any, framing: str, error_body: Any
):
    """A reset would destroy the reply on its way: what still comes is read and discarded."""
    more = {"Content_Length": None, "Transfer_Encoding": "chunked"} if framing == "chunked" else {}
    piece = b"x" * 100_000
    sent = compose(tight, "POST", "openai/files", **{"Content_Length": str(40 * len(piece)), **more})
    async with wire(tight) as line:
        await line.send(sent)
        for _ in range(40):
            await line.send(piece if framing == "length" else b"%x\r\n%b\r\n" % (len(piece), piece))
        reply = await line.reply()
        assert (reply.status, reply.header("connection"), reply.fault) == (413, "close", "")
        assert reply.json() == error_body(413, 2004, "Request body too large")
        assert await line.end() == b""


# --- upgrades


async def test_an_offer_to_speak_http_2_is_ignored(gateway: Any, wire: Any, compose: Any):
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    async with wire(gateway) as line:
        for _ in range(2):
            reply = await line.ask(compose(gateway, body=said_of(1), **offer))
            assert (reply.status, json.loads(reply.seen_body)) == (200, said_of(1))
            assert not {"upgrade", "http2-settings"} & {name.lower() for name, _ in reply.seen}


@pytest.mark.parametrize("path", ["openai/realtime?model=x", "/v1/local/default"])
async def test_a_websocket_without_its_key_is_refused_in_words_and_its_connection_closed(
    gateway: Any, wire: Any, compose: Any, path: str, error_body: Any
):
    offer = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", path, **offer) + b"\x81\x80abcd")
        assert (reply.status, reply.header("connection")) == (400, "close")
        said = "This is no WebSocket handshake: missing Sec-WebSocket-Key header"
        assert reply.json() == error_body(400, 2004, said)
        assert await line.end() == b""


# --- browsers


async def test_a_preflight_is_answered_without_a_token(
    gateway: Any, wire: Any, compose: Any, provider: Any, marker: str
):
    asked = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,cf-aig-metadata",
        "cf_aig_authorization": None,
        "x_sluice_marker": marker,
    }
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "OPTIONS", **asked))
        again = await line.ask(compose(gateway, body=said_of(1)))
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("access-control-allow-origin") == "*"
    assert "POST" in (reply.header("access-control-allow-methods") or "")
    assert reply.header("access-control-allow-headers") == "authorization,cf-aig-metadata"
    assert reply.header("content-length") is None
    assert again.status == 200
    assert await provider.entries(marker) == []


@pytest.mark.parametrize(
    ("status", "path", "headers"),
    [
        (200, "openai/models", {}),
        (500, "openai/models", {"x_sluice_fault": "status=500"}),
        (401, "openai/models", {"cf_aig_authorization": None}),
        (400, "nobody/models", {}),
        (404, "/v1/local", {}),
        (405, "/v1/local/default", {}),
    ],
)
async def test_a_page_of_any_origin_may_read_a_reply_and_our_fields(
    gateway: Any, wire: Any, compose: Any, status: int, path: str, headers: dict[str, str | None]
):
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "DELETE", path, Origin="https://app.example.com", **headers))
        assert reply.status == status or status == 200
        shared = [(name.lower(), value) for name, value in reply.headers if name.lower().startswith("access-control-")]
        assert [name for name, _ in shared] == ["access-control-allow-origin", "access-control-expose-headers"]
        assert shared[0][1] == "*"
        assert {"*", "cf-aig-step", "cf-aig-log-id"} <= set(shared[1][1].split(", "))


async def test_who_is_no_page_gets_the_providers_own_fields(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", "openai/models", x_sluice_echo="1"))
        options = await line.ask(compose(gateway, "OPTIONS", "openai/models", Origin="https://a", x_sluice_echo="1"))
    assert reply.header("access-control-allow-origin") is None
    assert options.json()["method"] == "OPTIONS"  # without Access-Control-Request-Method it is no preflight


def rss_mb(gateway: Any) -> float:
    """Memory of the one worker."""
    status = Path(f"/proc/{gateway.processes()['sluice: worker 1']}/status").read_text()
    [kb] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    return kb / 1024
