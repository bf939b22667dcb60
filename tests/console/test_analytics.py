"""Analytics by REST: sums, percentiles, steps and dimensions, and what is refused."""

from urllib.parse import urlencode

import pytest

from sluice.values.gateway import GatewayConfig
from sluice.values.log import Usage

AT_MS = 1_767_323_045_678  # 2026-01-02T03:04:05.678Z
WIDE = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-03T00:00:00Z"}
GATEWAY = "gateways/default/analytics"


async def asked(client, path: str = GATEWAY, **query: str):
    answer = await client.get(f"{path}?{urlencode({**WIDE, **query})}")
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


@pytest.fixture
def logs(console, log, write_logs):
    console.control.create_gateway("local", "other", GatewayConfig())
    write_logs(
        log(created_ms=AT_MS, model="a", duration_ms=100, latency_ms=50, cost_nano=2_000_000_000),
        log(created_ms=AT_MS + 60_000, model="a", duration_ms=200, latency_ms=None, cached=True, usage=Usage(5, 7)),
        log(created_ms=AT_MS + 3_600_000, model="b", status_code=500, success=False, cost_nano=None, usage=Usage()),
    )
    write_logs(log(created_ms=AT_MS, model="a", metadata={}), gateway="other")


async def test_a_gateways_requests_are_summed_by_hour_and_model(console, logs):
    result = await asked(console.relayed(console.token("metadata_read")), group_by="model")
    assert [result[name] for name in ("step", "group_by", "complete")] == ["hour", ["model"], True]
    assert (result["from"], result["to"]) == ("2026-01-02T00:00:00.000Z", "2026-01-03T00:00:00.000Z")
    first, second = result["groups"]
    assert first == {
        "start": "2026-01-02T03:00:00.000Z",
        "dimensions": {"model": "a"},
        "requests": 2,
        "errors": 0,
        "cached": 1,
        "tokens_in": 17,
        "tokens_out": 41,
        "cached_tokens_in": 5,
        "cached_tokens_out": 7,
        "cost": 2.0000222,
        "duration": {"p50": first["duration"]["p50"], "p95": first["duration"]["p95"], "p99": first["duration"]["p99"]},
        "latency": {"p50": first["latency"]["p50"], "p95": first["latency"]["p50"], "p99": first["latency"]["p50"]},
    }
    assert first["duration"]["p50"] == pytest.approx(100, rel=0.03)
    assert first["duration"]["p95"] == pytest.approx(200, rel=0.03)
    assert first["latency"]["p50"] == pytest.approx(50, rel=0.03)
    assert (second["start"], second["errors"], second["cost"]) == ("2026-01-02T04:00:00.000Z", 1, 0)


async def test_an_account_has_the_requests_of_all_its_gateways(console, logs):
    client = console.relayed(console.token("read"))
    result = await asked(client, "analytics", step="none", group_by="gateway,model")
    found = {(one["dimensions"]["gateway"], one["dimensions"]["model"]): one["requests"] for one in result["groups"]}
    assert found == {("default", "a"): 2, ("default", "b"): 1, ("other", "a"): 1}
    assert {one["start"] for one in result["groups"]} == {None}
    result = await asked(client, "analytics", step="day", model="a", provider="openai")
    assert [(one["start"], one["requests"]) for one in result["groups"]] == [("2026-01-02T00:00:00.000Z", 3)]
    assert (await asked(client, "analytics", step="none", gateway="other"))["groups"][0]["requests"] == 1


async def test_metadata_values_that_the_operator_chose_are_counted(console, logs):
    client = console.relayed(console.token("read"))
    result = await asked(client, "analytics", step="minute", group_by="metadata.team,cached")
    assert [(one["start"][11:16], one["dimensions"], one["requests"]) for one in result["groups"]] == [
        ("03:04", {"metadata.team": "a", "cached": False}, 1),
        ("03:05", {"metadata.team": "a", "cached": True}, 1),
        ("04:04", {"metadata.team": "a", "cached": False}, 1),
    ]


async def test_a_day_is_what_is_asked_for_by_itself(console, log, write_logs):
    write_logs(log(created_ms=AT_MS))
    result = (await console.operator.get(GATEWAY)).json()["result"]
    assert (result["groups"], result["complete"]) == ([], True)


@pytest.mark.parametrize(
    ("query", "place", "said"),
    [
        ({"from": "2026-01-04T00:00:00Z"}, "to", "ends before it begins"),
        ({"from": "yesterday"}, "from", ""),
        ({"from": "2026-01-02T00:00:00"}, "from", ""),
        ({"step": "week"}, "step", "Invalid enum value: week"),
        ({"group_by": "colour"}, "group_by", "There is no dimension colour: known are gateway, provider, model,"),
        ({"group_by": "model,model"}, "group_by", "twice"),
        ({"group_by": "metadata.user"}, "group_by", "logs.rollup_metadata"),
        ({"group_by": "metadata.team,model"}, "group_by", "counted without model"),
        ({"group_by": "metadata.team", "provider": "openai"}, "group_by", "counted without provider"),
    ],
)
async def test_what_cannot_be_asked_is_refused(console, problem, query, place, said):
    refused = problem(await console.operator.get(f"{GATEWAY}?{urlencode({**WIDE, **query})}"))
    assert (refused[:2], refused[3]) == ((400, 7001), ["query", place])
    assert said in refused[2]


async def test_who_may_not_read_logs_may_not_read_analytics(console, problem):
    scoped = console.relayed(console.token("read", gateway="default"))
    assert (await scoped.get(GATEWAY)).status_code == 200
    assert problem(await scoped.get("analytics"))[:2] == (403, 10000)
    assert problem(await console.relayed(console.token("run")).get(GATEWAY))[:2] == (403, 10000)
    assert problem(await console.relayed(None).get("analytics"))[:2] == (401, 10000)
    assert problem(await console.operator.get("gateways/none/analytics"))[:2] == (404, 7002)
