"""Providers that fail, and connections to them: what the client is told, what is tried again, what the log says."""

import asyncio
import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CLOSED = "The reply did not come: the connection was closed"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def behind(start_shared_gateway: Any, stand: Any) -> Any:
    """A gateway in front of whatever stands at a port of the tests' own."""
    return start_shared_gateway(
        "--workers",
        "1",
        providers={"openai": {"base_url": stand.base_url}},
        upstream={
            "connect_timeout_s": 0.6,
            "first_byte_timeout_s": 1.5,
            "idle_timeout_s": 0.5,
            "keep_alive_s": 0.6,
            "connections": 2,
            "waiters": 1,
        },
    )


@pytest.fixture(scope="module")
def behind_tls(start_shared_gateway: Any, stand: Any) -> Any:
    """The same by TLS, trusting the authority of the tests."""
    return start_shared_gateway(
        "--workers",
        "1",
        providers={"openai": {"base_url": stand.base_url.replace("http://127.0.0.1", "https://localhost")}},
        upstream={"connect_timeout_s": 0.6, "ca_file": str(HERE / "localhost.pem")},
    )


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """A request with a Content-Length or no body. Raises IncompleteReadError at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


def answering(*replies: bytes) -> Any:
    """A provider that answers each request of a connection with the next of these, and closes behind the last."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await read_request(reader)
            writer.write(reply)
            await writer.drain()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


# --- error 2005, by its causes


async def test_a_provider_that_is_not_there(behind: Any, wire: Any, compose: Any, expect_failure: Any):
    async with wire(behind) as line:
        for _ in range(2):
            expect_failure(behind, await line.ask(compose(behind, body=b"{}")), "127.0.0.1 cannot be reached: Conn")


@contextmanager
def crowded(port: int) -> Iterator[None]:
    """A port whose queue is full: connecting to it takes for ever."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(8):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(("127.0.0.1", port))
        yield


async def test_a_provider_that_does_not_take_the_connection(
    behind: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any
):
    with crowded(stand.port):
        async with wire(behind) as line:
            started = time.monotonic()
            reply = await line.ask(compose(behind, body=b"{}"))
            assert 0.5 < time.monotonic() - started < 2.5
    expect_failure(behind, reply, "127.0.0.1 could not be connected to in time")


async def test_the_clients_own_timeout_counts_from_the_connecting_on(
    behind: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any
):
    with crowded(stand.port):
        async with wire(behind) as line:
            started = time.monotonic()
            reply = await line.ask(compose(behind, body=b"{}", cf_aig_request_timeout="50"))
            assert time.monotonic() - started < 0.5
    expect_failure(behind, reply, "did not answer in time")


BAD_REPLIES = {
    "nothing": (b"", CLOSED),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", CLOSED),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "The reply is not HTTP: "),
    "an unasked upgrade": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "The reply switched",
    ),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "The reply is not HTTP: "),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "The reply is not HTTP: ",
    ),
    "a coding of its own": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab", "The reply has a transfer coding"),
    "a control character": (b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", "The reply is not HTTP: "),
    "an endless head": (
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: %b\r\n" % (b"a" * 60_000) * 6,
        "The reply has too large a head",
    ),
    "an interim reply alone": (b"HTTP/1.1 103 Early Hints\r\n\r\n", CLOSED),
}


@pytest.mark.parametrize("what", BAD_REPLIES)
async def test_a_provider_that_answers_with(
    behind: Any, wire: Any, compose: Any, stand: Any, what: str, expect_failure: Any
):
    reply, detail = BAD_REPLIES[what]
    async with stand.serve(answering(reply)), wire(behind) as line:
        expect_failure(behind, await line.ask(compose(behind, body=b"{}")), detail)


async def test_a_provider_that_stays_silent(behind: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any):
    async with stand.serve(silent), wire(behind) as line:
        started = time.monotonic()
        log = expect_failure(behind, await line.ask(compose(behind, body=b"{}")), "The provider did not answer in time")
        assert 1.4 < time.monotonic() - started < 4
    assert log["timings"]["latency"] is None
    assert 1400 < log["duration"] < 4000


# --- TLS


def certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "localhost.pem")
    return context


async def test_a_provider_with_a_certificate_that_is_trusted(behind_tls: Any, wire: Any, compose: Any, stand: Any):
    async with stand.serve(answering(OK, OK), ssl=certified()), wire(behind_tls) as line:
        replies = [await line.ask(compose(behind_tls, body=b"{}")) for _ in range(2)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"ok")] * 2


async def test_a_provider_with_a_certificate_of_another_name(
    behind_tls: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "elsewhere.pem")
    async with stand.serve(answering(OK), ssl=context), wire(behind_tls) as line:
        reply = await line.ask(compose(behind_tls, body=b"{}"))
    expect_failure(behind_tls, reply, "localhost cannot be reached: ")


async def test_a_provider_that_speaks_no_tls(behind_tls: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with stand.serve(plain), wire(behind_tls) as line:
        reply = await line.ask(compose(behind_tls, body=b"{}"))
    expect_failure(behind_tls, reply, "localhost cannot be reached: ")


async def test_a_provider_that_never_finishes_the_handshake(
    behind_tls: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any
):
    async with stand.serve(silent), wire(behind_tls) as line:
        reply = await line.ask(compose(behind_tls, body=b"{}"))
    expect_failure(behind_tls, reply, "localhost could not be connected to in time")


# --- connections that are used again


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_a_connection_that_was_closed_within_a_reply_is_not_replaced(
    behind: Any, wire: Any, compose: Any, stand: Any, begun: bytes, expect_failure: Any
):
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (OK, begun):
            asked.append(await read_request(reader))
            writer.write(reply)

    async with stand.serve(handle), wire(behind) as line:
        assert (await line.ask(compose(behind, body=b"{}"))).body == b"ok"
        expect_failure(behind, await line.ask(compose(behind, body=b"{}")), CLOSED)
    assert len(asked) == 2


async def test_an_idle_connection_is_kept_for_its_time_and_then_closed(
    behind: Any, wire: Any, compose: Any, stand: Any
):
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await reader.read()
        ended.set_result(time.monotonic())

    async with stand.serve(handle), wire(behind) as line:
        assert (await line.ask(compose(behind, body=b"{}"))).body == b"ok"
        replied = time.monotonic()
        assert 0.4 < await asyncio.wait_for(ended, 5) - replied < 3


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(behind: Any, wire: Any, compose: Any, stand: Any):
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await told.wait()
        writer.write(OK)
        ended.set_result(await reader.read() == b"")

    told = asyncio.Event()
    async with stand.serve(handle), wire(behind) as line:
        assert (await line.ask(compose(behind, body=b"{}"))).body == b"ok"
        told.set()
        async with asyncio.timeout(0.4):  # sooner than it would be closed for its age
            assert await ended


async def test_so_many_connections_so_many_waiters_and_no_more(
    behind: Any, wire: Any, compose: Any, stand: Any, error_body: Any
):
    """Two connections, one waiter: the fourth is told at once, the third is served when one becomes free."""
    arrived: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            leave = asyncio.Event()
            arrived.put_nowait(leave)
            await leave.wait()
            writer.write(OK)

    async with stand.serve(handle), AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire(behind)) for _ in range(4)]
        for line in lines[:2]:
            await line.send(compose(behind, body=b"{}"))
        leaves = [await arrived.get() for _ in range(2)]
        await lines[2].send(compose(behind, body=b"{}"))
        refused = await refused_for_want_of_room(behind, lines[3], compose)
        leaves[0].set()
        (await arrived.get()).set()
        leaves[1].set()
        replies = [await line.reply() for line in lines[:3]]
    assert [reply.body for reply in replies] == [b"ok"] * 3
    assert refused.json() == error_body(503, 2005, "The gateway is at its limit, try again")
    assert behind.log(refused.header("cf-aig-log-id"))["status_code"] == 503


async def refused_for_want_of_room(gateway: Any, line: Any, compose: Any) -> Any:
    """The refusal of the fourth; where it came before the third it is the third that is refused, so wait for it."""
    reply = await line.ask(compose(gateway, body=b"{}"))
    assert reply.status == 503
    return reply


async def test_who_waits_too_long_for_a_connection_gets_2005(
    behind: Any, wire: Any, compose: Any, stand: Any, expect_failure: Any
):
    async with stand.serve(silent), AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire(behind)) for _ in range(3)]
        for line in lines:
            await line.send(compose(behind, body=b"{}"))
        done = [asyncio.create_task(line.reply()) for line in lines]
        first, _ = await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
        [reply] = [task.result() for task in first]
        expect_failure(behind, reply, "No connection to the provider became free in time")
        await asyncio.wait(done)


# --- uploads


async def test_a_slow_provider_holds_the_client_up_and_not_our_memory(behind: Any, wire: Any, compose: Any, stand: Any):
    """Nothing is read for half a second; then all of it arrives."""
    size, piece = 90_000_000, b"0123456789abcdef" * 4096
    whole = hashlib.sha256()
    go_on = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await go_on.wait()
        writer.transport.resume_reading()
        got = 0
        while got < size:
            data = await reader.read(1 << 20)
            got += len(data)
            whole.update(data)
        writer.write(OK)

    before = worker_mb(behind)
    sent = hashlib.sha256()
    async with stand.serve(handle), wire(behind) as line:
        line.writer.transport.set_write_buffer_limits(0)
        await line.send(compose(behind, "POST", "openai/files", Content_Length=str(size)))
        accepted = 0
        try:
            async with asyncio.timeout(0.5):
                while accepted + len(piece) <= size:
                    accepted += len(piece)
                    sent.update(piece)
                    await line.send(piece)
        except TimeoutError:
            pass
        assert accepted < 80_000_000  # what the sockets of both legs hold, at their largest
        assert worker_mb(behind) - before < 25
        go_on.set()
        rest = b"x" * (size - accepted)
        sent.update(rest)
        await line.send(rest)
        reply = await line.reply()
    assert (reply.status, reply.body) == (200, b"ok")
    assert whole.hexdigest() == sent.hexdigest()
    log = behind.log(reply.header("cf-aig-log-id"))
    assert (log["request_size"], log["ending"]) == (size, "complete")


def worker_mb(gateway: Any) -> float:
    status = Path(f"/proc/{gateway.processes()['sluice: worker 1']}/status").read_text()
    [kb] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    return kb / 1024


async def test_a_provider_may_answer_before_it_has_read_the_request(behind: Any, wire: Any, compose: Any, stand: Any):
    """The answer arrives whole although the client is still sending, and both connections end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read()

    async with stand.serve(handle), wire(behind) as line:
        await line.send(compose(behind, "POST", "openai/files", Content_Length="3000000"))
        reply = await line.reply()
        assert (reply.status, reply.body, reply.header("connection")) == (413, b"big", "close")
        await line.send(b"x" * 3_000_000)
        assert await line.end() == b""
    assert behind.log(reply.header("cf-aig-log-id"))["status_code"] == 413


# --- what a provider may say of its connection


@pytest.mark.parametrize("named", [b"content-length", b"Content-Length, close", b"x-private, content-length"])
async def test_a_provider_cannot_take_the_length_out_of_its_reply(
    behind: Any, wire: Any, compose: Any, stand: Any, named: bytes
):
    reply = b"HTTP/1.1 200 OK\r\nConnection: %b\r\nX-Private: 1\r\nContent-Length: 2\r\n\r\nok" % named
    async with stand.serve(answering(reply)), wire(behind) as line:
        got = await line.ask(compose(behind, body=b"{}"))
        assert (got.body, got.fault, got.header("content-length")) == (b"ok", "", "2")
        assert got.header("x-private") == (None if b"x-private" in named else "1")


async def test_fields_of_the_providers_connection_end_here(behind: Any, wire: Any, compose: Any, stand: Any):
    lines = (
        b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
        b"Trailer: X-Sum\r\nUpgrade: h2c\r\nX-Kept: 1\r\nx-kept: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"cf-aig-log-id: theirs\r\ncf-aig-step: 7\r\ncf-aig-event-id: theirs\r\nCF-AIG-Cache-Status: HIT\r\n"
    )
    reply = b"HTTP/1.1 200 Fine\r\n%bTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n" % lines
    async with stand.serve(answering(reply)), wire(behind) as line:
        got = await line.ask(compose(behind, body=b"{}"))
    log_id = got.header("cf-aig-log-id")
    assert (got.status, got.reason, got.body) == (200, "Fine", b"ok")
    assert got.headers == [
        ("X-Kept", "1"),
        ("x-kept", "2"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("cf-aig-step", "0"),
        ("cf-aig-cache-status", "MISS"),
        ("cf-aig-request-id", log_id),
        ("cf-aig-event-id", log_id),
        ("cf-aig-log-id", log_id),
        ("Transfer-Encoding", "chunked"),
    ]
