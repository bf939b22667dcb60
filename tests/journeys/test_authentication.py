"""Who is let in, by which header, and what of it the provider sees (contract 3.1, 3.2, 0.4)."""

from collections.abc import Callable
from typing import Any

import pytest

UNAUTHORIZED = {
    "success": False,
    "result": [],
    "messages": [],
    "error": [{"code": 2009, "message": "Unauthorized"}],
    "errors": [{"code": 2009, "message": "Unauthorized"}],
    "name": "AiGatewayError",
    "httpCode": 401,
    "internalCode": 2009,
    "message": "Unauthorized",
    "description": "Unauthorized",
}
CARRIERS: dict[str, Callable[[str], dict[str, str]]] = {
    "cf-aig-authorization": lambda token: {"cf-aig-authorization": f"Bearer {token}"},
    "cf-aig-authorization, bare": lambda token: {"cf-aig-authorization": token},
    "CF-AIG-TOKEN": lambda token: {"CF-AIG-TOKEN": f"Bearer {token}"},
    "authorization": lambda token: {"Authorization": f"Bearer {token}"},
    "x-api-key": lambda token: {"x-api-key": token},
    "x-goog-api-key": lambda token: {"x-goog-api-key": token},
    "api-key": lambda token: {"api-key": token},
    "authorization, as replicate has it": lambda token: {"Authorization": f"Token {token}"},
    "authorization, as baseten has it": lambda token: {"Authorization": f"Api-Key {token}"},
}
STRANGERS = ("nothing", "not ours", "unknown", "expired", "may only read", "of another account", "of another gateway")


@pytest.fixture(scope="module")
def house(gateway: Any) -> Any:
    """The shared gateway with two more of its kind: `closed`, which wants a token, and `open`, which does not."""
    for name, flag in (("closed", "--authentication"), ("open", "--open")):
        gateway.cli("gateway", "create", name, flag)
    gateway.cli("account", "create", "neighbours")
    return gateway


@pytest.fixture(scope="module")
def strangers(house: Any) -> dict[str, str | None]:
    """Tokens by why the gateway `closed` does not let them in."""

    def token(*words: str) -> str:
        text: str = house.cli("token", "create", *words)["token"]
        return text

    made = {
        "nothing": None,
        "not ours": "undefined",
        "unknown": "sluice_" + "A" * 43,
        "expired": token("--permissions", "run", "--expires-at", "2020-01-01T00:00:00Z"),
        "may only read": token("--permissions", "read,edit,metadata_read"),
        "of another account": token("--permissions", "run", "--account", "neighbours"),
        "of another gateway": token("--permissions", "run", "--gateway", "open"),
    }
    assert tuple(made) == STRANGERS
    return made


def ask(house: Any, name: str, headers: dict[str, str], account: str = "local") -> Any:
    """What the provider echoes through that gateway, or the refusal."""
    url = f"{house.base_url}/v1/{account}/{name}/openai/v1/chat/completions"
    request = house.http.build_request("POST", url, json={"model": "echo", "messages": []}, headers=headers)
    if "cf-aig-authorization" not in headers:
        del request.headers["cf-aig-authorization"]  # which the fixture's client sends by itself
    return house.http.send(request)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_token_lets_in_by_every_header_and_goes_no_further(house: Any, carrier: str):
    reply = ask(house, "closed", CARRIERS[carrier](house.token))
    assert reply.status_code == 200
    assert house.token not in str(reply.json()["headers"])
    assert not any(name.lower().startswith("cf-aig-") for name, _ in reply.json()["headers"])


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_whom_a_closed_gateway_turns_away(house: Any, strangers: Any, stranger: str, carrier: str):
    token = strangers[stranger]
    reply = ask(house, "closed", CARRIERS[carrier](token) if token else {})
    assert (reply.status_code, reply.json()) == (401, UNAUTHORIZED)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cf-aig-request-id"]
    assert "cf-aig-log-id" not in reply.headers


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_open_gateway_lets_everyone_in(house: Any, strangers: Any, stranger: str):
    token = strangers[stranger]
    reply = ask(house, "open", {"cf-aig-authorization": f"Bearer {token}"} if token else {})
    assert reply.status_code == 200


def test_a_token_of_one_gateway_is_good_for_that_one(house: Any):
    token = house.cli("token", "create", "--permissions", "run", "--gateway", "closed")["token"]
    assert ask(house, "closed", {"cf-aig-authorization": f"Bearer {token}"}).status_code == 200
    assert ask(house, "default", {"cf-aig-authorization": f"Bearer {token}"}).status_code == 401


def test_the_providers_own_key_goes_to_the_provider(house: Any):
    keys = {"Authorization": "Bearer sk-theirs", "x-api-key": "key-theirs", "x-goog-api-key": "goog-theirs"}
    reply = ask(house, "closed", {"cf-aig-authorization": f"Bearer {house.token}", **keys})
    seen = {name.lower(): value for name, value in reply.json()["headers"]}
    assert {name.lower(): seen.get(name.lower()) for name in keys} == {name.lower(): key for name, key in keys.items()}


def test_whoever_is_turned_away_leaves_no_log(house: Any):
    house.cli("gateway", "create", "quiet")
    for _ in range(3):
        assert ask(house, "quiet", {}).status_code == 401
    log_id = ask(house, "quiet", {"cf-aig-authorization": f"Bearer {house.token}"}).headers["cf-aig-log-id"]
    assert [log["id"] for log in house.logs(1, "quiet")] == [log_id]


def test_the_default_gateway_is_made_by_the_first_request_with_a_token(house: Any):
    token = house.cli("token", "create", "--account", "neighbours", "--permissions", "run,read")["token"]
    mine = {"cf-aig-authorization": f"Bearer {token}"}
    assert ask(house, "default", {}, account="neighbours").status_code == 401
    assert ask(house, "default", mine, account="neighbours").status_code == 200
    listed = house.cli("gateway", "list", "--account", "neighbours")
    assert [(one["id"], one["authentication"], one["is_default"]) for one in listed] == [("default", True, True)]


@pytest.mark.parametrize(("account", "name"), [("local", "nowhere"), ("nobody", "default"), ("nobody", "closed")])
def test_what_does_not_exist_is_error_2001(house: Any, account: str, name: str):
    reply = ask(house, name, {"cf-aig-authorization": f"Bearer {house.token}"}, account)
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2001)
    assert reply.json()["message"] == "Please configure AI Gateway in the Cloudflare dashboard"
    assert reply.json()["description"] == "This server has no such account, or the account no such gateway"


def test_a_name_that_cannot_exist_is_error_2001_too(house: Any):
    for account, name in (("local", "a" * 65), ("a" * 5000, "default"), ("local", "%00"), ("%ff%2f..", "default")):
        reply = ask(house, name, {"cf-aig-authorization": f"Bearer {house.token}"}, account)
        assert (reply.status_code, reply.json()["internalCode"]) == (400, 2001)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_token_is_refused_from_the_moment_it_is_deleted(house: Any, carrier: str):
    made = house.manage("POST", "/tokens", json={"permissions": ["run"]}).json()["result"]
    for _ in range(3):
        assert ask(house, "closed", CARRIERS[carrier](made["token"])).status_code == 200
    assert house.manage("DELETE", f"/tokens/{made['id']}").status_code == 200
    assert ask(house, "closed", CARRIERS[carrier](made["token"])).json() == UNAUTHORIZED


def test_a_change_of_a_gateway_is_in_force_for_the_next_request(house: Any):
    mine = {"cf-aig-authorization": f"Bearer {house.token}"}
    assert ask(house, "shifting", mine).status_code == 400
    fields = {"id": "shifting", "authentication": False, "cache_invalidate_on_update": False, "cache_ttl": None}
    fields |= {"collect_logs": True, "rate_limiting_interval": None, "rate_limiting_limit": None}
    assert house.manage("POST", "/gateways", json=fields).status_code == 200
    assert ask(house, "shifting", {}).status_code == 200
    for closed in (True, False, True):
        assert house.manage("PUT", "/gateways/shifting", json=fields | {"authentication": closed}).status_code == 200
        assert ask(house, "shifting", {}).status_code == (401 if closed else 200)
        assert ask(house, "shifting", mine).status_code == 200
    assert house.manage("DELETE", "/gateways/shifting").status_code == 200
    assert ask(house, "shifting", mine).json()["internalCode"] == 2001


def test_a_deleted_default_gateway_is_made_again_by_a_token_and_by_nobody_else(house: Any, strangers: Any):
    assert house.manage("DELETE", "/gateways/default").status_code == 200
    for stranger in STRANGERS:
        token = strangers[stranger]
        assert ask(house, "default", {"x-api-key": token} if token else {}).status_code == 401
    assert house.manage("GET", "/gateways/default").status_code == 404
    reply = ask(house, "default", {"x-api-key": house.token})
    assert reply.status_code == 200
    made = house.manage("GET", "/gateways/default").json()["result"]
    assert (made["is_default"], made["authentication"], made["collect_logs"]) == (True, True, True)
    assert [log["id"] for log in house.logs(1)] == [reply.headers["cf-aig-log-id"]]


def test_a_token_in_a_providers_slot_ends_here_even_beside_another(house: Any):
    """It is no key of the provider's, whichever way its sender got in, or did not need to."""
    mine = {"cf-aig-authorization": f"Bearer {house.token}"}
    slots = dict.fromkeys(("x-api-key", "x-goog-api-key", "api-key"), house.token)
    for scheme in ("Bearer", "Token", "Api-Key", "bearer"):
        slots["authorization"] = f"{scheme} {house.token}"
        for name, headers in (("closed", mine | slots), ("open", slots)):
            seen = [sent.lower() for sent, _ in ask(house, name, headers).json()["headers"]]
            assert not slots.keys() & set(seen)


def test_an_undefined_token_is_ignored_where_none_is_needed(house: Any):
    """What the Vercel provider sends when it was given none."""
    undefined = {"cf-aig-authorization": "Bearer undefined", "Authorization": "Bearer sk-theirs"}
    assert dict(ask(house, "open", undefined).json()["headers"])["Authorization"] == "Bearer sk-theirs"
    assert ask(house, "closed", undefined).json() == UNAUTHORIZED


def test_a_token_says_so_in_the_log(house: Any):
    mine = {"cf-aig-authorization": f"Bearer {house.token}"}
    for name, headers, vouched in (("closed", mine, True), ("open", {}, False)):
        log_id = ask(house, name, headers).headers["cf-aig-log-id"]
        assert house.log(log_id, name)["authentication"] is vouched
