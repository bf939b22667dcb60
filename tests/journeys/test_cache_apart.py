"""What the reply cache keeps apart: providers that change, stored keys and clients' own, and other methods."""

import json
from typing import Any

import httpx
import pytest

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def house(start_shared_gateway: Any) -> Any:
    """A gateway of one worker whose accounts may bring the simulator as their provider."""
    custom = {"allow_http": True, "allow_private": True}
    return start_shared_gateway("--simulate", "--workers", "1", custom_providers=custom)


def ask(house: Any, marker: str, provider: str = "openai", method: str = "POST", **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"cf-aig-cache-ttl": "600", "x-sluice-marker": marker} | fields
    url = f"/v1/local/default/{provider}/v1/chat/completions"
    reply: httpx.Response = house.http.request(method, url, json=CHAT, headers=fields)
    return reply


def told(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.headers["cf-aig-cache-status"]


MISS, HIT = (200, "MISS"), (200, "HIT")


@pytest.fixture
def custom(house: Any, marker: str, provider_of: Any) -> dict[str, Any]:
    """A custom provider, as the API tells it."""
    fields = {"name": "own", "slug": f"own-{marker[:8]}", "base_url": f"http://{provider_of(house).authority}/openai"}
    answer = house.manage("POST", "/custom-providers", json={**fields, "enable": True})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["result"]
    return made


@pytest.mark.parametrize("named", [False, True], ids=["computed", "named"])
def test_a_change_of_a_custom_provider_clears_the_cache(house: Any, custom: Any, marker: str, named: bool):
    name, path = f"custom-{custom['slug']}", f"/custom-providers/{custom['id']}"
    headers = {"cf_aig_cache_key": marker} if named else {}
    assert [told(ask(house, marker, name, **headers)) for _ in range(2)] == [MISS, HIT]
    changes = ({"base_url": custom["base_url"] + "/"}, {"headers": json.dumps({"x-team": "a"})}, {"enable": False})
    for fields in changes:
        assert house.manage("PATCH", path, json=fields).status_code == 200
        if fields.get("enable") is False:
            assert ask(house, marker, name, **headers).status_code == 400
            assert house.manage("PATCH", path, json={"enable": True}).status_code == 200
        assert [told(ask(house, marker, name, **headers)) for _ in range(2)] == [MISS, HIT], fields
    assert house.manage("DELETE", path).status_code == 200
    assert ask(house, marker, name, **headers).status_code == 400
    again = {name: custom[name] for name in ("name", "slug", "base_url")} | {"enable": True}
    assert house.manage("POST", "/custom-providers", json=again).status_code == 200
    assert told(ask(house, marker, name, **headers)) == MISS


def test_clients_of_a_custom_provider_share_nothing_by_a_name_whatever_header_holds_their_keys(
    house: Any, custom: Any, marker: str
):
    name = f"custom-{custom['slug']}"
    for key in ("one", "other"):
        replies = [ask(house, marker, name, cf_aig_cache_key=marker, x_own_token=key) for _ in range(2)]
        assert [told(reply) for reply in replies] == [MISS, HIT]


def test_a_stored_key_shares_with_no_other_and_is_the_same_when_it_is_rotated(house: Any, marker: str):
    configs = "/gateways/default/provider_configs"
    ids = []
    for alias in ("a", "b"):
        fields = {"alias": alias, "provider_slug": "groq", "secret": f"gsk-{marker}-{alias}", "default_config": False}
        answer = house.manage("POST", configs, json=fields)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["result"]["id"])
    by_key = [ask(house, marker, "groq", cf_aig_cache_key=marker, cf_aig_byok_alias=alias) for alias in ("a", "a", "b")]
    assert [told(reply) for reply in by_key] == [MISS, HIT, MISS]
    own = f"Bearer gsk-{marker}-a"
    assert told(ask(house, marker, "groq", cf_aig_cache_key=marker, authorization=own)) == MISS
    assert house.manage("PUT", f"{configs}/{ids[0]}", json={"secret": f"gsk-{marker}-c"}).status_code == 200
    assert told(ask(house, marker, "groq", cf_aig_cache_key=marker, cf_aig_byok_alias="a")) == HIT
    assert house.manage("DELETE", f"{configs}/{ids[0]}").status_code == 200
    assert ask(house, marker, "groq", cf_aig_cache_key=marker, cf_aig_byok_alias="a").status_code == 400
    assert told(ask(house, marker, "groq", cf_aig_cache_key=marker)) == MISS


def test_no_key_of_a_request_lies_in_the_cache(house: Any, marker: str):
    secrets = {"authorization": f"Bearer sk-{marker}", "x-own-token": f"t-{marker}", "cf_aig_cache_key": f"n-{marker}"}
    first = ask(house, "apart", **secrets)
    assert told(first) == MISS
    house.until(lambda: first.json()["id"].encode() in in_cache(house), "the reply in cache.db")
    assert marker.encode() not in in_cache(house)


def in_cache(house: Any) -> bytes:
    return b"".join(file.read_bytes() for file in house.data.glob("cache.db*"))


def test_other_methods_are_neither_kept_nor_answered(house: Any, marker: str):
    assert told(ask(house, marker)) == MISS
    for method in ("PUT", "PATCH", "HEAD", "DELETE", "OPTIONS"):
        assert ask(house, marker, method=method).headers.get("cf-aig-cache-status", "MISS") == "MISS", method
    assert told(ask(house, marker)) == HIT


async def test_a_hit_is_no_request_to_any_limit(house: Any, marker: str, provider_of: Any):
    name = f"g{marker[:12]}"
    fields = {"id": name, "cache_ttl": 600, "cache_invalidate_on_update": False, "collect_logs": True}
    fields |= {"rate_limiting_limit": 1, "rate_limiting_interval": 3600, "rate_limiting_technique": "fixed"}
    fields |= {"spend_limits": {"enabled": True, "rules": [{"limit": 1e-6, "limitType": "cost", "window": 86_400}]}}
    assert house.manage("POST", "/gateways", json=fields).status_code == 200
    url = f"/v1/local/{name}/openai/v1/chat/completions"
    replies = [house.http.post(url, json=CHAT, headers={"x-sluice-marker": marker}) for _ in range(4)]
    assert [told(reply) for reply in replies] == [MISS, HIT, HIT, HIT]
    assert ["cf-aig-ratelimit-limit" in reply.headers for reply in replies] == [True, False, False, False]
    row = house.log(replies[-1].headers["cf-aig-log-id"], name)
    assert (row["cached"], row["cost"], row["tokens_in"], row["tokens_out"]) == (True, 0, 0, 0)
    refused = house.http.post(url, json=CHAT, headers={"x-sluice-marker": marker, "cf-aig-skip-cache": "true"})
    assert told(refused) == (429, "MISS")
    assert told(house.http.post(url, json=CHAT, headers={"x-sluice-marker": marker})) == HIT
    assert len(await provider_of(house).entries(marker)) == 1
