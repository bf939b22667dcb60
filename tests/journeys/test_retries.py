"""Retries of native calls: the same request once more, whole, however large it was and however it came."""

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest

CHAT = "/v1/local/default/openai/v1/chat/completions"


def chat(gateway: Any, model: str, **headers: str) -> httpx.Response:
    fields = {f"cf-aig-{name.replace('_', '-')}": value for name, value in headers.items()}
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return gateway.http.post(CHAT, json=body, headers=fields)


@pytest.mark.parametrize("fault", ["status-429", "status-500", "bad-head", "cut-0"])
def test_a_native_call_is_tried_again_where_it_asks_for_it(gateway: Any, fault: str, marker: str):
    model = f"gpt-4o~{fault}~first-2~words-{int(marker[:3], 16) + 1}"
    reply = chat(gateway, model, max_attempts="3", retry_delay="5", backoff="linear")
    assert reply.status_code == 200
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 3
    assert "cf-aig-provider" not in reply.headers


def test_a_native_call_is_tried_once_where_nobody_asks(gateway: Any):
    reply = chat(gateway, "gpt-4o~status-503")
    assert reply.status_code == 503
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 1


def test_the_last_reply_is_returned_as_it_is(gateway: Any):
    reply = chat(gateway, "gpt-4o~status-503", max_attempts="2")
    assert (reply.status_code, "error" in reply.json(), reply.json().get("name")) == (503, True, None)
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["attempts"], row["status_code"], row["ending"]) == (2, 503, "complete")


def test_a_gateway_has_retries_of_its_own(gateway: Any):
    required = {"cache_invalidate_on_update": False, "cache_ttl": 0, "collect_logs": True, "rate_limiting_interval": 0}
    fields = {"id": "stubborn", "rate_limiting_limit": 0, "retry_max_attempts": 3, "retry_delay": 5}
    assert gateway.manage("POST", "/gateways", json={**required, **fields}).status_code == 200
    for headers, expected in (({}, 3), ({"cf-aig-max-attempts": "1"}, 1)):
        url = gateway.inference_url(gateway="stubborn") + "/v1/chat/completions"
        reply = gateway.http.post(url, json={"model": "gpt-4o~status-500", "messages": []}, headers=headers)
        assert gateway.log(reply.headers["cf-aig-log-id"], "stubborn")["attempts"] == expected


@pytest.mark.parametrize("value", ["many", "-1", "", "1.5"])
def test_a_value_that_is_no_number_is_ignored(gateway: Any, value: str):
    reply = chat(gateway, "gpt-4o~status-500", max_attempts=value, retry_delay="soon", backoff="cubic")
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 1


@pytest.mark.parametrize("fault", ["slow-head-3000", "slow-first-token-3000"])
def test_the_timeout_of_a_native_call_reaches_to_the_first_byte_of_its_body(gateway: Any, fault: str):
    reply = chat(gateway, f"gpt-4o~{fault}", request_timeout="60")
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2005)
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["ending"], row["error_message"]) == ("refused", "The provider did not answer in time")


@pytest.mark.parametrize("logged", ["true", "false"])
@pytest.mark.parametrize("form", ["with its length", "in chunks"])
@pytest.mark.parametrize("size", [1_000, 100_000, 3_000_000])
async def test_a_body_of_any_size_is_sent_whole_each_time(
    gateway: Any, provider: Any, marker: str, size: int, form: str, logged: str
):
    body = json.dumps({"model": "gpt-4o~status-503~first-2", "messages": [], "pad": "x" * size}).encode()

    def pieces() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"cf-aig-max-attempts": "3", "cf-aig-collect-log": logged, "x-sluice-marker": marker}
    reply = gateway.http.post(CHAT, content=body if form == "with its length" else pieces(), headers=headers)
    entries = await provider.entries(marker, ended=3)
    assert [entry["body_sha256"] for entry in entries] == [hashlib.sha256(body).hexdigest()] * 3
    assert reply.status_code != 503
    if logged == "true":
        assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 3
        assert gateway.log_body(reply.headers["cf-aig-log-id"], "request") == body


@pytest.fixture(scope="module")
def before(start_shared_gateway: Any, stand: Any) -> Any:
    """A gateway before the provider that a test makes."""
    return start_shared_gateway(providers={"openai": {"base_url": stand.base_url}})


async def test_a_provider_that_answers_before_it_has_read_all_gets_all_of_it_the_next_time(
    before: Any, stand: Any, wire: Any, compose: Any
):
    body = b"0123456789abcdef" * 100_000
    got: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not got:
            got.append(await reader.readexactly(100))
            writer.write(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            await reader.read()
            return
        got.append(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with stand.serve(handle), wire(before) as line:
        reply = await line.ask(compose(before, body=body, cf_aig_max_attempts="2"))
    assert (reply.status, reply.body) == (200, b"ok")
    assert got[1] == body
    row = before.log(reply.header("cf-aig-log-id"))
    assert (row["attempts"], row["request_size"]) == (2, len(body))
    assert before.log_body(row["id"], "request") == body


async def test_a_provider_that_comes_back_is_found_by_a_retry(before: Any, stand: Any, wire: Any, compose: Any):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with wire(before) as line:
        headers = {"cf_aig_max_attempts": "5", "cf_aig_retry_delay": "300"}
        asked = asyncio.create_task(line.ask(compose(before, body=b"{}", **headers)))
        await asyncio.sleep(0.2)
        async with stand.serve(handle):
            reply = await asked
    assert (reply.status, reply.body) == (200, b"ok")
    assert before.log(reply.header("cf-aig-log-id"))["attempts"] >= 2


async def test_a_client_that_leaves_between_two_tries_ends_the_request(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str
):
    body = {"model": "gpt-4o~status-503", "messages": []}
    headers = {"cf_aig_max_attempts": "5", "cf_aig_retry_delay": "60000", "x_sluice_marker": marker}
    async with wire(gateway) as line:
        await line.send(compose(gateway, body=body, cf_aig_event_id=marker, **headers))
        await provider.entries(marker, ended=1)
        line.reset()
    row = gateway.until(lambda: next((row for row in gateway.logs() if row["event_id"] == marker), None), "its log")
    assert (row["status_code"], row["ending"], row["attempts"]) == (499, "abandoned", 1)


@pytest.mark.parametrize("where", ["source", "follower", "fallback"])
async def test_a_client_that_leaves_a_workflow_cancels_the_step_that_runs_and_no_other_begins(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str, where: str
):
    def step(model: str, **fields: Any) -> dict[str, Any]:
        query = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}
        headers = {"x-sluice-marker": marker}
        return {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}

    slow = step("gpt-4o~stall-2" if where == "source" else "gpt-4o~slow-head-60000")
    body: Any = {
        "source": [{**slow, "option": {"onComplete": step("m")}}, step("m")],
        "follower": [step("m", option={"onComplete": slow}), step("m")],
        "fallback": [step("gpt-4o~status-500"), slow, step("m")],
    }[where]
    begun = 1 if where == "source" else 2
    async with wire(gateway) as line:
        await line.send(
            compose(gateway, path="/v1/local/default", body=json.dumps(body).encode(), cf_aig_event_id=marker)
        )
        await provider.arrived(marker, begun)
        line.reset()
    entries = await provider.entries(marker, ended=begun)
    assert entries[-1]["ended"] == "client gone"

    def look() -> list[dict[str, Any]] | None:
        found = [row for row in gateway.logs() if row["event_id"] == marker]
        return found if len(found) >= begun else None

    rows = sorted(gateway.until(look, f"{begun} logs"), key=lambda row: row["id"])
    assert len(rows) == begun
    assert rows[-1]["ending"] == "abandoned"
