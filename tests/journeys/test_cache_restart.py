"""What the cache is after a restart, a kill and damage; and streams, where the operator has them recorded."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

HEADERS = {"authorization": "Bearer sk-theirs", "cf-aig-cache-ttl": "3600"}
VERSION = {"anthropic-version": "2023-06-01", "x-api-key": "sk-ant-theirs"}


def ask(gateway: Any, text: str, model: str = "gpt-4o-mini", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    reply: httpx.Response = gateway.http.post(
        f"{gateway.inference_url()}/v1/chat/completions", json=body, headers=HEADERS
    )
    return reply


def status(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.headers["cf-aig-cache-status"])


@pytest.fixture
def start(start_gateway: Any, provider: Any) -> Callable[..., Any]:
    """Starts a gateway of the test's own before a provider that stays: its address is part of what is asked."""
    base_url = f"http://{provider.authority}/openai"
    return lambda *flags, **settings: start_gateway(*flags, providers={"openai": {"base_url": base_url}}, **settings)


def test_the_cache_outlives_kills_and_a_restart_and_damage_costs_itself_alone(start: Any):
    gateway = start("--workers", "1")
    for number in range(100):
        assert status(ask(gateway, f"text {number}")) == "MISS"
        if number % 40 == 39:
            worker = gateway.processes()["sluice: worker 1"]
            os.kill(worker, signal.SIGKILL)
            gateway.until(lambda dead=worker: gateway.processes().get("sluice: worker 1", dead) != dead, "a successor")
    last = ask(gateway, "text 99")
    assert status(last) == "HIT"
    gateway.terminate()
    assert "damaged cache" not in gateway.said()

    gateway = start("--workers", "1")
    told = [ask(gateway, f"text {number}") for number in range(100)]
    assert [status(reply) for reply in told].count("HIT") > 30  # what was not written at a kill is a miss
    assert (status(told[99]), told[99].content) == ("HIT", last.content)
    gateway.terminate()

    (gateway.data / "cache.db").write_bytes(b"no database" * 1000)
    gateway = start("--workers", "1")
    assert [status(ask(gateway, "text 99")) for _ in range(2)] == ["MISS", "HIT"]
    gateway.wait_for_event("damaged cache set aside")
    assert (gateway.data / "cache.db.damaged").read_bytes() == b"no database" * 1000


@pytest.fixture(scope="module")
def recording(start_shared_gateway: Any) -> Any:
    """A gateway that keeps streams too."""
    return start_shared_gateway("--simulate", "--workers", "1", cache={"record_streams": True})


def test_a_provider_that_is_down_is_not_missed(recording: Any):
    kept = ask(recording, "hello")
    simulator = next(pid for title, pid in recording.processes().items() if "simulator" in title)
    os.kill(simulator, signal.SIGSTOP)
    try:
        again = ask(recording, "hello")
        assert (status(again), again.content) == ("HIT", kept.content)
    finally:
        os.kill(simulator, signal.SIGCONT)


def stream(gateway: Any, model: str, text: str) -> tuple[str, list[bytes], float]:
    """Status, the chunks in which it came, and the log's id."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    url = f"{gateway.inference_url()}/v1/chat/completions"
    with gateway.http.stream("POST", url, json=body, headers=HEADERS) as reply:
        return reply.headers["cf-aig-cache-status"], list(reply.iter_raw()), reply.headers["cf-aig-log-id"]


async def test_streams_are_replayed_with_their_parts(recording: Any, wire: Any, compose: Any, talk: Any):
    gateway = recording
    model = "gpt-4o-mini~pace-30~words-8"
    told, came, _ = stream(gateway, model, "a")
    assert (told, len(came) > 5) == ("MISS", True)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "a"}]}
    user_agent = {"accept": "*/*", "accept-encoding": gateway.http.headers["accept-encoding"]}
    data = compose(gateway, body=body, **HEADERS, **user_agent, **{"content-type": "application/json"})
    async with wire(gateway) as line:
        await line.send(data)
        head = await line.until(b"\r\n\r\n")
        assert b"cf-aig-cache-status: HIT" in head
        chunks = []
        while size := int(await line.reader.readuntil(b"\r\n"), 16):
            chunks.append(await line.reader.readexactly(size))
            await line.reader.readexactly(2)
    assert chunks == came
    told, again, log_id = stream(gateway, model, "a")
    assert (told, b"".join(again)) == ("HIT", b"".join(came))
    log = gateway.log(log_id)
    assert (log["cached"], log["cost"], log["tokens_out"], log["success"]) == (True, 0, 0, True)
    step = {"provider": "openai", "endpoint": "chat/completions", "headers": HEADERS, "query": body}
    async with talk(gateway) as client:
        kinds = []
        for event_id in ("e1", "e2"):
            told_events = await client.ask(step, event_id)
            kinds.append((told_events[0]["metadata"]["cacheStatus"], [event.get("response") for event in told_events]))
    assert [kind for kind, _ in kinds] == ["MISS", "HIT"]
    assert kinds[0][1] == kinds[1][1]
    for fault in ("no-tail", "error-event-3", "cut-4"):
        for _ in range(2):
            try:
                assert stream(gateway, f"gpt-4o-mini~{fault}~words-8", json.dumps(fault))[0] == "MISS"
            except httpx.RemoteProtocolError:
                assert fault == "cut-4"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "google-ai-studio/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        ),
        (
            "anthropic/v1/messages",
            {
                "model": "claude-sonnet-4-5",
                "max_tokens": 9,
                "stream": True,
                "messages": [{"role": "user", "content": "hello"}],
            },
        ),
        ("openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello", "stream": True}),
    ],
)
def test_streams_are_kept_whatever_their_vendor_ends_them_with(recording: Any, path: str, body: dict[str, Any]):
    url = f"{recording.base_url}/v1/local/default/{path}"
    told = [recording.http.post(url, json=body, headers=HEADERS | VERSION) for _ in range(2)]
    assert [status(reply) for reply in told] == ["MISS", "HIT"]
    assert told[0].content == told[1].content != b""
