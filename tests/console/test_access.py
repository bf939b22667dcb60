"""Who may do what: every carrier, permission and scope (contract 3.1, 9.1)."""

import pytest

from sluice.storage.ports import NewToken

GATEWAY = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
AUTHENTICATION = (10000, "Authentication error", [])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer undefined"},
        {"authorization": "Bearer sluice_wrong"},
        {"authorization": "Bearer \udcff"},
        {"authorization": "Basic {token}"},
        {"authorization": "{token}"},
        {"x-auth-email": "{token}"},
        {"x-auth-key": "{token}x", "x-auth-email": "a@b.c"},
        {"cf-aig-authorization": "Bearer {token}"},
    ],
)
async def test_without_a_valid_token_nothing_is_told(console, problem, headers):
    filled = {
        name: value.format(token=console.admin).encode("utf-8", "surrogateescape") for name, value in headers.items()
    }
    for method, path in (("GET", "/gateways"), ("GET", "/gateways/nothing"), ("POST", "/tokens")):
        refused = await console.relayed(None, **filled).request(method, path)
        assert problem(refused) == (401, *AUTHENTICATION)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer {token}"},
        {"authorization": "bearer   {token} "},
        {"x-auth-email": "a@b.c", "x-auth-key": "{token}"},
        {"x-auth-user-service-key": "{token}"},
        {"authorization": "Bearer of another kind", "x-auth-key": "{token}"},
    ],
)
async def test_every_documented_carrier_is_taken(console, headers):
    filled = {name: value.format(token=console.admin) for name, value in headers.items()}
    assert (await console.relayed(None, **filled).get("/gateways")).status_code == 200


async def test_an_expired_token_is_none(console, problem):
    _, spent = console.control.create_token(NewToken("local", frozenset({"read"}), expires_ms=1))
    assert problem(await console.relayed(spent.reveal()).get("/gateways")) == (401, *AUTHENTICATION)
    _, fresh = console.control.create_token(NewToken("local", frozenset({"read"}), expires_ms=1 << 50))
    assert (await console.relayed(fresh.reveal()).get("/gateways")).status_code == 200


READS = [("GET", "/gateways"), ("GET", "/gateways/default"), ("GET", "/gateways/default/url/openai")]
LOG_LISTS = [("GET", "/gateways/default/logs")]
BODIES = [
    ("GET", "/gateways/default/logs/01JC3R94FRD97JBCBX3S0ZAXKW/request"),
    ("GET", "/gateways/default/logs/01JC3R94FRD97JBCBX3S0ZAXKW/response"),
]
WRITES = [
    ("POST", "/gateways"),
    ("PUT", "/gateways/default"),
    ("DELETE", "/gateways/nothing"),
    ("GET", "/tokens"),
    ("POST", "/tokens"),
    ("DELETE", "/tokens/nothing"),
]


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        (["run"], []),
        (["metadata_read"], LOG_LISTS),
        (["read"], READS + LOG_LISTS + BODIES),
        (["edit"], READS + LOG_LISTS + BODIES + WRITES),
        (["run", "read", "edit", "metadata_read"], READS + LOG_LISTS + BODIES + WRITES),
    ],
)
async def test_a_permission_opens_its_paths_and_no_other(console, problem, permissions, allowed):
    client = console.relayed(console.token(*permissions))
    for method, path in READS + LOG_LISTS + BODIES + WRITES:
        response = await client.request(method, path)
        if (method, path) in allowed:
            assert response.status_code not in (401, 403), path
        else:
            assert problem(response) == (403, *AUTHENTICATION), path


async def test_a_token_that_may_not_is_told_what_it_lacks_and_a_foreign_one_nothing(console):
    await console.operator.post("/gateways", json={"id": "mine", **GATEWAY})
    console.control.create_account("other", "free")
    told = {
        console.token("run", "read"): "This needs a token with the permission edit",
        console.token("edit", gateway="default"): "This token is of the gateway default alone",
        console.token("edit", account="other"): None,
    }
    for token, words in told.items():
        refused = await console.relayed(token).put("/gateways/mine", json={"cache_ttl": 60})
        assert refused.status_code == 403
        assert [one["message"] for one in refused.json()["messages"]] == ([words] if words else [])
    handed = await console.relayed(console.token("edit")).post("/tokens", json={"permissions": ["run"]})
    assert handed.json()["messages"][0]["message"].endswith("this one lacks run")


async def test_a_token_is_of_no_use_in_another_account(console, problem):
    console.control.create_account("other", "free")
    foreign = console.relayed(console.token("run", "read", "edit", "metadata_read", account="other"))
    for account in ("local", "nobody"):
        url = f"http://console/client/v4/accounts/{account}/ai-gateway/gateways"
        assert problem(await foreign.get(url)) == (403, *AUTHENTICATION)
        assert problem(await foreign.get(f"{url}/default")) == (403, *AUTHENTICATION)
    assert (await foreign.get("http://console/client/v4/accounts/other/ai-gateway/gateways")).status_code == 200


async def test_a_token_of_one_gateway_reaches_that_gateway_alone(console, problem):
    await console.operator.post("/gateways", json={"id": "mine", **GATEWAY})
    scoped = console.relayed(console.token("read", "edit", gateway="mine"))
    assert (await scoped.get("/gateways/mine")).status_code == 200
    assert (await scoped.get("/gateways/mine/logs")).status_code == 200
    assert (await scoped.put("/gateways/mine", json={"collect_logs": False})).status_code == 200
    for method, path in (
        ("GET", "/gateways"),
        ("POST", "/gateways"),
        ("GET", "/gateways/default"),
        ("GET", "/gateways/default/logs"),
        ("POST", "/tokens"),
    ):
        assert problem(await scoped.request(method, path)) == (403, *AUTHENTICATION), path
    assert (await scoped.delete("/gateways/mine")).status_code == 200
    assert problem(await scoped.get("/gateways/mine")) == (401, *AUTHENTICATION)


async def test_accounts_are_the_operators(console, problem):
    client = console.relayed(console.admin)
    assert problem(await client.get("http://console/internal/accounts")) == (403, *AUTHENTICATION)
    assert problem(await client.post("http://console/internal/accounts", json={"id": "x"})) == (403, *AUTHENTICATION)
    assert problem(await client.delete("http://console/internal/accounts/local")) == (403, *AUTHENTICATION)
    assert console.control.account_exists("local")


async def test_the_operator_needs_no_token_but_an_account_that_exists(console, problem):
    assert (await console.operator.get("/gateways")).status_code == 200
    refused = await console.operator.get("http://console/client/v4/accounts/nobody/ai-gateway/gateways")
    assert problem(refused) == (404, 7002, "There is no such account", [])


async def test_a_revoked_token_opens_nothing_from_the_next_request_on(console, problem):
    client = console.relayed(console.token("read"))
    assert (await client.get("/gateways")).status_code == 200
    (_, token) = (await console.operator.get("/tokens")).json()["result"]
    await console.operator.delete(f"/tokens/{token['id']}")
    assert problem(await client.get("/gateways")) == (401, *AUTHENTICATION)
