"""Behind the operator's proxy: what that says of a request is believed, and what anybody else says is not."""

import json
from typing import Any

import pytest

HOSTED = json.dumps({"aig.example.com": "local/default"})
URL = "/client/v4/accounts/local/ai-gateway/gateways/default/url/openai"


@pytest.fixture(scope="module")
def behind(start_shared_gateway: Any) -> Any:
    """A gateway that trusts whoever is on this machine."""
    return start_shared_gateway("--simulate", hosts=HOSTED, server={"trusted_proxies": '["127.0.0.0/8"]'})


@pytest.fixture(scope="module")
def open_to_all(start_shared_gateway: Any) -> Any:
    return start_shared_gateway("--simulate", hosts=HOSTED, server={"trusted_proxies": '["192.0.2.0/24"]'})


async def told_url(gateway: Any, wire: Any, compose: Any, **fields: str) -> str:
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", URL, authorization=f"Bearer {gateway.token}", **fields))
    return str(reply.json()["result"])


async def test_a_gateway_is_found_by_the_host_that_a_trusted_proxy_tells(
    behind: Any, open_to_all: Any, wire: Any, compose: Any
):
    forwarded = {"Host": "sluice.internal", "X_Forwarded_Host": "aig.example.com", "x_sluice_echo": "1"}
    async with wire(behind) as line:
        reply = await line.ask(compose(behind, "GET", "/openai/models", **forwarded))
        assert (reply.status, reply.json()["target"]) == (200, "/openai/v1/models")
        assert "x-forwarded-host" not in reply.body.decode().lower()
    async with wire(open_to_all) as line:
        reply = await line.ask(compose(open_to_all, "GET", "/openai/models", **forwarded))
        assert (reply.status, reply.json()["internalCode"]) == (404, 2004)


async def test_urls_are_told_as_the_client_reached_the_proxy(behind: Any, open_to_all: Any, wire: Any, compose: Any):
    forwarded = {"X_Forwarded_Host": "ai.example.com", "X_Forwarded_Proto": "https"}
    assert await told_url(behind, wire, compose, **forwarded) == "https://ai.example.com/v1/local/default/openai"
    own = f"{behind.base_url}/v1/local/default/openai"
    assert await told_url(behind, wire, compose, **forwarded | {"X_Forwarded_Proto": "gopher"}) == own
    assert await told_url(behind, wire, compose, **forwarded | {"X_Forwarded_Host": "a/../b"}) == own
    assert await told_url(open_to_all, wire, compose, **forwarded) == (
        f"{open_to_all.base_url}/v1/local/default/openai"
    )
