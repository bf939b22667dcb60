"""Custom providers through a real gateway: every way to call one, what it receives, what the log says."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
import websockets

CHAT: Any = {"model": "a-model", "messages": [{"role": "user", "content": "hello"}]}
ECHO = {"x-sluice-echo": "1"}
Bring = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def house(start_shared_gateway: Any) -> Any:
    """A gateway whose operator allows every address: the simulator is at one that is not public."""
    return start_shared_gateway("--simulate", custom_providers={"allow_http": True, "allow_private": True})


@pytest.fixture(scope="module")
def simulator(house: Any, provider_of: Callable[[Any], Any]) -> str:
    return f"http://{provider_of(house).authority}"


@pytest.fixture
def bring(house: Any, simulator: str) -> Bring:
    """`bring("/openai", enable=False)`: a provider at this path of the simulator."""

    def make(path: str = "/openai", **fields: Any) -> dict[str, Any]:
        slug = f"own-{uuid4().hex[:8]}"
        wanted = {"name": slug, "slug": slug, "base_url": simulator + path, "enable": True, **fields}
        answer = house.manage("POST", "/custom-providers", json=wanted)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()["result"]
        return made

    return make


def post(house: Any, made: dict[str, Any], path: str = "v1/chat/completions", body: Any = CHAT, **headers: str) -> Any:
    return house.http.post(f"/v1/local/default/custom-{made['slug']}/{path}", json=body, headers=headers)


def test_a_native_call_is_appended_to_the_base_url(house: Any, bring: Bring):
    made = bring("/openai/")
    reply = post(house, made, "any/path?x=1", **ECHO)
    assert (reply.status_code, reply.json()["target"]) == (200, "/openai/any/path?x=1")
    log = house.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["path"], log["cost"]) == (f"custom-{made['slug']}", "any/path", None)


def test_its_headers_take_the_place_of_the_clients(house: Any, bring: Bring):
    made = bring(headers=json.dumps({"Authorization": "Bearer theirs", "X-Team": "a"}))
    reply = post(house, made, **ECHO, Authorization="Bearer dummy", **{"x-other": "kept"})
    seen = [(name.lower(), value) for name, value in reply.json()["headers"]]
    assert [value for name, value in seen if name == "authorization"] == ["Bearer theirs"]
    assert ("x-team", "a") in seen
    assert ("x-other", "kept") in seen


def test_headers_of_its_own_will_do_where_the_account_must_bring_the_key(house: Any, bring: Bring):
    keyed, keyless = bring(headers='{"X-Team-Key": "theirs"}'), bring()
    only_own = {"cf-aig-no-wholesale": "true"}
    reply = post(house, keyed, **ECHO, **only_own)
    assert ["X-Team-Key", "theirs"] in reply.json()["headers"]
    assert post(house, keyless, **only_own).json()["internalCode"] == 2043
    wanted = {"alias": "a", "default_config": True, "provider_slug": f"custom-{keyless['slug']}", "secret": "sk-stored"}
    assert house.manage("POST", "/gateways/default/provider_configs", json=wanted).status_code == 200
    reply = post(house, keyless, **ECHO, **only_own)
    assert ["Authorization", "Bearer sk-stored"] in reply.json()["headers"]
    house.manage("DELETE", f"/custom-providers/{keyless['id']}")
    bring(slug=keyless["slug"])
    assert post(house, keyless, **only_own).json()["internalCode"] == 2043


def test_a_slug_that_begins_with_the_prefix_has_it_twice(house: Any, bring: Bring):
    made = bring(slug=f"Custom-{uuid4().hex[:8]}")
    reply = house.http.post(f"/v1/local/default/CUSTOM-{made['slug']}/v1/chat/completions", json=CHAT)
    assert reply.status_code == 200
    assert house.log(reply.headers["cf-aig-log-id"])["provider"] == f"custom-{made['slug'].lower()}"


@pytest.mark.parametrize("path", ["/openai", "/openai/v1", "/openai/v1/"])
def test_the_unified_endpoint_finds_its_chat_completions(house: Any, bring: Bring, path: str):
    made = bring(path)
    body = {**CHAT, "model": f"custom-{made['slug']}/org/model"}
    reply = house.http.post("/v1/local/default/compat/chat/completions", json=body, headers=ECHO)
    assert (reply.status_code, reply.json()["target"]) == (200, "/openai/v1/chat/completions")
    log = house.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["model"]) == (f"custom-{made['slug']}", "org/model")


HELLO = [{"role": "user", "content": "hello"}]
BY_MODEL_ID: list[tuple[str, dict[str, Any], str]] = [
    ("v1/chat/completions", {"messages": HELLO}, "chat/completions"),
    ("v1/responses", {"input": "hello"}, "responses"),
    ("v1/messages", {"messages": HELLO, "max_tokens": 50}, "chat/completions"),
    ("run", {"input": {"messages": HELLO}}, "chat/completions"),
    ("run", {"input": {"prompt": "hello"}}, "chat/completions"),
]


@pytest.mark.parametrize("base", ["/openai", "/openai/v1"])
@pytest.mark.parametrize(("path", "body", "logged"), BY_MODEL_ID)
def test_cloudflares_own_paths_find_it_by_the_id_of_its_model(
    house: Any, bring: Bring, path: str, body: dict[str, Any], logged: str, base: str
):
    made = bring(base, headers='{"Authorization": "Bearer theirs"}')
    headers = {"authorization": f"Bearer {house.token}"}
    sent = {**body, "model": f"custom-{made['slug']}/org/m"}
    reply = house.http.post(f"/client/v4/accounts/local/ai/{path}", json=sent, headers=headers)
    assert (reply.status_code, "hello" in reply.text) == (200, True)
    log = house.log(reply.headers["cf-aig-log-id"])
    said = (log["provider"], log["model"], log["path"], log["request_type"], log["success"])
    in_path = logged if base.endswith("v1") else f"v1/{logged}"
    assert said == (f"custom-{made['slug']}", "org/m", in_path, "rest", True)


def test_cloudflares_own_paths_call_a_model_of_nobody_not_found(house: Any, bring: Bring):
    made = bring(enable=False)
    model = f"custom-{made['slug']}/m"
    headers = {"authorization": f"Bearer {house.token}"}
    for path, body in (("v1/chat/completions", {"messages": HELLO}), ("run", {"input": {"prompt": "x"}})):
        reply = house.http.post(f"/client/v4/accounts/local/ai/{path}", json={**body, "model": model}, headers=headers)
        (error,) = reply.json()["errors"]
        assert (reply.status_code, error) == (404, {"code": 7003, "message": f"Model not found: {model}"})


def step(made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"provider": f"custom-{made['slug']}", "endpoint": "v1/chat/completions", "query": CHAT, **fields}


def test_a_universal_request_falls_back_from_one_to_another(house: Any, bring: Bring):
    first, second = bring(), bring(headers='{"x-sluice-echo": "1"}')
    failing = step(first, query={**CHAT, "model": "a-model~status-500"})
    reply = house.universal([failing, step(second)])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    rows = house.rows(reply, 2)
    assert [row["provider"] for row in rows] == [f"custom-{first['slug']}", f"custom-{second['slug']}"]


@pytest.mark.parametrize("unified", [False, True])
def test_a_step_that_waits_for_words_is_completed_too(house: Any, bring: Bring, unified: bool):
    made = bring("/openai/v1" if unified else "/openai", headers='{"x-sluice-echo": "1"}')
    query = {**CHAT, "messages": [{"role": "user", "content": "<prompt-response id='a' />"}]}
    following = step(made, query=query)
    if unified:
        following["provider"], following["endpoint"] = "compat", "chat/completions"
        query["model"] = f"custom-{made['slug']}/m"
    first = {"provider": "openai", "endpoint": "chat/completions", "query": CHAT, "id": "a"}
    reply = house.universal([{**first, "option": {"onComplete": [following]}}])
    assert (reply.status_code, reply.json()["target"]) == (200, "/openai/v1/chat/completions")


async def test_the_universal_websocket_streams_from_one(house: Any, bring: Bring, talk: Any):
    made = bring()
    async with talk(house) as client:
        messages = await client.ask(step(made, query={**CHAT, "stream": True}))
    assert messages[-1]["type"] == "universal.done"
    assert len(messages) > 2


async def test_a_websocket_is_relayed_to_one(house: Any, bring: Bring):
    made = bring("/openai/v1", headers='{"X-Team": "a"}')
    url = f"ws://127.0.0.1:{house.port}/v1/local/default/custom-{made['slug']}/realtime?model=gpt-realtime"
    async with asyncio.timeout(20), websockets.connect(url, additional_headers=house.auth, proxy=None) as connection:
        assert json.loads(await connection.recv())["type"] == "session.created"
        assert connection.response is not None
        log_id = connection.response.headers["cf-aig-log-id"]
    log = await asyncio.to_thread(house.log, log_id)
    assert (log["provider"], log["request_type"]) == (f"custom-{made['slug']}", "realtime")


@pytest.mark.parametrize("way", ["native", "universal", "compat"])
def test_one_that_leads_back_to_its_gateway_ends(house: Any, bring: Bring, way: str):
    slug = f"circle-{uuid4().hex[:8]}"
    gateway = f"http://127.0.0.1:{house.port}/v1/local/default"
    made = bring(
        slug=slug,
        base_url=f"{gateway}/compat" if way == "compat" else f"{gateway}/custom-{slug}",
        headers=json.dumps({"Authorization": f"Bearer {house.token}"}),
    )
    if way == "native":
        reply = post(house, made)
    elif way == "universal":
        reply = house.universal([step(made)])
    else:
        asked = {**CHAT, "model": f"custom-{slug}/" * 8 + "m"}
        reply = house.http.post("/v1/local/default/compat/chat/completions", json=asked)
    assert (reply.status_code, reply.json()["internalCode"]) == (508, 2005)
    assert "too many gateways" in reply.json()["description"]


@pytest.mark.parametrize("brought", [True, False])
def test_one_that_is_not_enabled_is_no_provider(house: Any, bring: Bring, brought: bool):
    made = bring(enable=False) if brought else {"slug": "nobody-has-it"}
    unified = {**CHAT, "model": f"custom-{made['slug']}/m"}
    for refused in (
        post(house, made),
        house.universal([step(made)]),
        house.http.post("/v1/local/default/compat/chat/completions", json=unified),
    ):
        body = refused.json()
        assert (refused.status_code, body["internalCode"]) == (400, 2008)
        assert made["slug"] in body["description"]


def test_a_change_is_in_force_for_the_next_call(house: Any, bring: Bring, simulator: str):
    made = bring()
    path = f"/custom-providers/{made['id']}"
    assert post(house, made, **ECHO).json()["target"].startswith("/openai/")
    assert house.manage("PATCH", path, json={"base_url": simulator + "/groq/x"}).status_code == 200
    assert post(house, made, **ECHO).json()["target"].startswith("/groq/x/v1/")
    house.manage("PATCH", path, json={"enable": False})
    assert post(house, made).json()["internalCode"] == 2008
    house.manage("PATCH", path, json={"enable": True})
    assert post(house, made, **ECHO).status_code == 200
    assert house.manage("DELETE", path).status_code == 200
    assert post(house, made).json()["internalCode"] == 2008


def test_another_account_does_not_have_it(house: Any, bring: Bring):
    made = bring()
    house.cli("account", "create", "acme")
    token = house.cli("token", "create", "--account", "acme", "--permissions", "run,edit")["token"]
    url = f"/v1/acme/default/custom-{made['slug']}/v1/chat/completions"
    refused = house.http.post(url, json=CHAT, headers={"cf-aig-authorization": f"Bearer {token}"})
    assert refused.json()["internalCode"] == 2008
    listed = house.http.get(
        "/client/v4/accounts/acme/ai-gateway/custom-providers", headers={"authorization": f"Bearer {token}"}
    )
    assert listed.json()["result"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_accounts_own_prices_make_the_cost(house: Any, bring: Bring, stream: bool):
    made = bring()
    price = {"account_provider_id": made["id"], "model": "a-", "model_rule": "starts-with"}
    answer = house.manage("POST", "/custom-providers/costs", json={**price, "cost_in": 0.001, "cost_out": 0.01})
    assert answer.status_code == 200, answer.text
    body = {**CHAT, "stream": stream, "stream_options": {"include_usage": True}} if stream else CHAT
    log = house.log(post(house, made, body=body).headers["cf-aig-log-id"])
    assert log["tokens_in"] > 0
    assert log["cost"] == pytest.approx(log["tokens_in"] * 0.001 + log["tokens_out"] * 0.01, abs=1e-9)
    other = house.log(post(house, made, body={**CHAT, "model": "b"}).headers["cf-aig-log-id"])
    assert (other["tokens_in"] > 0, other["cost"]) == (True, None)


def test_models_that_a_price_names_exactly_are_listed(house: Any, bring: Bring):
    made, off = bring(slug=f"Models-{uuid4().hex[:8]}"), bring(enable=False)
    prices = [
        (made, "b/second", "equals", True),
        (made, "first", "equals", True),
        (made, "part", "contains", True),
        (made, "not-in-force", "equals", False),
        (off, "none", "equals", True),
    ]
    for provider, model, rule, enable in prices:
        price = {"account_provider_id": provider["id"], "model": model, "model_rule": rule, "enable": enable}
        assert house.manage("POST", "/custom-providers/costs", json={**price, "cost_in": 0.001}).status_code == 200
    listed = house.http.get("/v1/local/default/compat/models").json()["data"]
    own = [
        model["id"] for model in listed if model["owned_by"] in (f"custom-{one['slug'].lower()}" for one in (made, off))
    ]
    name = f"custom-{made['slug'].lower()}"
    assert own == [f"{name}/b/second", f"{name}/first"]


def test_a_name_that_leads_inside_is_not_dialled(gateway: Any):
    with closing(socket.create_server(("127.0.0.1", 0))) as inside:
        inside.setblocking(False)
        port = inside.getsockname()[1]
        slugs = {}
        for host in (f"localhost:{port}", f"nothing.invalid:{port}"):
            slug = f"inside-{uuid4().hex[:8]}"
            wanted = {"name": slug, "slug": slug, "base_url": f"https://{host}/v1", "enable": True}
            slugs[host] = gateway.manage("POST", "/custom-providers", json=wanted).json()["result"]["slug"]
        told = []
        for host, slug in slugs.items():
            reply = gateway.http.post(f"/v1/local/default/custom-{slug}/chat/completions", json=CHAT)
            log = gateway.log(reply.headers["cf-aig-log-id"])
            assert (reply.status_code, reply.json()["internalCode"], log["error_code"]) == (400, 2005, 2005)
            name = host.partition(":")[0]
            told.append((reply.json()["description"], log["error_message"].replace(name, "it")))
        assert told[0] == told[1]
        with pytest.raises(BlockingIOError):
            inside.accept()


@pytest.mark.parametrize(
    "base_url",
    ["http://api.example.com", "https://127.0.0.1", "https://[::ffff:10.0.0.1]/v1", "https://169.254.169.254"],
)
def test_an_address_that_may_not_be_is_refused_at_once(gateway: Any, base_url: str):
    wanted = {"name": "x", "slug": "x", "base_url": base_url}
    refused = gateway.manage("POST", "/custom-providers", json=wanted)
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["code"], error["path"]) == (400, 1002, ["body", "base_url"])
