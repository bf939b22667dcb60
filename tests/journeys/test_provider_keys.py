"""Which key goes upstream: the request's own, a stored one, the operator's, or none (contract 3.3)."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect

PLAIN: dict[str, Any] = {
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
OPERATORS = "sk-operators-own-key-of-openai-0001"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
VENDORS = (
    *("openai", "anthropic", "google-ai-studio", "elevenlabs", "deepgram", "workers-ai", "azure-openai"),
    *("adobe-firefly", "aws-bedrock"),
)
SIGNED = {
    "openai": ("Authorization", "Bearer {}"),
    "anthropic": ("x-api-key", "{}"),
    "google-ai-studio": ("x-goog-api-key", "{}"),
    "elevenlabs": ("xi-api-key", "{}"),
    "deepgram": ("Authorization", "Token {}"),
    "azure-openai": ("api-key", "{}"),
}
KEY_HEADERS = {"authorization", "x-api-key", "x-goog-api-key", "xi-api-key", "api-key"}


@pytest.fixture(scope="module")
def house(gateway: Any, provider_of: Any, start_shared_gateway: Any) -> Any:
    """A gateway of this file's own, whose operator has a key for OpenAI, in front of the shared simulator."""
    upstream = f"http://{provider_of(gateway).authority}"
    providers = {name: {"base_url": f"{upstream}/{name}"} for name in VENDORS}
    providers["openai"]["api_key"] = OPERATORS
    return start_shared_gateway(providers=providers)


class Tenant:
    """A gateway under test, and what reaches the provider through it."""

    def __init__(self, house: Any, name: str) -> None:
        self.house, self.name = house, name

    def store(self, provider: str, alias: str = "default", default: bool = False, secret: str = "", **more: Any) -> Any:
        body = {"alias": alias, "default_config": default, "provider_slug": provider, "secret": secret or key(alias)}
        made = self.house.manage("POST", f"/gateways/{self.name}/provider_configs", json=body | more)
        assert made.status_code == 200, made.text
        return made.json()["result"]

    def change(self, **fields: Any) -> None:
        answer = self.house.manage("PUT", f"/gateways/{self.name}", json=fields)
        assert answer.status_code == 200, answer.text

    def ask(
        self, provider: str = "openai", path: str = "v1/chat/completions", body: Any = None, **headers: str | None
    ) -> Any:
        """A native call; `cf_aig_authorization=None` leaves our token out."""
        sent = {"x-sluice-echo": "1"} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"/v1/local/{self.name}/{provider}/{path}"
        request = self.house.http.build_request("POST", url, json=body or CHAT, headers=clean(sent))
        if "cf-aig-authorization" in sent and sent["cf-aig-authorization"] is None:
            del request.headers["cf-aig-authorization"]
        return self.house.http.send(request)

    def log(self, reply: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.house.log(reply.headers["cf-aig-log-id"], self.name)
        return found


def test_models_are_listed_of_every_provider_that_a_request_would_have_a_key_of(house: Any, tenant: Tenant):
    tenant.store("anthropic")
    tenant.change(authentication=False)

    def owners(**headers: str | None) -> set[str]:
        request = house.http.build_request("GET", f"/v1/local/{tenant.name}/compat/models", headers=clean(headers))
        if headers.get("cf-aig-authorization", "") is None:
            del request.headers["cf-aig-authorization"]
        return {model["owned_by"] for model in house.http.send(request).json()["data"]}

    assert house.until(lambda: owners() or None, "prices") == {"anthropic", "openai"}
    assert owners(**{"cf-aig-no-wholesale": "true"}) == {"anthropic"}
    assert owners(**{"cf-aig-authorization": None}) == set()
    tenant.change(byok_only=True)
    assert owners() == {"anthropic"}


def clean(headers: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


def key(alias: str) -> str:
    return f"sk-stored-under-the-alias-{alias}"


def keys_seen(reply: Any) -> list[tuple[str, str]]:
    """The credentials that the provider got."""
    assert reply.status_code == 200, reply.text
    return [(name, value) for name, value in reply.json()["headers"] if name.lower() in KEY_HEADERS]


def code_of(reply: Any) -> tuple[int, int]:
    return reply.status_code, reply.json()["error"][0]["code"]


@pytest.fixture
def tenant(house: Any) -> Iterator[Tenant]:
    name = "keys-" + uuid4().hex[:8]
    assert house.manage("POST", "/gateways", json={"id": name, "authentication": True, **PLAIN}).status_code == 200
    yield Tenant(house, name)
    house.manage("DELETE", f"/gateways/{name}")


@pytest.mark.parametrize("vendor", SIGNED)
def test_a_stored_key_goes_to_its_provider_in_its_own_header(tenant: Tenant, vendor: str):
    tenant.store(vendor)
    path = "res/deployments/chat/completions?api-version=1" if vendor == "azure-openai" else "v1/models"
    reply = tenant.ask(vendor, path)
    name, form = SIGNED[vendor]
    assert keys_seen(reply) == [(name, form.format(key("default")))]
    log = tenant.log(reply)
    assert (log["byok"], log["wholesale"], log["authentication"]) == (True, False, True)


def test_a_key_in_the_request_goes_unchanged_and_alone(tenant: Tenant):
    tenant.store("openai", default=True)
    for headers in (
        {"Authorization": "Bearer sk-theirs"},
        {"x-api-key": "sk-theirs"},
        {"Authorization": "Bearer sk-theirs", "cf-aig-byok-alias": "nobodys"},
    ):
        reply = tenant.ask(**headers)
        assert [value for _, value in keys_seen(reply)] == [next(iter(headers.values()))]
        assert (tenant.log(reply)["byok"], tenant.log(reply)["wholesale"]) == (False, False)
    tenant.store("google-ai-studio")
    reply = tenant.ask("google-ai-studio", "v1beta/models?%6Bey=theirs")
    assert keys_seen(reply) == []
    assert reply.json()["target"].endswith("?%6Bey=theirs")


def test_an_empty_key_is_none_and_a_token_of_ours_in_its_place_neither(tenant: Tenant, house: Any):
    tenant.store("openai")
    stored = [("Authorization", f"Bearer {key('default')}")]
    assert keys_seen(tenant.ask(Authorization="Bearer")) == stored
    assert keys_seen(tenant.ask(Authorization=f"Bearer {house.token}", cf_aig_authorization=None)) == stored
    assert keys_seen(tenant.ask(x_api_key=house.token, cf_aig_authorization=None)) == stored


def test_of_several_keys_the_alias_the_default_then_the_one_called_default_is_used(tenant: Tenant):
    tenant.store("openai", "default")
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {key('default')}")]
    tenant.store("openai", "main", default=True)
    tenant.store("openai", "spare one")
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {key('main')}")]
    assert keys_seen(tenant.ask(cf_aig_byok_alias="spare one")) == [("Authorization", f"Bearer {key('spare one')}")]
    reply = tenant.ask(cf_aig_byok_alias="other")
    assert code_of(reply) == (400, 2040)
    said = "openai has no provider key with the alias 'other': 'default', 'main', 'spare one' are configured"
    assert reply.json()["description"] == said
    assert tenant.log(reply)["error_code"] == 2040


@pytest.mark.parametrize("query", ["key={}&a=1", "a=1&api_key={}"])
def test_a_token_of_ours_in_a_query_goes_to_nobody(tenant: Tenant, house: Any, query: str):
    reply = tenant.ask("google-ai-studio", f"v1beta/models?{query.format(house.token)}")
    assert reply.json()["target"].endswith("/v1beta/models?a=1")
    encoded = tenant.ask("google-ai-studio", f"v1beta/models?{query.format('%73' + house.token[1:])}")
    assert encoded.json()["target"].endswith("/v1beta/models?a=1")


def test_a_header_that_is_a_key_to_others_goes_beside_the_stored_key(tenant: Tenant):
    tenant.store("adobe-firefly")
    reply = tenant.ask("adobe-firefly", "v3/images/generate", x_api_key="the-client")
    assert keys_seen(reply) == [("x-api-key", "the-client"), ("Authorization", f"Bearer {key('default')}")]
    assert tenant.log(reply)["byok"] is True


def test_a_stored_document_that_is_none_fails_its_step_and_the_next_one_is_tried(tenant: Tenant, house: Any):
    tenant.store("aws-bedrock", secret='{"a": 1}')
    body = [
        {"provider": "aws-bedrock", "endpoint": "bedrock-runtime/us-east-1/model/m/converse", "query": {}},
        {"provider": "openai", "endpoint": "chat/completions", "query": CHAT},
    ]
    reply = house.http.post(f"/v1/local/{tenant.name}", json=body)
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1"), reply.text
    alone = tenant.ask("aws-bedrock", "bedrock-runtime/us-east-1/model/m/converse")
    assert (alone.status_code, alone.json()["error"][0]["code"]) == (400, 2005), alone.text


def test_the_operators_key_is_the_last_one(tenant: Tenant):
    reply = tenant.ask()
    assert keys_seen(reply) == [("Authorization", f"Bearer {OPERATORS}")]
    assert (tenant.log(reply)["byok"], tenant.log(reply)["wholesale"]) == (False, True)
    assert keys_seen(tenant.ask("anthropic", "v1/messages")) == []  # the provider's own 401 would be next
    tenant.store("openai", "unused")
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {OPERATORS}")]
    tenant.store("openai", "default")
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {key('default')}")]


@pytest.mark.parametrize("forbidden", ["byok_only", "cf-aig-no-wholesale"])
def test_the_operators_key_may_be_forbidden(tenant: Tenant, forbidden: str):
    headers: dict[str, str] = {}
    if forbidden == "byok_only":
        tenant.change(byok_only=True)
    else:
        headers[forbidden] = "true"
    for vendor, path in (("openai", "v1/models"), ("anthropic", "v1/messages")):
        reply = tenant.ask(vendor, path, **headers)
        assert code_of(reply) == (400, 2043)
        assert vendor in reply.json()["description"]
    assert keys_seen(tenant.ask("workers-ai", "@cf/meta/llama-3.1-8b-instruct", **headers)) == []
    assert keys_seen(tenant.ask(Authorization="Bearer sk-theirs", **headers)) == [("Authorization", "Bearer sk-theirs")]
    tenant.store("openai")
    assert keys_seen(tenant.ask(**headers)) == [("Authorization", f"Bearer {key('default')}")]


def test_without_a_valid_token_no_key_of_ours_is_used(tenant: Tenant, house: Any):
    tenant.store("openai", default=True)
    tenant.change(authentication=False)
    for token in (None, "Bearer undefined", "Bearer sluice_" + "A" * 43):
        reply = tenant.ask(cf_aig_authorization=token)
        assert keys_seen(reply) == []
        log = tenant.log(reply)
        assert (log["byok"], log["wholesale"], log["authentication"]) == (False, False, False)
        assert keys_seen(tenant.ask(cf_aig_authorization=token, cf_aig_byok_alias="other")) == []
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {key('default')}")]
    tenant.change(byok_only=True)
    assert code_of(tenant.ask(cf_aig_authorization=None)) == (400, 2043)


def test_a_token_of_another_gateway_or_account_or_kind_uses_no_key(tenant: Tenant, house: Any):
    tenant.store("openai", default=True)
    other = "other-" + uuid4().hex[:8]
    house.manage("POST", "/gateways", json={"id": other, "authentication": True, **PLAIN})
    account = "acme-" + uuid4().hex[:8]
    house.cli("account", "create", account)
    tokens = [
        house.cli("token", "create", "--account", "local", "--gateway", other, "--permissions", "run")["token"],
        house.cli("token", "create", "--account", account, "--permissions", "run,edit")["token"],
        house.cli("token", "create", "--account", "local", "--permissions", "read,edit")["token"],
    ]
    for token in tokens:
        assert code_of(tenant.ask(cf_aig_authorization=f"Bearer {token}")) == (401, 2009)
    tenant.change(authentication=False)
    for token in tokens:
        assert keys_seen(tenant.ask(cf_aig_authorization=f"Bearer {token}")) == []
        assert keys_seen(tenant.ask(cf_aig_authorization=None, Authorization=f"Bearer {token}")) == []
    configs = f"/client/v4/accounts/local/ai-gateway/gateways/{tenant.name}/provider_configs"
    for token in tokens[:2]:
        headers = {"authorization": f"Bearer {token}"}
        assert house.http.get(configs, headers=headers).status_code == 403
        wanted = {"alias": "b", "default_config": False, "provider_slug": "openai", "secret": "sk-b"}
        assert house.http.post(configs, json=wanted, headers=headers).status_code == 403
    theirs = Tenant(house, other)
    assert keys_seen(theirs.ask(cf_aig_authorization=f"Bearer {tokens[0]}")) == [
        ("Authorization", f"Bearer {OPERATORS}")
    ]
    assert code_of(theirs.ask(cf_aig_authorization=f"Bearer {tokens[0]}", cf_aig_byok_alias="default")) == (400, 2040)
    headers = {"authorization": f"Bearer {tokens[0]}"}  # customs are the account's, not a gateway's
    assert house.http.get("/client/v4/accounts/local/ai-gateway/custom-providers", headers=headers).status_code == 403
    house.manage("DELETE", f"/gateways/{other}")


def test_a_rotated_key_is_in_force_at_once_and_a_deleted_one_no_more(tenant: Tenant, house: Any):
    config = tenant.store("openai")
    at = f"/gateways/{tenant.name}/provider_configs/{config['id']}"
    for number in range(5):
        assert house.manage("PUT", at, json={"secret": f"sk-rotated-{number}"}).status_code == 200
        assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer sk-rotated-{number}")]
    assert house.manage("DELETE", at).status_code == 200
    assert keys_seen(tenant.ask()) == [("Authorization", f"Bearer {OPERATORS}")]


def test_each_step_of_a_universal_request_goes_with_its_own(tenant: Tenant, house: Any):
    tenant.store("openai", "a")
    tenant.store("anthropic", "a")
    tenant.store("openai", "b")
    failing = {"provider": "openai", "endpoint": "chat/completions", "query": CHAT | {"model": "gpt-4o~status-500"}}
    steps = [
        failing,
        failing | {"headers": {"authorization": "Bearer sk-theirs"}},
        failing | {"headers": {"cf-aig-byok-alias": "missing"}},
        {
            "provider": "anthropic",
            "endpoint": "v1/messages",
            "headers": {"x-sluice-echo": "1"},
            "query": {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": CHAT["messages"]},
        },
    ]
    reply = house.universal(steps, tenant.name, cf_aig_byok_alias="a")
    assert keys_seen(reply) == [("x-api-key", key("a"))]
    assert reply.headers["cf-aig-step"] == "3"
    rows = house.rows(reply, 4, tenant.name)
    assert [row["byok"] for row in rows] == [True, False, False, True]
    assert [row["error_code"] for row in rows] == [None, None, 2040, None]


def test_the_unified_endpoint_signs_for_the_provider_that_the_model_names(tenant: Tenant, house: Any):
    tenant.store("anthropic")
    tenant.store("google-ai-studio")
    for model, name in (("google-ai-studio/echo", "x-goog-api-key"), ("openai/echo", "Authorization")):
        reply = house.http.post(f"/v1/local/{tenant.name}/compat/chat/completions", json=CHAT | {"model": model})
        value = f"Bearer {OPERATORS}" if name == "Authorization" else key("default")
        assert keys_seen(reply) == [(name, value)]
    reply = house.http.post(
        f"/v1/local/{tenant.name}/compat/chat/completions", json=CHAT | {"model": "anthropic/claude-sonnet-4-5"}
    )
    assert reply.json()["object"] == "chat.completion"  # the simulator insists on a key
    assert tenant.log(reply)["byok"] is True


async def test_requests_over_one_websocket_go_with_stored_keys(tenant: Tenant, house: Any, talk: Any):
    tenant.store("openai", "b")
    step = {"provider": "openai", "endpoint": "chat/completions", "query": CHAT | {"model": "echo"}}
    async with talk(house, f"/v1/local/{tenant.name}", {**house.auth, "cf-aig-byok-alias": "b"}) as client:
        [message] = await client.ask(step)
        assert ["Authorization", f"Bearer {key('b')}"] in message["response"]["headers"]
        [message] = await client.ask({**step, "headers": {"cf-aig-byok-alias": "c"}}, "second")
        assert message["response"]["error"][0]["code"] == 2040


@pytest.mark.parametrize(
    ("vendor", "path", "offered"),
    [
        ("openai", "openai?model=gpt-realtime", ["realtime"]),
        ("deepgram", "deepgram/v1/listen", ["token"]),
        ("elevenlabs", "elevenlabs?agent_id=a", []),
        ("google-ai-studio", "google", []),
    ],
)
async def test_a_realtime_connection_is_opened_with_a_stored_key(
    tenant: Tenant, house: Any, provider: Any, marker: str, vendor: str, path: str, offered: list[str]
):
    tenant.store(vendor)
    subprotocols = [*offered, house.token if offered == ["token"] else f"cf-aig-authorization.{house.token}"]
    url = f"ws://127.0.0.1:{house.port}/v1/local/{tenant.name}/{path}"
    async with connect(
        url, additional_headers={"x-sluice-marker": marker}, subprotocols=subprotocols, proxy=None
    ) as socket:
        log_id = socket.response.headers["cf-aig-log-id"]
    name, form = SIGNED[vendor]
    [entry] = await provider.entries(marker, ended=1)
    assert [tuple(one) for one in entry["headers"] if one[0].lower() in KEY_HEADERS] == [
        (name, form.format(key("default")))
    ]
    assert house.log(log_id, tenant.name)["byok"] is True


@pytest.mark.parametrize(
    ("vendor", "path", "offered"),
    [
        ("deepgram", "deepgram/v1/listen", ["token", "theirs"]),
        ("openai", "openai?model=gpt-realtime", ["realtime", "openai-insecure-api-key.theirs"]),
        ("google-ai-studio", "google?api_key=theirs", []),
    ],
)
async def test_a_realtime_connection_with_a_key_of_its_own_gets_no_other(
    tenant: Tenant, house: Any, provider: Any, marker: str, vendor: str, path: str, offered: list[str]
):
    tenant.store(vendor)
    url = f"ws://127.0.0.1:{house.port}/v1/local/{tenant.name}/{path}"
    headers = {"x-sluice-marker": marker, **house.auth}
    async with connect(url, additional_headers=headers, subprotocols=offered or None, proxy=None) as socket:
        log_id = socket.response.headers["cf-aig-log-id"]
    [entry] = await provider.entries(marker, ended=1)
    assert [one for one in entry["headers"] if one[0].lower() in KEY_HEADERS] == []
    assert "theirs" in str(entry)
    assert house.log(log_id, tenant.name)["byok"] is False


async def test_a_realtime_connection_that_may_not_go_without_a_key_is_refused(tenant: Tenant, house: Any, wire: Any):
    tenant.change(byok_only=True)
    lines = (
        f"GET /v1/local/{tenant.name}/openai?model=m HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"cf-aig-authorization: Bearer {house.token}\r\n\r\n"
    )
    async with wire(house) as line:
        reply = await line.ask(lines.encode())
    assert (reply.status, reply.json()["error"][0]["code"]) == (400, 2043)


def test_the_operator_may_let_anybody_use_stored_keys_and_a_simulator_gets_no_key_of_his(start_gateway: Any):
    own = start_gateway("--simulate", providers={"openai": {"api_key": OPERATORS}}, server={"keys_require_auth": False})
    for name in ("with", "without"):
        own.cli("gateway", "create", name, "--open")
    Tenant(own, "with").store("openai")
    reply = Tenant(own, "with").ask(cf_aig_authorization=None)
    assert keys_seen(reply) == [("Authorization", f"Bearer {key('default')}")]
    log = own.log(reply.headers["cf-aig-log-id"], "with")
    assert (log["byok"], log["authentication"]) == (True, False)
    assert keys_seen(Tenant(own, "without").ask()) == []
