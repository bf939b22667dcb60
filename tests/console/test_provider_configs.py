"""Stored provider keys over REST (contract 9.9): written once, never told again."""

from typing import Any

import pytest

from sluice.values.gateway import GatewayConfig

KEY = "sk-proj-0123456789-0123456789-wxyz"
PATH = "/gateways/default/provider_configs"


def wanted(**fields: Any) -> dict[str, Any]:
    return {"alias": "main", "default_config": True, "provider_slug": "openai", "secret": KEY, **fields}


async def test_a_config_is_made_listed_rotated_and_deleted_and_its_key_never_told(console):
    replies = [await console.operator.post(PATH, json=wanted(rate_limit=100))]
    made = replies[0].json()["result"]
    assert made == {
        "id": made["id"],
        "alias": "main",
        "default_config": True,
        "gateway_id": "default",
        "provider_slug": "openai",
        "secret_id": "default_openai_main",
        "secret_preview": "****wxyz",
        "rate_limit": 100,
        "rate_limit_period": 60,
        "modified_at": made["modified_at"],
    }
    replies.append(await console.operator.get(PATH))
    assert replies[-1].json()["result"] == [made]
    assert replies[-1].json()["result_info"] == {"page": 1, "per_page": 20, "count": 1, "total_count": 1}
    rotated = "sk-proj-0123456789-0123456789-stuv"
    replies.append(await console.operator.put(f"{PATH}/{made['id']}", json={"secret": f" {rotated}\n"}))
    assert replies[-1].json()["result"]["secret_preview"] == "****stuv"
    replies.append(await console.operator.delete(f"{PATH}/{made['id']}"))
    assert replies[-1].json()["result"]["id"] == made["id"]
    assert (await console.operator.get(PATH)).json()["result"] == []
    assert not any(key in reply.text for key in (KEY, rotated) for reply in replies)


async def test_a_provider_is_known_by_each_of_its_names(console):
    made = await console.operator.post(PATH, json=wanted(provider_slug="Google", secret_id="mine"))
    assert made.json()["result"]["provider_slug"] == "google-ai-studio"
    assert made.json()["result"]["secret_id"] == "mine"


async def test_a_document_is_kept_on_one_line_and_none_of_it_shown(console):
    made = await console.operator.post(PATH, json=wanted(secret='{\n  "accessKeyId": "a",\n  "region": "b"\n}\n'))
    assert made.json()["result"]["secret_preview"] == "****"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"secret": None}, ["secret"]),
        ({"secret": "  "}, ["secret"]),
        ({"secret": "sk-a\r\nx-more: 1"}, ["secret"]),
        ({"secret": "sk-ключ"}, ["secret"]),
        ({"secret": "x" * 20_000}, ["secret"]),
        ({"secret": '{"unended": '}, ["secret"]),
        ({"alias": ""}, ["alias"]),
        ({"alias": "a\n"}, ["alias"]),
        ({"provider_slug": "nobody"}, ["provider_slug"]),
        ({"rate_limit": 0}, ["rate_limit"]),
        ({"rate_limit_period": 0}, ["rate_limit_period"]),
        ({"default_config": "yes"}, ["default_config"]),
    ],
)
async def test_what_cannot_be_a_config_is_refused_with_the_field(console, problem, fields, path):
    refused = await console.operator.post(PATH, json=wanted(**fields))
    assert problem(refused)[:2] == (400, 7001)
    assert problem(refused)[3] == ["body", *path]


async def test_a_name_that_is_nearly_a_providers_is_put_right(console, problem):
    refused = await console.operator.post(PATH, json=wanted(provider_slug="Antropic"))
    assert problem(refused)[2] == "There is no provider antropic: is anthropic meant?"
    assert problem(await console.operator.get("/gateways/default/url/opnai"))[2].endswith("is openai meant?")
    assert "sk-a" not in refused.text


async def test_one_config_per_alias_and_one_default_per_provider(console, problem):
    first = (await console.operator.post(PATH, json=wanted())).json()["result"]
    taken = problem(await console.operator.post(PATH, json=wanted(default_config=False)))
    assert (taken[0], taken[3]) == (400, ["body", "alias"])
    second = problem(await console.operator.post(PATH, json=wanted(alias="next")))
    assert (second[0], second[3]) == (400, ["body", "default_config"])
    assert "'main'" in second[2]
    made = (await console.operator.post(PATH, json=wanted(alias="next", default_config=False))).json()["result"]
    moved = await console.operator.put(f"{PATH}/{made['id']}", json={"default_config": True})
    assert moved.json()["result"]["default_config"] is True
    listed = {one["id"]: one["default_config"] for one in (await console.operator.get(PATH)).json()["result"]}
    assert listed == {first["id"]: False, made["id"]: True}
    assert problem(await console.operator.put(f"{PATH}/{made['id']}", json={}))[3] == ["body", "secret"]


async def test_reading_shows_them_and_only_editing_changes_them(console, problem):
    made = (await console.operator.post(PATH, json=wanted())).json()["result"]
    at = f"{PATH}/{made['id']}"
    reader, runner = console.relayed(console.token("read", "run")), console.relayed(console.token("run"))
    assert (await reader.get(PATH)).json()["result"] == [made]
    assert problem(await runner.get(PATH))[0] == 403
    for call in (reader.post(PATH, json=wanted(alias="b")), reader.put(at, json={"secret": KEY}), reader.delete(at)):
        assert problem(await call)[0] == 403
    editor = console.relayed(console.token("edit"))
    assert (await editor.put(at, json={"secret": KEY})).status_code == 200
    console.control.create_gateway("local", "other", GatewayConfig())
    elsewhere = console.relayed(console.token("edit", gateway="other"))
    assert problem(await elsewhere.put(at, json={"secret": KEY}))[0] == 403


async def test_configs_of_another_gateway_or_none_are_not_found(console, problem):
    made = (await console.operator.post(PATH, json=wanted())).json()["result"]
    console.control.create_gateway("local", "other", GatewayConfig())
    for gateway in ("nothing", "other"):
        at = f"/gateways/{gateway}/provider_configs/{made['id']}"
        assert problem(await console.operator.put(at, json={"secret": KEY}))[:2] == (404, 7002)
        assert problem(await console.operator.delete(at))[:2] == (404, 7002)
    assert problem(await console.operator.get("/gateways/nothing/provider_configs"))[:2] == (404, 7002)
