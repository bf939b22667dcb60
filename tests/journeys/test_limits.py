"""Limits where several workers count, whichever way requests come and whichever worker they reach (contract 6)."""

import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

WORKERS = 2
MANY = 500
BODY = {
    "success": False,
    "result": [],
    "messages": [],
    "error": [{"code": 2003, "message": "Rate limited"}],
    "errors": [{"code": 2003, "message": "Rate limited"}],
    "name": "AiGatewayError",
    "httpCode": 429,
    "internalCode": 2003,
    "message": "Rate limited",
    "description": "Rate limited",
}


@pytest.fixture(scope="module")
def crowd(start_shared_gateway: Any) -> Any:
    """A gateway of several workers."""
    return start_shared_gateway("--simulate", "--workers", str(WORKERS))


@pytest.fixture
def limited(crowd: Any, marker: str) -> Any:
    """`limited(limit, interval_s, technique)`: the URL of a new gateway with that limit."""

    def make(limit: int, interval_s: int = 3600, technique: str = "fixed", **more: Any) -> str:
        name = f"g{marker[:12]}"
        fields = {"id": name, "cache_ttl": 0, "cache_invalidate_on_update": False, "collect_logs": True, **more}
        fields |= {"rate_limiting_limit": limit, "rate_limiting_interval": interval_s}
        answer = crowd.manage("POST", "/gateways", json={**fields, "rate_limiting_technique": technique})
        assert answer.status_code == 200, answer.text
        return f"/v1/local/{name}"

    return make


def chat(crowd: Any, url: str, **headers: str) -> httpx.Response:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    return crowd.http.post(f"{url}/openai/v1/chat/completions", json=body, headers=headers)


def allowance(reply: httpx.Response) -> tuple[str, ...]:
    return tuple(reply.headers[f"cf-aig-ratelimit-{name}"] for name in ("limit", "remaining"))


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
def test_the_request_past_the_limit_is_refused_told_why_and_logged(crowd: Any, limited: Any, technique: str):
    url = limited(2, 86_400, technique)
    first, second, third = (chat(crowd, url) for _ in range(3))
    assert [reply.status_code for reply in (first, second, third)] == [200, 200, 429]
    assert third.json() == BODY
    assert [allowance(reply) for reply in (first, second, third)] == [("2", "1"), ("2", "0"), ("2", "0")]
    for reply in (first, second, third):
        assert 0 < int(reply.headers["cf-aig-ratelimit-reset"]) <= 86_400
    assert 0 <= int(third.headers["retry-after"]) - int(third.headers["cf-aig-ratelimit-reset"]) <= 1
    row = crowd.log(third.headers["cf-aig-log-id"], url.rpartition("/")[2])
    seen = [row[name] for name in ("status_code", "error_code", "ending", "success", "path", "provider", "cost")]
    assert seen == [429, 2003, "refused", False, "v1/chat/completions", "openai", None]


def test_no_provider_is_asked_for_what_is_refused_and_no_retry_or_further_step_is_counted(
    crowd: Any, limited: Any, provider_of: Any, marker: str
):
    url = limited(1)
    headers = {"x-sluice-marker": marker}
    query = {"model": "gpt-4o-mini~status-500", "messages": []}
    bad = {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query}
    bad["config"] = {"maxAttempts": 2, "retryDelay": 1}
    good = {**bad, "query": {"model": "gpt-4o-mini", "messages": []}}
    first, second = (crowd.http.post(url, json=[bad, bad, good]) for _ in range(2))
    assert (first.status_code, first.headers["cf-aig-step"], allowance(first)) == (200, "2", ("1", "0"))
    assert (second.status_code, second.json()["error"][0]["code"]) == (429, 2003)
    assert len(asyncio.run(provider_of(crowd).entries(marker, ended=5))) == 5


def test_there_is_no_limit_and_no_header_where_limit_or_interval_is_nothing(crowd: Any, limited: Any):
    reply = chat(crowd, limited(5, 0))
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("cf-aig-ratelimit")]


def test_a_change_of_the_limit_keeps_the_count(crowd: Any, limited: Any):
    url = limited(1)
    assert [chat(crowd, url).status_code for _ in range(2)] == [200, 429]
    path = "/gateways/" + url.rpartition("/")[2]
    assert crowd.manage("PUT", path, json={"rate_limiting_limit": 2}).status_code == 200
    assert [chat(crowd, url).status_code for _ in range(2)] == [200, 429]
    assert crowd.manage("PUT", path, json={"rate_limiting_limit": None}).status_code == 200
    assert chat(crowd, url).status_code == 200


def test_the_unified_endpoint_counts_once(crowd: Any, limited: Any):
    url = limited(1)
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    replies = [crowd.http.post(f"{url}/compat/chat/completions", json=body) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert replies[0].headers["cf-aig-ratelimit-remaining"] == "0"


async def test_each_message_of_a_websocket_counts(crowd: Any, limited: Any, talk: Any):
    url = limited(2)
    query = {"model": "gpt-4o-mini", "messages": []}
    step = {"provider": "openai", "endpoint": "chat/completions", "headers": {}, "query": query}
    async with talk(crowd, path=url) as client:
        said = [(await client.ask(step, event_id))[-1] for event_id in "abc"]
    assert [message["metadata"].get("statusCode", 200) for message in said] == [200, 200, 429]
    assert said[-1]["response"] == BODY


async def test_a_realtime_connection_counts_before_it_is_dialled(crowd: Any, limited: Any):
    url = f"ws://127.0.0.1:{crowd.port}{limited(1)}/openai/v1/realtime?model=gpt-realtime"
    async with connect(url, additional_headers=crowd.auth, proxy=None) as line:
        assert line.response is not None
        assert line.response.headers["cf-aig-ratelimit-remaining"] == "0"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers=crowd.auth, proxy=None)
    assert refused.value.response.status_code == 429
    assert json.loads(refused.value.response.body or b"") == BODY


async def flood(crowd: Any, url: str, count: int) -> Counter[int]:
    """So many requests at once, over many connections; those that a death cut are counted as 0."""
    seen: Counter[int] = Counter()
    body = b'{"model":"gpt-4o-mini~words-1","messages":[]}'
    head = f"POST {url}/openai/v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n"
    token = f"cf-aig-authorization: Bearer {crowd.token}\r\n\r\n"
    request = (head + token).encode() + body

    async def client(each: int) -> None:
        for _ in range(each):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
            except OSError:
                seen[0] += 1
                continue
            try:
                writer.write(request.replace(b"Host: g", b"Connection: close\r\nHost: g"))
                answer = await reader.read()
                seen[int(answer[9:12]) if answer else 0] += 1
            except OSError:
                seen[0] += 1
            finally:
                writer.transport.abort()

    await asyncio.gather(*(client(count // 50) for _ in range(50)))
    return seen


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
async def test_a_hundred_of_many_at_once_pass_however_many_workers_there_are(crowd: Any, limited: Any, technique: str):
    assert await flood(crowd, limited(100, 86_400, technique), MANY) == {200: 100, 429: MANY - 100}


async def test_a_worker_that_dies_takes_no_more_than_it_held(crowd: Any, limited: Any):
    url = limited(100, 86_400, "sliding")
    victim = crowd.processes()["sluice: worker 1"]
    running = asyncio.create_task(flood(crowd, url, MANY))
    own = 0
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{crowd.port}", headers=crowd.auth, trust_env=False
    ) as http:
        while not running.done():
            reply = await http.post(f"{url}/openai/v1/chat/completions", json={"model": "m", "messages": []})
            own += reply.status_code == 200
            if int(reply.headers["cf-aig-ratelimit-remaining"]) < 90:
                break
    os.kill(victim, signal.SIGKILL)
    seen = await running
    assert seen[200] + own <= 100 <= seen[200] + own + seen[0]
    assert set(seen) <= {0, 200, 429}


async def test_two_hundred_calls_of_two_cents_at_once_cost_a_dollar(crowd: Any, limited: Any):
    rule = {"limit": 1, "limitType": "cost", "window": 86_400}
    url = limited(0, spend_limits={"enabled": True, "rules": [rule]})
    fields = {**crowd.auth, "cf-aig-custom-cost": '{"total_cost": 0.02}'}
    base = f"http://127.0.0.1:{crowd.port}"
    body = {"model": "gpt-4o-mini~slow-head-300", "messages": []}
    async with httpx.AsyncClient(base_url=base, headers=fields, trust_env=False, timeout=30) as http:
        replies = await asyncio.gather(*(http.post(f"{url}/openai/v1/chat/completions", json=body) for _ in range(200)))
    assert sorted(reply.status_code for reply in replies) == [200] * 50 + [429] * 150
    made = next(reply for reply in replies if reply.status_code == 200)
    crowd.log(made.headers["cf-aig-log-id"], url.rpartition("/")[2])
    assert chat(crowd, url).status_code == 429


async def test_a_realtime_connection_sets_its_cost_aside_before_it_is_dialled(crowd: Any, limited: Any):
    rule = {"id": "talkative", "limit": 0.01, "limitType": "cost", "window": 86_400}
    path = limited(0, spend_limits={"enabled": True, "rules": [rule]})
    url = f"ws://127.0.0.1:{crowd.port}{path}/openai/v1/realtime?model=gpt-realtime"
    headers = {**crowd.auth, "cf-aig-custom-cost": '{"total_cost": 0.01}'}
    async with connect(url, additional_headers=headers, proxy=None):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=headers, proxy=None)
    words = "Spend limit exceeded: rule 'talkative' (cost limit 0.01 per 86400s, sliding) for openai gpt-realtime"
    assert json.loads(refused.value.response.body or b"")["error"] == [{"code": 2045, "message": words}]


def test_a_stored_key_has_a_limit_of_its_own_counted_once_for_all_tries(crowd: Any, limited: Any):
    url = limited(0)
    key = {"provider_slug": "openai", "alias": "main", "default_config": True, "secret": "sk-test-0123456789"}
    path = "/gateways/" + url.rpartition("/")[2] + "/provider_configs"
    answer = crowd.manage("POST", path, json={**key, "rate_limit": 2, "rate_limit_period": 86_400})
    assert answer.status_code == 200, answer.text
    body = {"model": "gpt-4o-mini~status-503~first-1", "messages": []}
    tries = {**crowd.auth, "cf-aig-max-attempts": "2", "cf-aig-retry-delay": "1"}
    replies = [crowd.http.post(f"{url}/openai/v1/chat/completions", json=body, headers=tries) for _ in range(3)]
    assert [reply.status_code for reply in replies][1:] == [200, 429]
    assert replies[2].json() == BODY
    assert chat(crowd, url, authorization="Bearer sk-of-its-own").status_code == 200


def test_what_the_gateway_refuses_does_not_count_for_the_key(crowd: Any, limited: Any):
    url = limited(1, 86_400)
    path = "/gateways/" + url.rpartition("/")[2]
    key = {"provider_slug": "openai", "alias": "main", "default_config": True, "secret": "sk-test-0123456789"}
    key |= {"rate_limit": 2, "rate_limit_period": 86_400}
    assert crowd.manage("POST", f"{path}/provider_configs", json=key).status_code == 200
    assert [chat(crowd, url).status_code for _ in range(3)] == [200, 429, 429]
    assert crowd.manage("PUT", path, json={"rate_limiting_limit": 0}).status_code == 200
    assert [chat(crowd, url).status_code for _ in range(2)] == [200, 429]
