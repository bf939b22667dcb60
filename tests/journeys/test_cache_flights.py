"""Identical requests at the same time: how many calls they make, and what each gets, whatever becomes of the call."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest

MANY = 1000


@pytest.fixture(scope="module")
def pair(start_shared_gateway: Any) -> Any:
    """Two workers in front of the simulator."""
    return start_shared_gateway("--simulate", "--workers", "2")


def limited(gateway: Any, name: str, spend_usd: float = 0, per_hour: int = 0) -> None:
    """Makes a gateway with a limit of money, or of requests."""
    fields = {"id": name, "cache_ttl": 0, "cache_invalidate_on_update": False, "collect_logs": True}
    fields |= {"rate_limiting_limit": per_hour, "rate_limiting_interval": 3600, "rate_limiting_technique": "fixed"}
    if spend_usd:
        rule = {"limit": spend_usd, "limitType": "cost", "window": 86_400}
        fields |= {"spend_limits": {"enabled": True, "rules": [rule]}}
    answer = gateway.manage("POST", "/gateways", json=fields)
    assert answer.status_code == 200, answer.text


def request(compose: Any, gateway: Any, marker: str, model: str, name: str = "default", **headers: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    fields = {"authorization": "Bearer sk-theirs", "content-type": "application/json", "x-sluice-marker": marker}
    path = f"/v1/local/{name}/openai/v1/chat/completions"
    data: bytes = compose(gateway, path=path, body=body, **({"cf_aig_cache_ttl": "60"} | fields | headers))
    return data


async def all_at_once(pair: Any, wire: Any, data: bytes, count: int = MANY) -> list[Any]:
    """The replies to one request sent over so many connections at once."""

    async def one() -> Any:
        async with wire(pair) as line:
            return await line.ask(data, "POST")

    return await asyncio.gather(*[one() for _ in range(count)])


def said(replies: list[Any]) -> Counter[tuple[int, str | None]]:
    return Counter((reply.status, reply.header("cf-aig-cache-status")) for reply in replies)


async def test_a_thousand_at_once_make_one_call_for_each_worker(
    pair: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    replies = await all_at_once(pair, wire, request(compose, pair, marker, "gpt-4o-mini~slow-head-1000"))
    calls = await provider_of(pair).entries(marker)
    assert len(calls) in (1, 2)
    assert said(replies) == {(200, "MISS"): len(calls), (200, "HIT"): MANY - len(calls)}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert replies[0].json()["object"] == "chat.completion"
    assert {reply.header("content-type") for reply in replies} == {"application/json"}


async def test_an_error_of_the_providers_is_shared_and_not_kept(
    pair: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    data = request(compose, pair, marker, "gpt-4o-mini~status-503~slow-head-800~first-2")
    replies = await all_at_once(pair, wire, data, 200)
    calls = len(await provider_of(pair).entries(marker))
    assert calls in (1, 2)
    assert said(replies) == {(503, "MISS"): 200}
    assert {reply.body for reply in replies} == {replies[0].body}


@pytest.mark.parametrize("fault", ["bad-head", "cut-1"])
async def test_where_a_call_fails_one_other_makes_it_anew(
    pair: Any, wire: Any, compose: Any, marker: str, provider_of: Any, fault: str
):
    data = request(compose, pair, marker, f"gpt-4o-mini~{fault}~slow-head-800~first-1")
    replies = await all_at_once(pair, wire, data, 300)
    bad = [reply for reply in replies if reply.status != 200 or reply.fault]
    good = [reply for reply in replies if reply.status == 200 and not reply.fault]
    assert (len(bad), len(good)) == (1, 299)
    assert {reply.body for reply in good} == {good[0].body}
    assert len(await provider_of(pair).entries(marker)) <= 3


async def test_a_provider_that_cannot_be_reached_is_asked_twice_for_all(
    pair: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    replies = await all_at_once(pair, wire, request(compose, pair, marker, "gpt-4o-mini~bad-head~slow-head-300"), 200)
    assert said(replies) == {(400, "MISS"): 200}
    assert {reply.json()["internalCode"] for reply in replies} == {2005}
    assert len(await provider_of(pair).entries(marker)) <= 4


@pytest.fixture(scope="module")
def single(start_shared_gateway: Any) -> Any:
    """One worker, so that all meet in one flight."""
    return start_shared_gateway("--simulate", "--workers", "1")


async def waiting(gateway: Any, count: int) -> None:
    """Returns once so many wait for the reply of another."""
    async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False) as client:
        for _ in range(2000):
            text = (await client.get("/metrics")).text
            if f"sluice_cache_waiting {count}\n" in text:
                return
            await asyncio.sleep(0.005)
    pytest.fail(f"there were never {count} waiting")


async def test_a_call_goes_on_when_its_leader_leaves_and_the_next_one_pays(
    single: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    provider = provider_of(single)
    data = request(compose, single, marker, "gpt-4o-mini", x_sluice_fault="slow-head=1500")
    async with wire(single) as leader:
        await leader.send(data)
        await provider.arrived(marker)
        others = asyncio.create_task(all_at_once(single, wire, data, 20))
        await waiting(single, 20)
        leader.reset()
        replies = await others
    assert said(replies) == {(200, "MISS"): 1, (200, "HIT"): 19}
    [call] = await provider.entries(marker, ended=1)
    assert call["ended"] == "complete"
    [payer] = [reply for reply in replies if reply.header("cf-aig-cache-status") == "MISS"]
    log = single.log(payer.header("cf-aig-log-id"))
    assert (log["cached"], log["cost"] > 0, log["tokens_in"] > 0) == (False, True, True)
    assert {row["status_code"] for row in single.logs() if row["path"] == "v1/chat/completions"} >= {200, 499}


async def test_what_a_call_costs_counts_at_the_spend_limit_though_its_leader_left(
    single: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    provider, name = provider_of(single), f"g{marker[:12]}"
    limited(single, name, spend_usd=1e-6)
    data = request(compose, single, marker, "gpt-4o-mini", name, x_sluice_fault="slow-head=1000")
    async with wire(single) as leader:
        await leader.send(data)
        await provider.arrived(marker)
        others = asyncio.create_task(all_at_once(single, wire, data, 3))
        await waiting(single, 3)
        leader.reset()
        replies = await others
    assert said(replies) == {(200, "MISS"): 1, (200, "HIT"): 2}
    [payer] = [reply for reply in replies if reply.header("cf-aig-cache-status") == "MISS"]
    assert single.log(payer.header("cf-aig-log-id"), name)["cost"] > 1e-6
    another = request(compose, single, marker, "gpt-4o-mini", name, cf_aig_cache_ttl="0")
    async with wire(single) as line:
        assert (await line.ask(another, "POST")).status == 429
    assert said(await all_at_once(single, wire, data, 2)) == {(200, "HIT"): 2}


async def test_a_limit_refuses_each_for_itself_and_makes_no_call(
    pair: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    name = f"g{marker[:12]}"
    limited(pair, name, per_hour=1)
    data = request(compose, pair, marker, "gpt-4o-mini~slow-head-1000", name)
    replies = await all_at_once(pair, wire, data)
    told = said(replies)
    assert told[200, "MISS"] == 1
    assert told[200, "HIT"] > 0
    assert set(told) <= {(200, "MISS"), (200, "HIT"), (429, "MISS")}
    assert {reply.json()["error"][0]["code"] for reply in replies if reply.status == 429} <= {2003}
    assert len(await provider_of(pair).entries(marker)) == 1
    assert said(await all_at_once(pair, wire, data, 20)) == {(200, "HIT"): 20}


async def test_a_call_is_cancelled_when_the_last_one_leaves(
    single: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    provider = provider_of(single)
    data = request(compose, single, marker, "gpt-4o-mini~slow-head-20000")
    async with wire(single) as leader, wire(single) as follower:
        await leader.send(data)
        await provider.arrived(marker)
        await follower.send(data)
        await waiting(single, 1)
        leader.reset()
        follower.reset()
        [call] = await provider.entries(marker, ended=1)
    assert call["ended"] == "client gone"
    await waiting(single, 0)


async def test_a_leader_that_leaves_within_the_reply_leaves_it_to_the_others(
    single: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    data = request(compose, single, marker, "gpt-4o-mini~words-400", x_sluice_fault="drip=500")
    slow = data.replace(b"x-sluice-fault: drip=500", b"x-sluice-fault: slow-first-token=1200")
    async with wire(single) as leader:
        await leader.send(slow)
        await leader.until(b"\r\n\r\n")
        others = asyncio.create_task(all_at_once(single, wire, slow, 5))
        await waiting(single, 5)
        leader.reset()
        replies = await others
    assert said(replies) == {(200, "MISS"): 1, (200, "HIT"): 4}
    assert len({reply.body for reply in replies}) == 1
    assert len(await provider_of(single).entries(marker)) == 1


async def test_what_cannot_be_shared_is_asked_for_by_each(
    single: Any, wire: Any, compose: Any, marker: str, provider_of: Any
):
    data = request(compose, single, marker, "gpt-4o-mini~slow-head-300", x_sluice_framing="close")
    replies = await all_at_once(single, wire, data, 10)
    assert said(replies) == {(200, "MISS"): 10}
    assert len({reply.body for reply in replies}) == 1
    assert len(await provider_of(single).entries(marker)) == 10


async def test_a_timeout_of_one_is_not_that_of_the_others(single: Any, marker: str, provider_of: Any):
    body = {"model": "gpt-4o-mini~slow-head-1000", "messages": [{"role": "user", "content": marker}]}
    step = {"provider": "openai", "endpoint": "chat/completions", "query": body,
            "headers": {"authorization": "Bearer sk", "x-sluice-marker": marker}}  # fmt: skip
    headers = single.auth | {"cf-aig-cache-ttl": "60"}
    async with httpx.AsyncClient(base_url=single.base_url, headers=headers, trust_env=False, timeout=20) as client:
        hasty = {**step, "config": {"requestTimeout": 400}}
        first = asyncio.create_task(client.post("/v1/local/default", content=json.dumps(hasty)))
        await provider_of(single).arrived(marker)
        second = await client.post("/v1/local/default", content=json.dumps(step))
    assert ((await first).status_code, second.status_code) == (400, 200)
    assert len(await provider_of(single).entries(marker)) == 1
