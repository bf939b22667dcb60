"""Custom providers and the prices of their models by REST (contract 9.8)."""

import json
from typing import Any

import pytest

PATH = "/custom-providers"
COSTS = f"{PATH}/costs"
PLAIN = {"name": "Ours", "slug": "ours", "base_url": "https://api.example.com/v1"}


async def make(console: Any, **fields: Any) -> dict[str, Any]:
    answer = await console.operator.post(PATH, json={**PLAIN, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["result"]
    return made


async def test_one_is_made_shown_changed_and_deleted(console):
    before = console.generations.of("local")
    made = await make(console, description="d", headers='{"X-A":"b"}')
    assert console.generations.of("local") > before
    assert {name: made[name] for name in PLAIN} == PLAIN
    assert (made["enable"], made["beta"], made["account_id"], made["link"]) == (False, False, "local", None)
    assert made["logo"]
    url = f"{PATH}/{made['id']}"
    changed = (await console.operator.patch(url, json={"enable": True, "description": None})).json()["result"]
    assert changed == {**made, "enable": True, "description": None, "modified_at": changed["modified_at"]}
    assert (await console.operator.get(url)).json()["result"] == changed
    assert (await console.operator.delete(url)).json()["result"] == changed
    assert (await console.operator.get(url)).status_code == 404


ALLOW = "(the operator can allow {}, by custom_providers.allow_{})"


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("http://api.example.com", f"The URL must begin with https:// {ALLOW.format('http', 'http')}"),
        ("ftp://api.example.com", f"The URL must begin with https:// {ALLOW.format('http', 'http')}"),
        ("api.example.com", f"The URL must begin with https:// {ALLOW.format('http', 'http')}"),
        ("https://", "Not a URL"),
        ("https://a.example:99999", "Not a URL"),
        ("https://a.example/a b", "Not a URL"),
        ("https://a.example/\r\nX-A: b", "Not a URL"),
        ("https://a.example/ä", "Not a URL"),
        ("https://me:secret@a.example", "The URL must have no user, query or fragment"),
        ("https://a.example?x=1", "The URL must have no user, query or fragment"),
        ("https://a.example/#x", "The URL must have no user, query or fragment"),
        ("https://a.example/x/../y", "The URL must not lead upwards"),
        ("https://" + "a" * 70 + "ä.example", "The host is no name"),
        ("https://10.1.2.3/v1", f"The address is not public {ALLOW.format('it', 'private')}"),
        ("https://[::1]", f"The address is not public {ALLOW.format('it', 'private')}"),
        ("https://[64:ff9b::7f00:1]", f"The address is not public {ALLOW.format('it', 'private')}"),
    ],
)
async def test_an_address_that_cannot_be_called_is_refused(console, problem, base_url, message):
    refused = await console.operator.post(PATH, json={**PLAIN, "base_url": base_url})
    assert problem(refused) == (400, 1002, message, ["body", "base_url"])
    made = await make(console)
    changed = await console.operator.patch(f"{PATH}/{made['id']}", json={"base_url": base_url})
    assert problem(changed) == (400, 1002, message, ["body", "base_url"])


async def test_a_slug_is_unique_whatever_its_case(console, problem):
    made = await make(console)
    other = await make(console, slug="other")
    message = (409, 1003, "A custom provider with this slug exists already", ["body", "slug"])
    assert problem(await console.operator.post(PATH, json={**PLAIN, "slug": "OURS"})) == message
    assert problem(await console.operator.patch(f"{PATH}/{other['id']}", json={"slug": "ours"})) == message
    assert (await console.operator.patch(f"{PATH}/{made['id']}", json={"slug": "Ours"})).status_code == 200
    for slug in ("", "a b", "ö", "-a", "a_b", "a" * 65):
        assert problem(await console.operator.post(PATH, json={**PLAIN, "slug": slug}))[1:] == (
            7001,
            "Invalid",
            ["body", "slug"],
        )


@pytest.mark.parametrize(
    "headers",
    [
        "nonsense",
        "[]",
        '{"a": 1}',
        '{"a b": "c"}',
        '{"Host": "inside"}',
        '{"Content-Length": "0"}',
        '{"cf-aig-metadata": "{}"}',
        '{"A": "1", "a": "2"}',
        '{"a": "secret\\r\\nb: c"}',
        json.dumps({f"h{number}": "" for number in range(51)}),
    ],
)
async def test_headers_that_cannot_be_sent_are_refused(console, problem, headers):
    status, code, message, path = problem(await console.operator.post(PATH, json={**PLAIN, "headers": headers}))
    assert (status, code, path) == (400, 7001, ["body", "headers"])
    assert message.startswith("Headers must ")
    assert "secret" not in message


async def test_the_list_is_filtered_ordered_and_paged(console, problem):
    await make(console, name="b", slug="one", enable=True)
    await make(console, name="C", slug="two", beta=True)
    await make(console, name="a", slug="three", enable=True, beta=True)

    async def slugs(**query: Any) -> list[str]:
        listed = (await console.operator.get(PATH, params=query)).json()
        return [found["slug"] for found in listed["result"]]

    assert await slugs() == ["three", "one", "two"]
    assert await slugs(order_by="name DESC") == ["two", "one", "three"]
    assert await slugs(order_by="slug") == ["one", "three", "two"]
    assert await slugs(enable="true") == ["three", "one"]
    assert await slugs(beta="false") == ["one"]
    assert await slugs(search="T") == ["three", "two"]
    page = (await console.operator.get(PATH, params={"page": 2, "per_page": 2})).json()
    assert page["result_info"] == {"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2}
    assert await slugs(page=3, per_page=2) == []
    assert problem(await console.operator.get(PATH, params={"order_by": "headers"}))[:2] == (400, 7001)


async def test_values_of_headers_are_for_those_who_may_write_them(console, problem):
    made = await make(console, headers='{"Authorization": "Bearer secret"}')
    for path in (PATH, f"{PATH}/{made['id']}"):
        assert "secret" not in (await console.relayed(console.token("read")).get(path)).text
        assert "secret" in (await console.relayed(console.token("edit")).get(path)).text
    assert problem(await console.relayed(console.token("read")).post(PATH, json=PLAIN))[0] == 403
    assert problem(await console.relayed(console.token("run")).get(PATH))[0] == 403
    assert problem(await console.relayed(console.token("edit", gateway="default")).get(PATH))[0] == 403
    assert "secret" not in repr(console.desk.customs.providers("local"))
    assert "secret" not in repr(console.desk.customs.enabled("local", "custom-ours"))


async def test_an_account_may_not_have_too_many(console, problem, monkeypatch):
    monkeypatch.setattr("sluice.storage.embedded.custom_providers.MOST_PROVIDERS", 1)
    await make(console)
    refused = problem(await console.operator.post(PATH, json={**PLAIN, "slug": "two"}))
    assert refused == (400, 7001, "The account may have no more than 1 custom providers", ["body"])


async def test_its_url_is_told_once_it_can_be_called(console, problem):
    made = await make(console)
    url = "/gateways/default/url/custom-ours"
    assert problem(await console.operator.get(url))[0] == 404
    await console.operator.patch(f"{PATH}/{made['id']}", json={"enable": True})
    answer = await console.operator.get(url)
    assert answer.json()["result"] == "https://ai.example.com/v1/local/default/custom-ours"


async def test_a_price_is_made_shown_changed_and_deleted(console, problem):
    provider = (await make(console))["id"]
    wanted = {"account_provider_id": provider, "model": "m", "cost_in": 1e-6, "token_pricing": {"output_tokens": 2e-6}}
    made = (await console.operator.post(COSTS, json=wanted)).json()["result"]
    assert {name: made[name] for name in wanted} == wanted
    assert (made["model_rule"], made["cost_type"], made["enable"], made["cost_out"]) == ("equals", "tokens", True, None)
    url = f"{COSTS}/{made['id']}"
    changed = (await console.operator.patch(url, json={"model_rule": "contains"})).json()["result"]
    assert changed == {**made, "model_rule": "contains", "modified_at": changed["modified_at"]}
    assert (await console.operator.get(url)).json()["result"] == changed
    for query, count in (({"model_rule": "contains"}, 1), ({"enable": "false"}, 0), ({"search": "M"}, 1)):
        assert (await console.operator.get(COSTS, params=query)).json()["result_info"]["total_count"] == count
    assert problem(await console.operator.patch(url, json={"account_provider_id": "x"}))[:2] == (404, 1004)
    assert (await console.operator.delete(url)).json()["result"] == changed
    assert problem(await console.operator.get(url))[:2] == (404, 7002)
    await console.operator.post(COSTS, json=wanted)
    await console.operator.delete(f"{PATH}/{provider}")
    assert (await console.operator.get(COSTS)).json()["result"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"cost_in": None},
        {"cost_in": -1},
        {"model": ""},
        {"model_rule": "ends-with"},
        {"cost_type": "calls"},
        {"token_pricing": {"output_image_count": 1}},
    ],
)
async def test_a_price_that_cannot_be_charged_is_refused(console, problem, fields):
    provider = (await make(console))["id"]
    wanted = {"account_provider_id": provider, "model": "m", "cost_in": 1, **fields}
    assert problem(await console.operator.post(COSTS, json=wanted))[:2] == (400, 7001)


async def test_what_is_not_there_is_not_found(console, problem):
    for method in ("GET", "PATCH", "DELETE"):
        for path, code in ((f"{PATH}/nothing", 1004), (f"{COSTS}/nothing", 7002)):
            body = b"{}" if method == "PATCH" else None
            refused = await console.operator.request(method, path, content=body)
            assert problem(refused)[:2] == (404, code)
    missing = {"account_provider_id": "nothing", "model": "m", "cost_in": 1}
    assert problem(await console.operator.post(COSTS, json=missing))[:2] == (404, 1004)
