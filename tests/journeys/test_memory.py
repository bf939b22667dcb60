"""What a worker holds is bounded, whatever clients do: send ahead, read late, leave, or never leave."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

TINY = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def memory_mb(gateway: Any, which: str = "VmRSS", title: str = "sluice: worker 1") -> float:
    """Memory of a process now, or at its peak (VmHWM)."""
    lines = Path(f"/proc/{gateway.processes()[title]}/status").read_text().splitlines()
    [kb] = [int(line.split()[1]) for line in lines if line.startswith(f"{which}:")]
    return kb / 1024


def descriptors(gateway: Any) -> int:
    return len(os.listdir(f"/proc/{gateway.processes()['sluice: worker 1']}/fd"))


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
        gateway.until, lambda: connections(gateway) < 8, "the end of those who read nothing"
    )  # whoever reads nothing is left
    assert memory_mb(gateway, "VmHWM") < 100
    await asyncio.gather(*sending, return_exceptions=True)
    for ours in floods:
        ours.close()


async def test_a_slow_reader_is_not_cut_off_while_it_reads(start_gateway: Any):
    gateway = start_gateway("--simulate", limits={"send_idle_timeout_s": 1})
    ours = await connected(gateway, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, chat(gateway, "gpt-4o~huge-4", "Connection: close"))
    length = 0
    for _ in range(30):
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
    gateway = start_gateway("--simulate")
    loop = asyncio.get_running_loop()
    request = chat(gateway, "gpt-4o~huge-5")

    async def leave() -> None:
        ours = await connected(gateway, 4096)
        await loop.sock_sendall(ours, request)
        await loop.sock_recv(ours, 4096)
        await asyncio.sleep(0.1)
        ours.close()

    before = descriptors(gateway)
    for _ in range(15):
        await asyncio.gather(*[leave() for _ in range(20)])
    assert memory_mb(gateway, "VmHWM") < 90
    await asyncio.to_thread(gateway.until, lambda: descriptors(gateway) <= before + 2, "the end of all connections")
