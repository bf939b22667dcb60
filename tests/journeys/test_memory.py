"""What a worker holds is bounded, whatever clients do: come in numbers, send ahead, read late, leave, or never do."""

import asyncio
import hashlib
import os
import socket
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

MB = 1024 * 1024
TINY = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def memory_mb(gateway: Any, which: str = "VmRSS", title: str = "sluice: worker 1") -> float:
    """Memory of a process now, or at its peak (VmHWM)."""
    lines = Path(f"/proc/{gateway.processes()[title]}/status").read_text().splitlines()
    [kb] = [int(line.split()[1]) for line in lines if line.startswith(f"{which}:")]
    return kb / 1024


def descriptors(gateway: Any) -> int:
    return len(os.listdir(f"/proc/{gateway.processes()['sluice: worker 1']}/fd"))


def opened(gateway: Any) -> list[str]:
    """What the worker holds open, by the kernel's names."""
    folder, names = Path(f"/proc/{gateway.processes()['sluice: worker 1']}/fd"), []
    for entry in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed since
            names.append(os.readlink(folder / entry))
    return names


def connections(gateway: Any) -> int:
    """Clients connected, by the gateway's own count."""
    [count] = [
        line for line in gateway.http.get("/metrics").text.splitlines() if line.startswith("sluice_connections ")
    ]
    return int(float(count.split()[1]))


def chat(gateway: Any, model: str, *headers: str, **fields: Any) -> bytes:
    """A chat call as it goes over the wire."""
    request = gateway.http.build_request(
        "POST",
        f"{gateway.inference_url()}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "hello"}], **fields},
        headers=dict(header.split(": ") for header in headers),
    )
    lines = [b"%b: %b\r\n" % header for header in request.headers.raw]
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (request.url.raw_path, b"".join(lines), request.read())


async def connected(gateway: Any, buffer_bytes: int | None = None) -> socket.socket:
    ours = socket.socket()
    if buffer_bytes is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    ours.setblocking(False)
    await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", gateway.port))
    return ours


async def healthy(gateway: Any, deadline_s: float = 2) -> None:
    """Another client is answered in time."""
    async with asyncio.timeout(deadline_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(TINY)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.fixture(scope="module")
def busy(start_shared_gateway: Any) -> Any:
    return start_shared_gateway("--simulate", "--workers", "1")


async def test_a_thousand_slow_streams_take_little_memory(busy: Any):
    request = chat(busy, "gpt-4o~pace-150~words-20", "Connection: close", stream=True)

    async def whole() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", busy.port)
        writer.write(request)
        reply = await reader.read()
        writer.close()
        return reply.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")

    async with asyncio.timeout(30):
        assert all(await asyncio.gather(*[whole() for _ in range(1000)]))
    assert memory_mb(busy, "VmHWM") < 150
    assert {log["ending"] for log in await asyncio.to_thread(busy.logs, 1000)} == {"complete"}


def test_four_large_calls_at_once_are_logged_whole_within_little_memory(busy: Any):
    blocks = [hashlib.sha256(str(number).encode()).digest() * 32768 for number in range(60)]
    asked = sha256(blocks)

    def call(number: int) -> tuple[str, tuple[int, str]]:
        headers = {"content-length": str(60 * MB)} if number % 2 else {}
        headers["x-sluice-fault"] = "huge=60"
        url = f"{busy.inference_url()}/v1/files"
        with busy.http.stream("POST", url, content=iter(blocks), headers=headers) as reply:
            return reply.headers["cf-aig-log-id"], sha256(reply.iter_raw())

    with ThreadPoolExecutor(4) as threads:
        for log_id, told in threads.map(call, range(4)):
            busy.log(log_id)
            for side, sent in (("request", asked), ("response", told)):
                path = f"/client/v4/accounts/local/ai-gateway/gateways/default/logs/{log_id}/{side}"
                with busy.http.stream("GET", path, headers={"authorization": f"Bearer {busy.token}"}) as stored:
                    assert sha256(stored.iter_raw()) == sent
    for role in ("worker 1", "keeper", "console"):
        assert memory_mb(busy, "VmHWM", f"sluice: {role}") < 250


def sha256(pieces: Iterable[bytes]) -> tuple[int, str]:
    digest, length = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        length += len(piece)
    return length, digest.hexdigest()


async def test_requests_sent_ahead_and_never_read_cost_little_and_hold_up_nobody(start_gateway: Any):
    gateway = start_gateway("--simulate", limits={"send_idle_timeout_s": 1})
    loop = asyncio.get_running_loop()
    floods = [await connected(gateway, 4096) for _ in range(8)]
    for ours in floods:
        await loop.sock_sendall(ours, chat(gateway, "gpt-4o~slow-head-500"))
    sending = [loop.create_task(loop.sock_sendall(ours, TINY * 100_000)) for ours in floods]
    for _ in range(10):
        await healthy(gateway)
        await asyncio.sleep(0.1)
    await asyncio.to_thread(
        gateway.until, lambda: connections(gateway) < 8, "the end of those who read nothing", 60
    )  # whoever reads nothing is left
    assert memory_mb(gateway, "VmHWM") < 100
    await asyncio.gather(*sending, return_exceptions=True)
    for ours in floods:
        ours.close()


async def test_a_slow_reader_is_not_cut_off_while_it_reads(start_gateway: Any):
    gateway = start_gateway("--simulate", limits={"send_idle_timeout_s": 2})
    ours = await connected(gateway, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, chat(gateway, "gpt-4o~huge-4", "Connection: close"))
    length = 0
    for _ in range(50):
        length += len(await loop.sock_recv(ours, 8192))
        await asyncio.sleep(0.1)
    while piece := await loop.sock_recv(ours, 1 << 20):
        length += len(piece)
    ours.close()
    assert length > 4 << 20


async def test_a_client_that_reads_all_and_never_closes_is_closed(start_gateway: Any):
    gateway = start_gateway("--simulate", limits={"send_idle_timeout_s": 1})
    before = descriptors(gateway)
    loop = asyncio.get_running_loop()
    clients = [await connected(gateway, 4096) for _ in range(2)]
    for ours in clients:
        await loop.sock_sendall(ours, chat(gateway, "gpt-4o~huge-4", "Connection: close"))
    for ours in clients:
        while await loop.sock_recv(ours, 1 << 20):
            pass
    await asyncio.to_thread(gateway.until, lambda: descriptors(gateway) <= before + 2, "the end of both connections")
    for ours in clients:
        ours.close()


async def test_clients_that_leave_in_the_midst_of_large_replies_leave_nothing_behind(start_gateway: Any):
    gateway = start_gateway("--simulate", upstream={"keep_alive_s": 1})
    loop = asyncio.get_running_loop()
    request = chat(gateway, "gpt-4o~huge-5")

    async def leave() -> None:
        ours = await connected(gateway, 4096)
        await loop.sock_sendall(ours, request)
        await loop.sock_recv(ours, 4096)
        await asyncio.sleep(0.1)
        ours.close()

    before = Counter(opened(gateway))
    for _ in range(15):
        await asyncio.gather(*[leave() for _ in range(20)])
    assert memory_mb(gateway, "VmHWM") < 90

    def left() -> list[str]:
        return sorted((Counter(opened(gateway)) - before).elements())

    try:  # a busy disk takes its time with the bodies
        await asyncio.to_thread(gateway.until, lambda: len(left()) <= 2, "the end of all", 60)
    except pytest.fail.Exception:
        pytest.fail(f"left open: {left()}")


async def test_replies_that_break_off_leave_nothing_behind(busy: Any):
    """Not even until the garbage collector comes: errors and what they passed through held each other, 15 KB a time."""

    async def broken(count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", busy.port)
            writer.write(chat(busy, "gpt-4o-mini~words-50~cut-5", stream=True))
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 200")
            assert b"data: [DONE]" not in reply
            writer.close()

    await asyncio.gather(*[broken(20) for _ in range(10)])
    before = memory_mb(busy)
    await asyncio.gather(*[broken(30) for _ in range(10)])
    assert memory_mb(busy) < before + 1.5
