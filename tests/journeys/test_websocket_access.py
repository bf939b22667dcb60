"""Who may open a universal WebSocket, by which carrier, and how the others are refused (contract 3.1, 3.2, 4.1)."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "echo", "messages": []}}
Carrier = Callable[[str], dict[str, Any]]
CARRIERS: dict[str, Carrier] = {
    "cf-aig-authorization": lambda token: {"headers": {"cf-aig-authorization": f"Bearer {token}"}},
    "cf-aig-authorization, bare": lambda token: {"headers": {"cf-aig-authorization": token}},
    "CF-AIG-TOKEN": lambda token: {"headers": {"CF-AIG-TOKEN": f"Bearer {token}"}},
    "authorization": lambda token: {"headers": {"Authorization": f"Bearer {token}"}},
    "x-api-key": lambda token: {"headers": {"x-api-key": token}},
    "x-goog-api-key": lambda token: {"headers": {"x-goog-api-key": token}},
    "subprotocol": lambda token: {"headers": {}, "subprotocols": [f"cf-aig-authorization.{token}"]},
    "subprotocol beside another": lambda token: {"headers": {}, "subprotocols": ["x", f"cf-aig-authorization.{token}"]},
}
STRANGERS = ("nothing", "unknown", "expired", "may only read", "of another account", "of another gateway")


@pytest.fixture(scope="module")
def house(start_shared_gateway: Any) -> Any:
    """A gateway of its own with two more: `closed`, which wants a token, and `open`, which does not."""
    own = start_shared_gateway("--simulate")
    for name, flag in (("closed", "--authentication"), ("open", "--open")):
        own.cli("gateway", "create", name, flag)
    own.cli("account", "create", "neighbours")
    return own


@pytest.fixture(scope="module")
def strangers(house: Any) -> dict[str, str | None]:
    """Tokens by why no gateway lets them in."""

    def token(*words: str) -> str:
        text: str = house.cli("token", "create", *words)["token"]
        return text

    return {
        "nothing": None,
        "unknown": "sluice_" + "A" * 43,
        "expired": token("--permissions", "run", "--expires-at", "2020-01-01T00:00:00Z"),
        "may only read": token("--permissions", "read,edit,metadata_read"),
        "of another account": token("--permissions", "run", "--account", "neighbours"),
        "of another gateway": token("--permissions", "run", "--gateway", "default"),
    }


async def refused(talk: Any, house: Any, path: str, **arguments: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as found:
        async with talk(house, path, **arguments):
            pass
    response = found.value.response
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cf-aig-request-id"]
    return response.status_code, response.body


@pytest.mark.parametrize("name", ["closed", "open"])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_token_opens_by_every_carrier_and_goes_no_further(house: Any, talk: Any, carrier: str, name: str):
    arguments = CARRIERS[carrier](house.token)
    async with talk(house, f"/v1/local/{name}", **arguments) as client:
        [told] = await client.ask(STEP)
        assert house.token not in str(told)
        assert not any(header.lower().startswith("cf-aig-") for header, _ in told["response"]["headers"])
        assert house.log(told["metadata"]["logId"], name)["authentication"] is True
        assert client.connection.subprotocol == next(iter(arguments.get("subprotocols", [])), None)


@pytest.mark.parametrize("name", ["closed", "open"])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("stranger", STRANGERS)
async def test_whoever_has_no_good_token_is_refused_before_the_upgrade(
    house: Any, talk: Any, strangers: Any, stranger: str, carrier: str, name: str, error_body: Any
):
    token = strangers[stranger]
    arguments = CARRIERS[carrier](token) if token else {"headers": {}}
    status, body = await refused(talk, house, f"/v1/local/{name}", **arguments)
    assert status == 401
    assert json.loads(body) == error_body(401, 2009, "Unauthorized")
    assert sockets(house) == 0


def sockets(house: Any) -> int:
    [line] = [text for text in house.http.get("/metrics").text.splitlines() if text.startswith("sluice_websockets ")]
    return int(float(line.split()[1]))


@pytest.mark.parametrize(("account", "name"), [("local", "nowhere"), ("nobody", "default")])
async def test_what_does_not_exist_is_error_2001(house: Any, talk: Any, account: str, name: str):
    status, body = await refused(talk, house, f"/v1/{account}/{name}")
    assert (status, json.loads(body)["error"][0]["code"]) == (400, 2001)


async def test_an_open_gateway_needs_no_token_where_the_operator_says_so(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", server={"websocket_requires_auth": False})
    own.cli("gateway", "create", "open", "--open")
    for headers in ({}, {"cf-aig-authorization": "Bearer undefined"}):
        async with talk(own, "/v1/local/open", headers) as client:
            [told] = await client.ask(STEP)
            assert own.log(told["metadata"]["logId"], "open")["authentication"] is False
    assert (await refused(talk, own, "/v1/local/default", headers={}))[0] == 401


async def test_options_may_be_offered_as_subprotocols_too(house: Any, talk: Any):
    offered = [f"cf-aig-authorization.{house.token}", "cf-aig-event-id.from-a-browser"]
    async with talk(house, headers={}, subprotocols=offered) as client:
        await client.send({"type": "universal.create", "request": STEP})
        assert (await client.next())["metadata"]["eventId"] == "from-a-browser"
        assert client.connection.subprotocol == offered[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Sec_WebSocket_Key": None}, "missing Sec-WebSocket-Key header"),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, "invalid Sec-WebSocket-Key header: c2hvcnQ="),
    ],
)
async def test_what_is_no_handshake_is_an_error_of_ours(
    house: Any, wire: Any, compose: Any, fields: dict[str, str | None], said: str
):
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    handshake["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with wire(house) as line:
        reply = await line.ask(compose(house, "GET", "/v1/local/default", **{**handshake, **fields}))
        assert (reply.status, reply.json()["message"]) == (400, f"This is no WebSocket handshake: {said}")
        assert await line.end() == b""


async def test_a_get_that_asks_for_no_websocket_is_refused(house: Any, wire: Any, compose: Any):
    async with wire(house) as line:
        assert (await line.ask(compose(house, "GET", "/v1/local/default"))).status == 405
