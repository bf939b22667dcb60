"""Replies that are kept and given again (contract 5), by real gateways before the simulator."""

import json
from contextlib import suppress
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def caching(start_shared_gateway: Any) -> Any:
    """A gateway whose setting is to keep for an hour: `kept`; `default` keeps nothing of itself."""
    gateway = start_shared_gateway("--simulate", "--workers", "1")
    gateway.cli("gateway", "create", "kept")
    assert put(gateway, cache_ttl=3600).status_code == 200
    return gateway


def put(gateway: Any, name: str = "kept", **fields: Any) -> httpx.Response:
    shown = gateway.manage("GET", f"/gateways/{name}").json()["result"]
    wanted = {key: value for key, value in shown.items() if not key.endswith(("_at", "_tag", "_id")) and key != "id"}
    return gateway.manage("PUT", f"/gateways/{name}", json=wanted | fields)


def ask(
    gateway: Any, marker: str, name: str = "default", text: str = "hello", model: str = "gpt-4o-mini", **headers: Any
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return send(gateway, marker, json.dumps(body).encode(), name, **headers)


def send(gateway: Any, marker: str, body: bytes, name: str = "default", **headers: Any) -> httpx.Response:
    fields = {"authorization": "Bearer sk-theirs", "content-type": "application/json", "x-sluice-marker": marker}
    fields |= {key.replace("_", "-"): str(value) for key, value in headers.items()}
    url = f"{gateway.inference_url(gateway=name)}/v1/chat/completions"
    reply: httpx.Response = gateway.http.post(url, content=body, headers=fields)
    return reply


def status(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.headers["cf-aig-cache-status"])


async def test_a_second_identical_request_is_a_hit_that_costs_nothing(caching: Any, marker: str, provider_of: Any):
    first, second = ask(caching, marker, "kept"), ask(caching, marker, "kept", cf_aig_custom_cost='{"total_cost":1}')
    assert (status(first), status(second)) == ("MISS", "HIT")
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["cf-aig-log-id"] != first.headers["cf-aig-log-id"]
    assert len(await provider_of(caching).entries(marker)) == 1
    miss = caching.log(first.headers["cf-aig-log-id"], "kept")
    hit = caching.log(second.headers["cf-aig-log-id"], "kept")
    assert (miss["cached"], miss["tokens_in"] > 0, miss["cost"] > 0) == (False, True, True)
    assert (hit["cached"], hit["tokens_in"], hit["tokens_out"], hit["cost"]) == (True, 0, 0, 0)
    assert (hit["model"], hit["path"], hit["status_code"], hit["success"]) == (miss["model"], miss["path"], 200, True)
    for side in ("request", "response"):
        assert caching.log_body(hit["id"], side, "kept") == caching.log_body(miss["id"], side, "kept")


# --- what is asked for


@pytest.mark.parametrize(
    ("headers", "second"),
    [
        ({}, "MISS"),
        ({"cf_aig_cache_ttl": 60}, "HIT"),
        ({"cf_aig_cache_ttl": 1}, "HIT"),
        ({"cf_aig_cache_ttl": 0}, "MISS"),
        ({"cf_aig_cache_ttl": "soon"}, "MISS"),
        ({"cf_cache_ttl": 60}, "HIT"),
        ({"cf_cache_ttl": 60, "cf_aig_cache_ttl": 0}, "MISS"),
        ({"cf_aig_cache_ttl": 60, "cf_aig_skip_cache": "true"}, "MISS"),
        ({"cf_aig_cache_ttl": 60, "cf_skip_cache": "1"}, "MISS"),
        ({"cf_aig_cache_ttl": 60, "cf_skip_cache": "1", "cf_aig_skip_cache": "false"}, "HIT"),
        ({"cf_aig_cache_key": "named"}, "HIT"),
        ({"cf_aig_cache_key": "named", "cf_aig_cache_ttl": 0}, "MISS"),
    ],
)
async def test_each_control_of_a_request(caching: Any, marker: str, headers: Any, second: str, provider_of: Any):
    headers = {name: f"{marker}{value}" if value == "named" else value for name, value in headers.items()}
    assert status(ask(caching, marker, **headers)) == "MISS"
    assert status(ask(caching, marker, **headers)) == second
    assert len(await provider_of(caching).entries(marker)) == (1 if second == "HIT" else 2)


def test_a_request_may_switch_its_gateways_cache_off(caching: Any, marker: str):
    assert status(ask(caching, marker, "kept", cf_aig_cache_ttl=0)) == "MISS"
    assert status(ask(caching, marker, "kept")) == "MISS"
    assert status(ask(caching, marker, "kept", cf_aig_cache_ttl=0)) == "MISS"
    assert status(ask(caching, marker, "kept")) == "HIT"


def test_a_request_that_skips_the_cache_refreshes_it(caching: Any, marker: str):
    assert status(ask(caching, marker, "kept", model="gpt-4o-mini", cf_aig_cache_key=marker, text="one")) == "MISS"
    fresh = ask(caching, marker, "kept", cf_aig_cache_key=marker, text="two", cf_aig_skip_cache="true")
    assert status(fresh) == "MISS"
    kept = ask(caching, marker, "kept", cf_aig_cache_key=marker, text="three")
    assert (status(kept), kept.content) == ("HIT", fresh.content)


# --- what is the same


def test_json_is_the_same_whatever_its_white_space_and_the_order_of_its_keys(caching: Any, marker: str):
    one = b'{"model":"gpt-4o-mini","temperature":0.50,"messages":[{"role":"user","content":"h\\u0069"}]}'
    other = b'{ "messages": [{"content":"h\\u0069", "role":"user"}], "temperature":0.50, "model":"gpt-4o-mini" }'
    assert status(send(caching, marker, one, "kept")) == "MISS"
    assert status(send(caching, marker, one.replace(b"0.50", b"0.51"), "kept")) == "MISS"
    assert status(send(caching, marker, one, "kept", cf_aig_metadata='{"team":"a"}')) == "HIT"
    plain = one.replace(b"\\u0069", b"i"), other.replace(b"\\u0069", b"i")
    assert status(send(caching, marker, plain[0], "kept")) == "MISS"
    assert status(send(caching, marker, plain[1], "kept")) == "HIT"


@pytest.mark.parametrize("named", [False, True], ids=["computed", "named"])
@pytest.mark.parametrize(
    "other",
    [{"authorization": "Bearer sk-other"}, {"x_api_key": "k"}, {"cookie": "a=b"}, {"accept_encoding": "br"}],
    ids=lambda other: next(iter(other)),
)
def test_credentials_and_codings_never_share(caching: Any, marker: str, named: bool, other: Any):
    headers: Any = {"cf_aig_cache_key": marker} if named else {}
    assert status(ask(caching, marker, "kept", **headers)) == "MISS"
    assert status(ask(caching, marker, "kept", **headers, **other)) == "MISS"
    assert status(ask(caching, marker, "kept", **headers)) == "HIT"


def test_what_may_change_the_reply_is_another_request(caching: Any, marker: str):
    assert status(ask(caching, marker, "kept")) == "MISS"
    for name in ("openai_organization", "openai_beta", "anthropic_version", "accept_language", "x_unheard_of"):
        assert status(ask(caching, marker, "kept", **{name: "1"})) == "MISS", name
    for name in ("user_agent", "x_stainless_retry_count", "traceparent", "x_request_id", "cf_aig_event_id"):
        assert status(ask(caching, marker, "kept", **{name: "1"})) == "HIT", name


def test_gateways_never_share(caching: Any, marker: str):
    caching.cli("gateway", "create", "neighbour")
    assert put(caching, "neighbour", cache_ttl=3600).status_code == 200
    assert status(ask(caching, marker, "kept", cf_aig_cache_key=marker)) == "MISS"
    assert status(ask(caching, marker, "neighbour", cf_aig_cache_key=marker)) == "MISS"
    assert status(ask(caching, marker, "neighbour", cf_aig_cache_key=marker)) == "HIT"


# --- what is kept


@pytest.mark.parametrize("fault", ["status-400", "status-429", "status-500", "error-200"])
def test_an_error_is_never_kept(caching: Any, marker: str, fault: str):
    replies = [ask(caching, marker, "kept", model=f"gpt-4o-mini~{fault}~first-1") for _ in range(3)]
    assert [reply.headers["cf-aig-cache-status"] for reply in replies] == ["MISS", "MISS", "HIT"]
    assert [reply.status_code for reply in replies[1:]] == [200, 200]
    assert "error" not in replies[2].json()


@pytest.mark.parametrize("fault", ["cut-1", "reset-2", "malformed-1"])
def test_a_broken_reply_is_never_kept(caching: Any, marker: str, fault: str):
    with suppress(httpx.HTTPError):  # or an error of ours: that depends on what had been sent
        ask(caching, marker, "kept", model=f"gpt-4o-mini~{fault}~first-1")
    assert status(ask(caching, marker, "kept", model=f"gpt-4o-mini~{fault}~first-1")) == "MISS"
    assert status(ask(caching, marker, "kept", model=f"gpt-4o-mini~{fault}~first-1")) == "HIT"


def test_a_reply_whose_end_only_the_connection_tells_is_not_kept(caching: Any, marker: str):
    for _ in range(2):
        assert status(ask(caching, marker, "kept", x_sluice_framing="close")) == "MISS"
    assert status(ask(caching, marker, "kept", x_sluice_framing="chunked")) == "MISS"
    assert status(ask(caching, marker, "kept", x_sluice_framing="chunked")) == "HIT"


def test_a_compressed_reply_is_given_again_as_it_was(caching: Any, marker: str):
    replies = [ask(caching, marker, "kept", x_sluice_encoding="gzip", accept_encoding="gzip") for _ in range(2)]
    assert [status(reply) for reply in replies] == ["MISS", "HIT"]
    assert [reply.headers["content-encoding"] for reply in replies] == ["gzip", "gzip"]
    assert replies[0].json() == replies[1].json()


def test_a_request_too_long_for_one_read_is_kept_too(caching: Any, marker: str):
    replies = [ask(caching, marker, "kept", text="word " * 400_000, model="gpt-4o-mini~words-3") for _ in range(2)]
    assert [status(reply) for reply in replies] == ["MISS", "HIT"]
    hit = caching.log(replies[1].headers["cf-aig-log-id"], "kept")
    assert hit["request_size"] > 2_000_000


async def test_what_makes_something_is_made_twice_unless_the_request_says_so(
    caching: Any, marker: str, provider_of: Any
):
    url = f"{caching.inference_url(gateway='kept')}/v1/files"
    headers = {"authorization": "Bearer sk", "x-sluice-echo": "1", "x-sluice-marker": marker}
    for _ in range(2):
        assert status(caching.http.post(url, content=b"{}", headers=headers)) == "MISS"
        assert status(caching.http.get(url, headers=headers)) == "MISS"
    wanted = headers | {"cf-aig-cache-ttl": "60"}
    assert [status(caching.http.get(url, headers=wanted)) for _ in range(2)] == ["MISS", "HIT"]
    assert len(await provider_of(caching).entries(marker)) == 5


# --- gateways that change


def test_a_change_of_the_gateway_clears_its_cache_where_it_is_to(caching: Any, marker: str):
    caching.cli("gateway", "create", "changing")
    put(caching, "changing", cache_ttl=3600, cache_invalidate_on_update=False)
    assert status(ask(caching, marker, "changing")) == "MISS"
    put(caching, "changing", cache_ttl=7200)
    assert status(ask(caching, marker, "changing")) == "HIT"
    put(caching, "changing", cache_invalidate_on_update=True)
    assert status(ask(caching, marker, "changing")) == "MISS"
    assert status(ask(caching, marker, "changing")) == "HIT"
    done = caching.run_cli("cache", "clear", "--gateway", "changing")
    assert (done.returncode, done.stdout) == (0, "Cleared the cache of gateway changing.\n")
    assert status(ask(caching, marker, "changing")) == "MISS"
    put(caching, "changing", cache_ttl=0, cache_invalidate_on_update=False)
    assert status(ask(caching, marker, "changing")) == "MISS"


def test_a_cache_that_is_not_there_cannot_be_cleared(caching: Any):
    done = caching.run_cli("cache", "clear", "--gateway", "nobody")
    assert (done.returncode, "There is no gateway nobody" in done.stderr) == (1, True)
    assert caching.cli("cache", "clear", "--all")["gateways"] >= 2


def test_a_new_gateway_of_the_same_name_begins_empty(caching: Any, marker: str):
    for _ in range(2):
        made = caching.manage("GET", "/gateways/kept").json()["result"] | {"id": "again"}
        assert caching.manage("POST", "/gateways", json=made).status_code == 200
        assert status(ask(caching, marker, "again", cf_aig_cache_ttl=60)) == "MISS"
        assert status(ask(caching, marker, "again", cf_aig_cache_ttl=60)) == "HIT"
        assert caching.manage("DELETE", "/gateways/again").status_code == 200


# --- the other ways in


def step(marker: str, model: str = "gpt-4o-mini", stream: bool = False, **fields: Any) -> dict[str, Any]:
    headers = {"Authorization": "Bearer sk-theirs", "x-sluice-marker": marker, **fields.pop("headers", {})}
    query = {"model": model, "messages": [{"role": "user", "content": "hi"}], **({"stream": True} if stream else {})}
    return {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}


def test_each_step_looks_its_own_reply_up(caching: Any, marker: str):
    steps = [step(marker, "gpt-4o-mini~status-500"), step(marker)]
    first = caching.universal(steps, cf_aig_cache_ttl="60")
    second = caching.universal(steps, cf_aig_cache_ttl="60")
    for reply, told in ((first, "MISS"), (second, "HIT")):
        assert (status(reply), reply.headers["cf-aig-step"]) == (told, "1")
    assert [row["cached"] for row in caching.rows(second, 2)] == [False, True]
    off = [step(marker, "gpt-4o-mini~status-500"), step(marker, headers={"cf-aig-cache-ttl": "0"})]
    assert status(caching.universal(off, cf_aig_cache_ttl="60")) == "MISS"


def test_the_config_of_a_step_stands_over_its_headers(caching: Any, marker: str):
    named = step(marker, headers={"cf-aig-cache-ttl": "0"}, config={"cacheTtl": 90, "cacheKey": marker})
    assert [status(caching.universal(named)) for _ in range(2)] == ["MISS", "HIT"]
    assert (
        status(caching.universal(named | {"config": {"cacheTtl": 90, "skipCache": True, "cacheKey": marker}})) == "MISS"
    )


def test_a_translated_reply_is_kept_as_the_provider_gave_it(caching: Any, marker: str):
    body = {"model": "anthropic/claude-sonnet-4-5", "messages": [{"role": "user", "content": marker}]}
    headers = {"authorization": "Bearer sk-ant", "cf-aig-cache-ttl": "60"}
    url = f"{caching.inference_url('compat')}/chat/completions"
    replies = [caching.http.post(url, json=body, headers=headers) for _ in range(2)]
    assert [status(reply) for reply in replies] == ["MISS", "HIT"]
    told = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert told[0] == told[1] != ""


async def test_messages_of_a_websocket_tell_hits(caching: Any, marker: str, talk: Any):
    async with talk(caching, headers=caching.auth | {"cf-aig-cache-ttl": "60"}) as client:
        told = [(await client.ask(step(marker), f"e{number}"))[-1] for number in range(2)]
    assert [message["metadata"]["cacheStatus"] for message in told] == ["MISS", "HIT"]
    assert told[0]["response"] == told[1]["response"]


def test_a_stream_is_not_kept(caching: Any, marker: str):
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": marker}]}
    for _ in range(2):
        assert status(send(caching, marker, json.dumps(body).encode(), "kept")) == "MISS"


def test_a_step_behind_another_gets_the_words_of_a_kept_one(caching: Any, marker: str):
    after = step(marker)
    after["query"]["messages"][0]["content"] = "<prompt-response id='a' />"
    first = step(marker, id="a", option={"onComplete": after})
    replies = [caching.universal(first, cf_aig_cache_ttl="60") for _ in range(2)]
    assert [status(reply) for reply in replies] == ["MISS", "HIT"]
    assert replies[0].json()["choices"] == replies[1].json()["choices"]
    assert [row["cached"] for row in caching.rows(replies[1], 2)] == [True, True]
