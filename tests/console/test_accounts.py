"""Plans and entitlements, and what is told of an account's use of them."""

import pytest

from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.ports import GatewayUsage
from sluice.values.log import ShardKey

ACCOUNTS = "http://console/internal/accounts"
GATEWAYS = "http://console/client/v4/accounts/{}/ai-gateway/gateways"
USAGE = "http://console/client/v4/accounts/{}/ai-gateway/usage"
REQUIRED = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
UNLIMITED = {
    "gateways": None,
    "gateway_rows": None,
    "account_rows": None,
    "gateway_bytes": None,
    "retention_days": None,
}
NO_QUOTA = {"rows": None, "account_rows": None, "bytes": None, "days": None, "deletes_oldest": False}


async def made(console, plan: str = "free") -> str:
    answer = await console.operator.post(ACCOUNTS, json={"id": "acme", "plan": plan})
    assert answer.status_code == 200
    return "acme"


@pytest.mark.parametrize(
    ("plan", "entitlement"),
    [
        ("unlimited", UNLIMITED),
        ("paid", {**UNLIMITED, "gateways": 20, "gateway_rows": 10_000_000}),
        ("free", {**UNLIMITED, "gateways": 10, "account_rows": 100_000}),
    ],
)
async def test_a_plan_says_what_an_account_may_have(console, plan, entitlement):
    account = await made(console, plan)
    shown = (await console.operator.get(f"{ACCOUNTS}/{account}")).json()["result"]
    assert (shown["id"], shown["plan"], shown["entitlement"]) == (account, plan, entitlement)


async def test_an_account_may_have_more_or_less_than_its_plan_says(console):
    account = f"{ACCOUNTS}/{await made(console)}"
    own = {"gateways": 2, "account_rows": None}
    shown = (await console.operator.patch(account, json={"entitlement": own})).json()["result"]
    assert shown["entitlement"] == {**UNLIMITED, "gateways": 2}
    shown = (await console.operator.patch(account, json={"plan": "paid"})).json()["result"]
    assert shown["entitlement"] == {**UNLIMITED, "gateways": 2, "gateway_rows": 10_000_000}
    shown = (await console.operator.patch(account, json={"entitlement": None})).json()["result"]
    assert shown["entitlement"] == {**UNLIMITED, "gateways": 20, "gateway_rows": 10_000_000}
    assert shown == (await console.operator.get(account)).json()["result"]


async def test_a_change_that_is_none_is_refused(console, problem):
    account = f"{ACCOUNTS}/{await made(console)}"
    refused = await console.operator.patch(account, json={"plan": "gold"})
    assert problem(refused) == (400, 7001, "Invalid enum value: gold", ["body", "plan"])
    refused = await console.operator.patch(account, json={"entitlement": {"gateways": -1}})
    assert problem(refused)[3] == ["body", "entitlement", "gateways"]
    refused = await console.operator.patch(account, json={"entitlement": {"gatewayz": 1}})
    assert problem(refused) == (400, 7001, "Unknown field", ["body", "entitlement", "gatewayz"])
    refused = await console.operator.patch(account, json={"entitlement": {"retention_days": 0}})
    told = (400, 7001, "Number must be greater than or equal to 1", ["body", "entitlement", "retention_days"])
    assert problem(refused) == told
    kept = {**UNLIMITED, "gateways": 10, "account_rows": 100_000}
    assert (await console.operator.get(account)).json()["result"]["entitlement"] == kept
    for method in ("GET", "PATCH"):
        assert problem(await console.operator.request(method, f"{ACCOUNTS}/none", json={}))[:2] == (404, 7002)


async def test_nobody_but_the_operator_sees_or_changes_an_account(console, problem):
    client = console.relayed(console.admin)
    for method in ("GET", "PATCH"):
        refused = await client.request(method, f"{ACCOUNTS}/local", json={})
        assert problem(refused) == (403, 10000, "Authentication error", [])


async def test_no_more_gateways_are_made_than_the_account_may_have(console, problem):
    account = await made(console)
    await console.operator.patch(f"{ACCOUNTS}/{account}", json={"entitlement": {"gateways": 2}})
    gateways = GATEWAYS.format(account)
    for name in ("one", "two"):
        assert (await console.operator.post(gateways, json={"id": name, **REQUIRED})).status_code == 200
    refused = await console.operator.post(gateways, json={"id": "three", **REQUIRED})
    assert problem(refused) == (400, 7001, "The account may have no more than 2 gateways", ["body", "id"])
    await console.operator.delete(f"{gateways}/one")
    assert (await console.operator.post(gateways, json={"id": "three", **REQUIRED})).status_code == 200


@pytest.mark.parametrize(("plan", "most"), [("paid", 10_000_000), ("free", 100_000)])
async def test_a_gateway_is_set_to_keep_no_more_logs_than_the_plan_allows(console, problem, plan, most):
    account = await made(console, plan)
    gateways = GATEWAYS.format(account)
    fields = {"id": "one", **REQUIRED, "log_management": most + 1}
    refused = await console.operator.post(gateways, json=fields)
    said = (400, 7001, f"Number must be less than or equal to {most}", ["body", "log_management"])
    assert problem(refused) == said
    made_one = await console.operator.post(gateways, json={**fields, "log_management": most})
    assert made_one.json()["result"]["log_management"] == most
    assert problem(await console.operator.put(f"{gateways}/one", json={"log_management": most + 1})) == said


async def test_usage_is_what_the_keeper_reported_and_what_is_allowed(console, settings):
    nothing = (await console.operator.get(USAGE.format("local"))).json()["result"]
    gateway = {"gateway": "default", "rows": 0, "bytes": 0, "refused": 0, "quota": NO_QUOTA}
    assert nothing == {
        "plan": "unlimited",
        "entitlement": UNLIMITED,
        "rows": 0,
        "bytes": 0,
        "refused": 0,
        "gateways": [gateway],
    }
    await console.operator.put(f"{GATEWAYS.format('local')}/default", json={"log_management": 20_000})
    shard = ShardKey("local", console.control.gateway("local", "default").id.hex())
    usage = EmbeddedUsageStore.open(settings.data / "usage.db")
    usage.report([GatewayUsage(shard, 20_000, 5_000, 7)])
    usage.report([GatewayUsage(shard, 20_000, 6_000, 3)])
    usage.close()
    told = (await console.relayed(console.token("read")).get(USAGE.format("local"))).json()["result"]
    quota = {**NO_QUOTA, "rows": 20_000}
    assert told["gateways"] == [{"gateway": "default", "rows": 20_000, "bytes": 6_000, "refused": 10, "quota": quota}]
    assert (told["rows"], told["bytes"], told["refused"]) == (20_000, 6_000, 10)


async def test_usage_needs_the_account(console, problem):
    assert problem(await console.operator.get(USAGE.format("none")))[:2] == (404, 7002)
    refused = await console.relayed(console.token("run")).get(USAGE.format("local"))
    assert problem(refused)[:2] == (403, 10000)
