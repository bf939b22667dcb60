"""Gateways over REST, as contract 9.2 and sample B.5 have them."""

import re

import pytest

from sluice.providers.registry import SLUGS
from sluice.values.settings import ServerSettings, Settings

REQUIRED = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}


async def test_a_new_gateway_reads_back_in_the_documented_shape(console):
    created = await console.operator.post("/gateways", json={"id": "my-gateway", **REQUIRED})
    shown = created.json()["result"]
    assert created.status_code == 200
    assert created.json() == {"success": True, "errors": [], "messages": [], "result": shown}
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", shown.pop("internal_id"))
    times = [shown.pop("created_at"), shown.pop("modified_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
    assert shown == {
        "id": "my-gateway",
        "account_id": "local",
        "account_tag": "local",
        "authentication": False,
        "cache_invalidate_on_update": True,
        "cache_ttl": 0,
        "collect_logs": True,
        "rate_limiting_interval": 0,
        "rate_limiting_limit": 0,
        "rate_limiting_technique": "fixed",
        "log_management": None,
        "log_management_strategy": None,
        "logpush": False,
        "logpush_public_key": None,
        "retry_max_attempts": None,
        "retry_delay": None,
        "retry_backoff": None,
        "dlp": {"enabled": False, "policies": []},
        "guardrails": None,
        "otel": None,
        "spend_limits": {"enabled": False, "rules": []},
        "store_id": None,
        "stripe": None,
        "byok_only": False,
        "log_classification": False,
        "workers_ai_billing_mode": "postpaid",
        "zdr": False,
        "is_default": False,
    }
    assert (await console.operator.get("/gateways/my-gateway")).json() == created.json()


async def test_every_field_is_kept_that_asks_for_nothing_unbuilt(console):
    given = {
        "authentication": True,
        "cache_invalidate_on_update": False,
        "cache_ttl": None,
        "collect_logs": False,
        "rate_limiting_interval": 60,
        "rate_limiting_limit": None,
        "rate_limiting_technique": "sliding",
        "log_management": 20_000_000,
        "log_management_strategy": "DELETE_OLDEST",
        "logpush": False,
        "logpush_public_key": "k" * 16,
        "retry_max_attempts": 1,
        "retry_delay": 60_000,
        "retry_backoff": "exponential",
        "dlp": {"enabled": False, "action": "BLOCK", "profiles": ["p"]},
        "guardrails": {"prompt": {}, "response": {}},
        "otel": [],
        "spend_limits": {
            "enabled": False,
            "rules": [
                {
                    "limit": 5.5,
                    "limitType": "cost",
                    "window": 60,
                    "id": "00000001",
                    "enabled": True,
                    "technique": "fixed",
                    "metadata": {"team": {"mode": "partition"}},
                }
            ],
        },
        "store_id": None,
        "stripe": None,
        "byok_only": False,
        "log_classification": False,
        "workers_ai_billing_mode": "postpaid",
        "zdr": False,
    }
    await console.operator.post("/gateways", json={"id": "full", **given})
    shown = (await console.operator.get("/gateways/full")).json()["result"]
    assert {name: shown[name] for name in given} == {**given, "cache_ttl": 0}


async def test_an_update_keeps_what_it_leaves_out_and_null_clears(console):
    await console.operator.post("/gateways", json={"id": "g", **REQUIRED, "retry_delay": 7, "authentication": True})
    changed = await console.operator.put("/gateways/g", json={"collect_logs": False})
    assert changed.json()["result"]["collect_logs"] is False
    assert changed.json()["result"]["retry_delay"] == 7
    assert changed.json()["result"]["authentication"] is True
    cleared = await console.operator.put("/gateways/g", json={"retry_delay": None, "cache_ttl": None})
    assert cleared.json()["result"]["retry_delay"] is None
    assert cleared.json()["result"]["cache_ttl"] == 0
    assert cleared.json()["result"]["collect_logs"] is False
    gateway = console.control.gateway("local", "g")
    assert (gateway.authentication, gateway.collect_logs) == (True, False)


async def test_what_a_get_shows_can_be_put_back(console):
    shown = (await console.operator.get("/gateways/default")).json()["result"]
    again = await console.operator.put("/gateways/default", json=shown)
    assert again.status_code == 200
    assert {**again.json()["result"], "modified_at": ""} == {**shown, "modified_at": ""}


async def test_the_default_gateway_says_so(console):
    shown = (await console.operator.get("/gateways/default")).json()["result"]
    assert (shown["is_default"], shown["authentication"], shown["collect_logs"]) == (True, True, True)


async def test_a_deleted_gateway_is_returned_once_more_and_gone(console, problem):
    created = await console.operator.post("/gateways", json={"id": "g", **REQUIRED})
    deleted = await console.operator.delete("/gateways/g")
    assert deleted.json() == created.json()
    assert problem(await console.operator.get("/gateways/g")) == (404, 7002, "Not Found", [])
    assert problem(await console.operator.delete("/gateways/g")) == (404, 7002, "Not Found", [])
    assert problem(await console.operator.put("/gateways/g", json={})) == (404, 7002, "Not Found", [])


async def test_a_taken_id_is_refused(console, problem):
    assert problem(await console.operator.post("/gateways", json={"id": "default", **REQUIRED})) == (
        400,
        7001,
        "A gateway with this id exists already",
        ["body", "id"],
    )


async def test_lists_are_paged_and_end_with_an_empty_page(console):
    for name in ("one", "two", "three"):
        await console.operator.post("/gateways", json={"id": name, **REQUIRED})
    first = (await console.operator.get("/gateways", params={"page": 1, "per_page": 3})).json()
    assert [gateway["id"] for gateway in first["result"]] == ["default", "one", "two"]
    assert first["result_info"] == {"page": 1, "per_page": 3, "count": 3, "total_count": 4}
    last = (await console.operator.get("/gateways", params={"page": 3, "per_page": 3})).json()
    assert (last["result"], last["result_info"]["count"]) == ([], 0)
    found = (await console.operator.get("/gateways", params={"search": "TW"})).json()
    assert [gateway["id"] for gateway in found["result"]] == ["two"]
    assert found["result_info"] == {"page": 1, "per_page": 20, "count": 1, "total_count": 1}


@pytest.mark.parametrize(
    ("query", "message", "field"),
    [
        ({"per_page": "101"}, "Number must be less than or equal to 100", "per_page"),
        ({"per_page": "0"}, "Number must be greater than or equal to 1", "per_page"),
        ({"page": "0"}, "Number must be greater than or equal to 1", "page"),
        ({"page": "x"}, "Expected number, received string", "page"),
    ],
)
async def test_a_page_out_of_range_is_refused(console, problem, query, message, field):
    assert problem(await console.operator.get("/gateways", params=query)) == (400, 7001, message, ["query", field])


@pytest.mark.parametrize(
    ("change", "message", "path"),
    [
        ({"cache_ttl": -1}, "Number must be greater than or equal to 0", ["cache_ttl"]),
        ({"cache_ttl": "1"}, "Expected number, received string", ["cache_ttl"]),
        ({"collect_logs": None}, "Expected boolean, received null", ["collect_logs"]),
        ({"retry_max_attempts": 6}, "Number must be less than or equal to 5", ["retry_max_attempts"]),
        ({"retry_delay": 60_001}, "Number must be less than or equal to 60000", ["retry_delay"]),
        ({"retry_backoff": "slow"}, "Invalid enum value: slow", ["retry_backoff"]),
        ({"log_management": 9_999}, "Number must be greater than or equal to 10000", ["log_management"]),
        ({"logpush_public_key": "short"}, "String must have at least 16 characters", ["logpush_public_key"]),
        ({"id": "../etc"}, "Invalid", ["id"]),
        ({"id": "a" * 65}, "Invalid", ["id"]),
        ({"id": ""}, "Invalid", ["id"]),
        ({"id": "line\n"}, "Invalid", ["id"]),
        (
            {"spend_limits": {"rules": [{"limitType": "cost", "limit": 0, "window": 1}]}},
            "Number must be greater than 0.0",
            ["spend_limits", "rules", 0, "limit"],
        ),
        ({"spend_limits": {"rules": [{"limitType": "cost"}]}}, "Required", ["spend_limits", "rules", 0, "limit"]),
    ],
)
async def test_a_field_out_of_range_is_named(console, problem, change, message, path):
    status, code, said, where = problem(
        await console.operator.post("/gateways", json={"id": "g", **REQUIRED, **change})
    )
    assert (status, code, where) == (400, 7001, ["body", *path])
    assert said == message


@pytest.mark.parametrize("field", ["id", *REQUIRED])
async def test_a_required_field_is_required(console, problem, field):
    given = {"id": "g", **REQUIRED}
    del given[field]
    refused = await console.operator.post("/gateways", json=given)
    assert problem(refused) == (400, 7001, "Required", ["body", field])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"nope", b'{"id":"\xff"}', b"[" * 90_000, b'{"a":' + b"[" * 90_000]
)
async def test_a_body_that_is_no_object_is_refused(console, problem, body):
    for method, path in (("POST", "/gateways"), ("PUT", "/gateways/default")):
        status, code, _, where = problem(await console.operator.request(method, path, content=body))
        assert (status, code, where[:1]) == (400, 7001, ["body"])


async def test_a_body_past_the_limit_is_refused(console, problem):
    refused = await console.operator.post("/gateways", content=b" " * (1024 * 1024 + 1))
    assert problem(refused)[:2] == (413, 7001)


UNBUILT = {
    "dlp": {"enabled": True, "policies": []},
    "guardrails": {"prompt": {"S1": "BLOCK"}, "response": {}},
    "otel": [{"url": "https://otel.example.com", "headers": {}}],
    "store_id": "s",
    "stripe": {"authorization": "a", "usage_events": []},
    "log_classification": True,
    "workers_ai_billing_mode": "unified",
    "zdr": True,
}


@pytest.mark.parametrize("field", UNBUILT)
async def test_what_is_not_built_cannot_be_turned_on(console, problem, field):
    change = {field: UNBUILT[field]}
    for refused in (
        await console.operator.post("/gateways", json={"id": "g", **REQUIRED, **change}),
        await console.operator.put("/gateways/default", json=change),
    ):
        status, code, message, path = problem(refused)
        assert (status, code, path) == (400, 7001, ["body", field])
        assert field in message
        assert ": not available in this version" in message


@pytest.mark.parametrize("slug", sorted(SLUGS))
async def test_every_provider_has_a_url_by_each_of_its_names(console, slug):
    url = (await console.operator.get(f"/gateways/default/url/{slug}")).json()["result"]
    assert url == f"https://ai.example.com/v1/local/default/{slug}"


async def test_provider_urls_stand_under_the_public_origin(console, problem):
    url = (await console.operator.get("/gateways/default/url/openai")).json()["result"]
    assert url == "https://ai.example.com/v1/local/default/openai"
    universal = (await console.operator.get("/gateways/default/url/universal")).json()["result"]
    assert universal == "https://ai.example.com/v1/local/default/"
    assert problem(await console.operator.get("/gateways/default/url/nobody"))[:2] == (404, 7002)
    assert problem(await console.operator.get("/gateways/nothing/url/openai"))[:2] == (404, 7002)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1", "http://127.0.0.1:99"), ("0.0.0.0", "http://127.0.0.1:99"), ("fe80::1", "http://[fe80::1]:99")],
)
async def test_without_a_public_origin_the_listening_address_stands_in_urls(console, host, origin):
    console.desk.settings = Settings(server=ServerSettings(host=host, port=99))
    url = (await console.operator.get("/gateways/default/url/openai")).json()["result"]
    assert url == f"{origin}/v1/local/default/openai"
