"""The official `cloudflare` SDK, told nothing but a base URL and a token."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import cloudflare
import pytest

SETTINGS: Any = {
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}


@pytest.fixture
def api(gateway: Any) -> Iterator[cloudflare.Cloudflare]:
    with cloudflare.Cloudflare(
        api_token=gateway.token, base_url=gateway.base_url + "/client/v4", max_retries=0, timeout=20
    ) as made:
        yield made


@pytest.fixture
def own(api: cloudflare.Cloudflare) -> Iterator[str]:
    """A gateway of the test's own."""
    name = "sdk-" + uuid4().hex[:8]
    assert api.ai_gateway.create(account_id="local", id=name, **SETTINGS) is not None
    yield name
    api.ai_gateway.delete(name, account_id="local")


def test_a_gateway_is_created_read_changed_and_deleted(api: cloudflare.Cloudflare):
    name = "sdk-" + uuid4().hex[:8]
    made = api.ai_gateway.create(account_id="local", id=name, authentication=True, **SETTINGS)
    assert (made.id, made.collect_logs, made.authentication, made.cache_ttl) == (name, True, True, 0)
    assert made.created_at <= made.modified_at
    got = api.ai_gateway.get(name, account_id="local")
    assert got is not None
    assert got.model_dump() == made.model_dump()
    changed = api.ai_gateway.update(name, account_id="local", **{**SETTINGS, "collect_logs": False})
    assert (changed.collect_logs, changed.authentication) == (False, True)
    assert changed.created_at == made.created_at
    gone = api.ai_gateway.delete(name, account_id="local")
    assert gone.id == name
    with pytest.raises(cloudflare.NotFoundError) as raised:
        api.ai_gateway.get(name, account_id="local")
    assert raised.value.errors[0].code == 7002


def test_gateways_are_listed_page_by_page(api: cloudflare.Cloudflare):
    names = [f"sdk-list-{uuid4().hex[:8]}" for _ in range(5)]
    for name in names:
        api.ai_gateway.create(account_id="local", id=name, **SETTINGS)
    listed = [one.id for one in api.ai_gateway.list(account_id="local", per_page=2)]
    assert len(listed) == len(set(listed))
    assert set(names) <= set(listed)
    found = [one.id for one in api.ai_gateway.list(account_id="local", search=names[3])]
    assert found == [names[3]]
    for name in names:
        api.ai_gateway.delete(name, account_id="local")


def test_a_bad_gateway_is_refused_with_the_field_at_fault(api: cloudflare.Cloudflare):
    with pytest.raises(cloudflare.BadRequestError) as raised:
        api.ai_gateway.create(account_id="local", id="no spaces allowed", **SETTINGS)
    assert raised.value.errors[0].code == 7001


def test_a_wrong_token_is_refused(api: cloudflare.Cloudflare):
    with pytest.raises((cloudflare.AuthenticationError, cloudflare.PermissionDeniedError)) as raised:
        next(iter(api.with_options(api_token="nonsense").ai_gateway.list(account_id="local")))
    assert raised.value.errors[0].code == 10000


def test_a_custom_provider_is_created_listed_read_and_deleted(api: cloudflare.Cloudflare):
    slug = "sdk-" + uuid4().hex[:8]
    wanted: Any = {"name": "Ours", "slug": slug, "base_url": "https://api.example.com/v1", "headers": '{"X-A": "b"}'}
    made = api.ai_gateway.custom_providers.create(account_id="local", enable=True, position=3, **wanted)
    assert (made.slug, made.base_url, made.enable, made.beta, made.position) == (
        slug,
        wanted["base_url"],
        True,
        False,
        3,
    )
    assert (made.headers, made.created_at) == (wanted["headers"], made.modified_at)
    got = api.ai_gateway.custom_providers.get(made.id, account_id="local")
    assert got is not None
    assert got.model_dump() == made.model_dump()
    listed = list(api.ai_gateway.custom_providers.list(account_id="local", enable=True, search=slug, per_page=1))
    assert [one.id for one in listed] == [made.id]
    with pytest.raises(cloudflare.ConflictError) as taken:
        api.ai_gateway.custom_providers.create(account_id="local", **wanted)
    assert taken.value.errors[0].code == 1003
    with pytest.raises(cloudflare.BadRequestError) as inside:
        api.ai_gateway.custom_providers.create(account_id="local", **{**wanted, "base_url": "https://10.0.0.1"})
    assert inside.value.errors[0].code == 1002
    assert api.ai_gateway.custom_providers.delete(made.id, account_id="local").id == made.id
    with pytest.raises(cloudflare.NotFoundError) as raised:
        api.ai_gateway.custom_providers.get(made.id, account_id="local")
    assert raised.value.errors[0].code == 1004


@pytest.mark.parametrize("provider", ["openai", "universal"])
def test_the_url_of_a_provider_leads_to_it(api: cloudflare.Cloudflare, gateway: Any, own: str, provider: str):
    url = api.ai_gateway.urls.get(provider, account_id="local", gateway_id=own)
    base = f"{gateway.base_url}/v1/local/{own}/"
    assert url == (base if provider == "universal" else base + provider)


def test_a_call_through_a_gateway_is_listed_and_read_with_both_bodies(
    api: cloudflare.Cloudflare, gateway: Any, own: str
):
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}, indent=3).encode()
    url = f"{gateway.inference_url(gateway=own)}/v1/chat/completions"
    sent = {"content-type": "application/json", "cf-aig-metadata": '{"team": "north", "n": 3}'}
    reply = gateway.http.post(url, content=body, headers=sent)
    log_id = reply.headers["cf-aig-log-id"]
    gateway.log(log_id, own)
    (listed,) = api.ai_gateway.logs.list(own, account_id="local")
    usage = reply.json()["usage"]
    assert (listed.id, listed.provider, listed.model, listed.path) == (
        log_id,
        "openai",
        "gpt-4o-mini",
        "v1/chat/completions",
    )
    assert (listed.tokens_in, listed.tokens_out) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert (listed.success, listed.cached, listed.status_code, listed.step) == (True, False, 200, 0)
    assert listed.cost is not None
    assert dict(listed)["metadata"] == {"team": "north", "n": 3}  # an object, whatever the SDK's type says
    log = api.ai_gateway.logs.get(log_id, account_id="local", gateway_id=own)
    assert (log.id, log.cost, log.created_at) == (listed.id, listed.cost, listed.created_at)
    assert (log.request_head, log.request_head_complete) == (body.decode(), True)
    assert (log.response_size, log.request_size) == (len(reply.content), len(body))
    asked = api.ai_gateway.logs.with_raw_response.request(log_id, account_id="local", gateway_id=own)
    answered = api.ai_gateway.logs.with_raw_response.response(log_id, account_id="local", gateway_id=own)
    assert (asked.read(), answered.read()) == (body, reply.content)


def test_logs_are_listed_page_by_page_and_in_the_order_asked(api: cloudflare.Cloudflare, gateway: Any, own: str):
    ids = []
    for number in range(5):
        url = f"{gateway.inference_url(gateway=own)}/v1/chat/completions"
        reply = gateway.http.post(url, json={"model": f"model-{number}", "messages": []})
        ids.append(reply.headers["cf-aig-log-id"])
    gateway.logs(5, own)
    newest = [log.id for log in api.ai_gateway.logs.list(own, account_id="local", per_page=2)]
    oldest = [log.id for log in api.ai_gateway.logs.list(own, account_id="local", per_page=2, order_by_direction="asc")]
    assert newest == ids[::-1]
    assert oldest == ids
    models = [log.model for log in api.ai_gateway.logs.list(own, account_id="local", order_by="model")]
    assert models == [f"model-{number}" for number in range(4, -1, -1)]
    chosen = [
        {"key": "model", "operator": "eq", "value": ["model-1", "model-3", "model-4"]},
        {"key": "model", "operator": "neq", "value": ["model-3"]},
    ]
    filtered = api.ai_gateway.logs.list(own, account_id="local", filters=chosen, meta_info=True)
    assert [log.id for log in filtered] == [ids[4], ids[1]]
    assert [log.id for log in api.ai_gateway.logs.list(own, account_id="local", search=ids[2])] == [ids[2]]


def test_provider_keys_are_stored_listed_rotated_and_deleted(api: cloudflare.Cloudflare, own: str):
    configs, at = api.ai_gateway.provider_configs, {"account_id": "local", "gateway_id": own}
    key = "sk-sdk-0123456789-0123456789-last"
    made = configs.create(alias="main", default_config=True, provider_slug="openai", secret=key, rate_limit=5, **at)
    assert (made.alias, made.default_config, made.gateway_id, made.provider_slug) == ("main", True, own, "openai")
    assert (made.secret_preview, made.secret_id) == ("****last", f"{own}_openai_main")
    assert (made.rate_limit, made.rate_limit_period) == (5, 60)
    for alias in ("a", "b", "c"):
        configs.create(alias=alias, default_config=False, provider_slug="openai", secret=key, **at)
    assert [one.alias for one in configs.list(own, account_id="local", per_page=2)] == ["main", "a", "b", "c"]
    path = f"/accounts/local/ai-gateway/gateways/{own}/provider_configs/{made.id}"  # the SDK has no methods for these
    rotated: Any = api.put(path, body={"secret": key[::-1]}, cast_to=object)
    assert rotated["result"]["secret_preview"] == "****" + key[::-1][-4:]
    api.delete(path, cast_to=object)
    assert [one.alias for one in configs.list(own, account_id="local")] == ["a", "b", "c"]
    with pytest.raises(cloudflare.BadRequestError) as raised:
        configs.create(alias="a", default_config=False, provider_slug="openai", secret=key, **at)
    assert raised.value.errors[0].code == 7001
    assert key not in str(raised.value)


def test_an_unknown_log_is_not_found(api: cloudflare.Cloudflare, own: str):
    with pytest.raises(cloudflare.NotFoundError) as raised:
        api.ai_gateway.logs.get("01ARZ3NDEKTSV4RRFFQ69G5FAV", account_id="local", gateway_id=own)
    assert raised.value.errors[0].code == 7002


def test_a_log_is_rated_and_labelled_right_after_its_reply(api: cloudflare.Cloudflare, gateway: Any, own: str):
    log_id = called(gateway, own)
    edit = api.ai_gateway.logs.edit
    edited = edit(log_id, account_id="local", gateway_id=own, feedback=-1, score=87.5, metadata={"team": "a", "n": 1})
    assert edited == {}
    log = dict(api.ai_gateway.logs.get(log_id, account_id="local", gateway_id=own))
    assert (log["feedback"], log["score"], log["metadata"]) == (-1, 87.5, {"team": "a", "n": 1})
    edit(log_id, account_id="local", gateway_id=own, feedback=1.0)
    edit(log_id, account_id="local", gateway_id=own, score=None, metadata=None)
    log = dict(api.ai_gateway.logs.get(log_id, account_id="local", gateway_id=own))
    assert (log["feedback"], log["score"], log["metadata"]) == (1, None, {})


def test_a_rating_that_makes_no_sense_is_refused(api: cloudflare.Cloudflare, gateway: Any, own: str):
    log_id = called(gateway, own)
    for wrong in ({"feedback": 5}, {"score": 101}, {"metadata": {"a": {"b": 1}}}):
        arguments: dict[str, Any] = wrong
        with pytest.raises(cloudflare.BadRequestError) as raised:
            api.ai_gateway.logs.edit(log_id, account_id="local", gateway_id=own, **arguments)
        assert raised.value.errors[0].code == 7001
    with pytest.raises(cloudflare.NotFoundError) as missing:
        api.ai_gateway.logs.edit("01ARZ3NDEKTSV4RRFFQ69G5FAV", account_id="local", gateway_id=own, feedback=1)
    assert missing.value.errors[0].code == 7002


def test_logs_are_deleted_by_id_and_in_order(api: cloudflare.Cloudflare, gateway: Any, own: str):
    ids = [called(gateway, own) for _ in range(6)]
    filters: Any = [{"key": "id", "operator": "eq", "value": ids[4:]}]
    deleted = api.ai_gateway.logs.delete(own, account_id="local", filters=filters)
    assert deleted.success is True

    def left() -> list[str]:
        return [log.id for log in api.ai_gateway.logs.list(own, account_id="local", order_by_direction="asc")]

    gateway.logs(4, own)
    assert left() == ids[:4]
    assert api.ai_gateway.logs.delete(own, account_id="local", limit=1, order_by_direction="asc").success is True
    assert left() == ids[1:4]
    assert api.ai_gateway.logs.delete(own, account_id="local").success is True
    assert left() == []


def called(gateway: Any, own: str) -> str:
    """The id of a log whose reply has just come."""
    url = f"{gateway.inference_url(gateway=own)}/v1/chat/completions"
    return str(gateway.http.post(url, json={"model": "gpt-4o-mini", "messages": []}).headers["cf-aig-log-id"])
