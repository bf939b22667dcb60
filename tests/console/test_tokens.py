"""Tokens over REST: their text is told once, and nobody grants what they do not hold."""

import re

import pytest


async def test_a_new_token_works_and_its_text_is_told_once(console):
    made = await console.operator.post(
        "/tokens",
        json={
            "name": "ci",
            "permissions": ["read", "run"],
            "gateway": "default",
            "expires_at": "2099-01-02T03:04:05+01:00",
        },
    )
    token = made.json()["result"]
    text = token.pop("token")
    assert re.fullmatch(r"sluice_[A-Za-z0-9_-]{43}", text)
    assert token == {
        "id": token["id"],
        "name": "ci",
        "permissions": ["run", "read"],
        "gateway": "default",
        "created_at": token["created_at"],
        "expires_at": "2099-01-02T02:04:05.000Z",
    }
    assert (await console.relayed(text).get("/gateways/default")).status_code == 200
    listed = (await console.operator.get("/tokens")).json()
    assert token in listed["result"]
    assert listed["result_info"] == {"page": 1, "per_page": 20, "count": 2, "total_count": 2}
    assert text not in str(listed)


async def test_a_rotated_token_keeps_its_id_and_its_old_text_lets_nobody_in(console, problem):
    token = (await console.operator.post("/tokens", json={"permissions": ["read"], "name": "ci"})).json()["result"]
    rotated = (await console.operator.put(f"/tokens/{token['id']}/value", json={})).json()["result"]
    assert rotated.pop("token") != (old := token.pop("token"))
    assert rotated == token
    assert (await console.relayed(old).get("/gateways")).status_code == 401
    again = (await console.operator.put(f"/tokens/{token['id']}/value", json={"grace_s": 60})).json()["result"]
    listed = (await console.operator.get("/tokens")).json()["result"]
    (before,) = [one for one in listed if one["name"] == "ci (before its rotation)"]
    assert (before["permissions"], before["expires_at"] is None) == (["read"], False)
    assert (await console.relayed(again["token"]).get("/gateways")).status_code == 200
    assert problem(await console.operator.put("/tokens/nothing/value", json={}))[:2] == (404, 7002)
    for grace in (-1, 10**9, "soon"):
        assert (await console.operator.put(f"/tokens/{token['id']}/value", json={"grace_s": grace})).status_code == 400


async def test_nobody_gets_the_text_of_a_token_that_may_more(console, problem):
    token = (await console.operator.post("/tokens", json={"permissions": ["run", "edit"]})).json()["result"]
    editor = console.relayed(console.token("edit"))
    assert problem(await editor.put(f"/tokens/{token['id']}/value", json={}))[0] == 403
    assert (await console.relayed(token["token"]).get("/tokens")).status_code == 200


async def test_a_deleted_token_is_returned_without_its_text(console, problem):
    token = (await console.operator.post("/tokens", json={"permissions": ["run"]})).json()["result"]
    del token["token"]
    deleted = await console.operator.delete(f"/tokens/{token['id']}")
    assert deleted.json()["result"] == token
    assert problem(await console.operator.delete(f"/tokens/{token['id']}"))[:2] == (404, 7002)


async def test_tokens_of_another_account_are_neither_seen_nor_deleted(console, problem):
    console.control.create_account("other", "free")
    theirs = console.token("run", account="other")
    assert theirs
    assert len((await console.operator.get("/tokens")).json()["result"]) == 1
    url = "http://console/client/v4/accounts/other/ai-gateway/tokens"
    (token,) = (await console.operator.get(url)).json()["result"]
    assert problem(await console.operator.delete(f"/tokens/{token['id']}"))[:2] == (404, 7002)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ["permissions"]),
        ({"permissions": []}, ["permissions"]),
        ({"permissions": ["everything"]}, ["permissions"]),
        ({"permissions": ["run"], "gateway": "nothing"}, ["gateway"]),
        ({"permissions": ["run"], "expires_at": "tomorrow"}, ["expires_at"]),
        ({"permissions": ["run"], "expires_at": "2099-01-02T03:04:05"}, ["expires_at"]),
        ({"permissions": ["run"], "name": "n" * 201}, ["name"]),
    ],
)
async def test_a_token_that_cannot_be_is_refused(console, problem, body, path):
    status, code, _, where = problem(await console.operator.post("/tokens", json=body))
    assert (status, code, where[:2]) == (400, 7001, ["body", *path])
    assert len((await console.operator.get("/tokens")).json()["result"]) == 1


async def test_nobody_grants_what_they_do_not_hold(console, problem):
    editor = console.relayed(console.token("edit"))
    assert problem(await editor.post("/tokens", json={"permissions": ["run"]}))[:2] == (403, 10000)
    granted = await editor.post("/tokens", json={"permissions": ["read", "metadata_read"]})
    assert granted.status_code == 200
    assert (await console.relayed(console.admin).post("/tokens", json={"permissions": ["run"]})).status_code == 200
