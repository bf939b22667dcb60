"""60 MB either way, logged whole, while no process of ours grows with it."""

import hashlib
import re
import socket
from pathlib import Path
from typing import Any

import pytest

MB = 1024 * 1024
SIZE = 60 * MB


@pytest.fixture
def measured(start_gateway: Any) -> Any:
    return start_gateway("--simulate", "--workers", "1")


def peaks_mb(gateway: Any) -> dict[str, int]:
    """The most memory that each process of ours, the simulator apart, has ever had."""
    found = {}
    for title, pid in gateway.processes().items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        [peak_kb] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        found[title] = peak_kb // 1024
    found.pop("sluice: simulator")
    return found


def test_a_large_request_passes_and_is_logged_whole(measured: Any):
    blocks = [hashlib.sha256(str(number).encode()).digest() * 32768 for number in range(SIZE // MB)]
    reply = measured.http.post(
        f"{measured.inference_url()}/v1/files",
        content=iter(blocks),
        headers={"content-length": str(SIZE), "x-sluice-echo": "1"},
    )
    whole = hashlib.sha256(b"".join(blocks)).hexdigest()
    assert (reply.json()["body_bytes"], reply.json()["body_sha256"]) == (SIZE, whole)
    assert sha256_of_stored(measured, reply.headers["cf-aig-log-id"], "request") == (SIZE, whole)
    assert max(peaks_mb(measured).values()) < 250


@pytest.mark.parametrize("stream", [False, True])
def test_a_large_reply_passes_and_is_logged_whole(measured: Any, stream: bool):
    body = {"model": "gpt-4o~huge-60mb", "stream": stream, "messages": [{"role": "user", "content": "much"}]}
    seen, length = hashlib.sha256(), 0
    with measured.http.stream("POST", f"{measured.inference_url()}/v1/chat/completions", json=body) as reply:
        for piece in reply.iter_raw():
            seen.update(piece)
            length += len(piece)
    assert length > SIZE
    log_id = reply.headers["cf-aig-log-id"]
    assert sha256_of_stored(measured, log_id, "response") == (length, seen.hexdigest())
    assert measured.log(log_id)["ending"] == "complete"
    assert max(peaks_mb(measured).values()) < 250


def sha256_of_stored(gateway: Any, log_id: str, side: str) -> tuple[int, str]:
    gateway.log(log_id)
    url = f"{gateway.base_url}/client/v4/accounts/local/ai-gateway/gateways/default/logs/{log_id}/{side}"
    seen, length = hashlib.sha256(), 0
    with gateway.http.stream("GET", url, headers={"authorization": f"Bearer {gateway.token}"}) as reply:
        assert reply.status_code == 200
        for piece in reply.iter_raw():
            seen.update(piece)
            length += len(piece)
    return length, seen.hexdigest()


def test_bodies_that_must_be_whole_are_bounded_together_and_room_comes_back(start_gateway: Any):
    gateway = start_gateway("--simulate", "--workers", "1", limits={"whole_bodies_bytes": MB})
    chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    path, token = "/v1/local/default", gateway.token

    def post(size: int, native: bool = False, **headers: str) -> Any:
        body = {**chat, "pad": "x" * size}
        if native:
            return gateway.http.post(f"{path}/openai/v1/chat/completions", json=body, headers=headers)
        step = {"provider": "openai", "endpoint": "chat/completions", "query": body}
        return gateway.http.post(path, json=[step])

    def held() -> int:
        found = re.search(r"^sluice_whole_bodies_bytes(?:\{[^}]*\})? (\d+)", gateway.http.get("/metrics").text, re.M)
        assert found is not None
        return int(found[1])

    assert [post(700_000).status_code for _ in range(3)] == [200, 200, 200]
    refused = post(2 * MB)
    assert (refused.status_code, refused.json()["error"][0]["code"]) == (503, 2005)
    with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: a\r\ncf-aig-authorization: Bearer {token}\r\nContent-Length: {MB}\r\n\r\n"
        )
        slow.sendall(head.encode() + b"[" + b" " * 700_000)
        gateway.until(lambda: held() > 600_000, "the slow body")
        assert post(700_000).status_code == 503
        statuses = [post(700_000, native=True, **{"cf-aig-cache-ttl": "60"}) for _ in range(2)]
        assert [(one.status_code, one.headers["cf-aig-cache-status"]) for one in statuses] == [(200, "MISS")] * 2
    gateway.until(lambda: held() == 0, "its end")
    assert post(700_000).status_code == 200
    statuses = [post(700_000, native=True, **{"cf-aig-cache-ttl": "60"}) for _ in range(2)]
    assert [one.headers["cf-aig-cache-status"] for one in statuses] == ["MISS", "HIT"]
