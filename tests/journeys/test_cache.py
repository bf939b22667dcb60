"""Replies that are kept and given again (contract 5), by real gateways before the simulator."""

import json
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def caching(start_shared_gateway: Any) -> Any:
    """A gateway whose setting is to keep for an hour: `kept`; `default` keeps nothing of itself."""
    gateway = start_shared_gateway("--simulate", "--workers", "1")
    gateway.cli("gateway", "create", "kept")
    assert put(gateway, cache_ttl=3600).status_code == 200
    return gateway


def put(gateway: Any, name: str = "kept", **fields: Any) -> httpx.Response:
    shown = gateway.manage("GET", f"/gateways/{name}").json()["result"]
    wanted = {key: value for key, value in shown.items() if not key.endswith(("_at", "_tag", "_id")) and key != "id"}
    return gateway.manage("PUT", f"/gateways/{name}", json=wanted | fields)


def ask(
    gateway: Any, marker: str, name: str = "default", text: str = "hello", model: str = "gpt-4o-mini", **headers: Any
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return send(gateway, marker, json.dumps(body).encode(), name, **headers)


def send(gateway: Any, marker: str, body: bytes, name: str = "default", **headers: Any) -> httpx.Response:
    fields = {"authorization": "Bearer sk-theirs", "content-type": "application/json", "x-sluice-marker": marker}
    fields |= {key.replace("_", "-"): str(value) for key, value in headers.items()}
    url = f"{gateway.inference_url(gateway=name)}/v1/chat/completions"
    reply: httpx.Response = gateway.http.post(url, content=body, headers=fields)
    return reply


def status(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.headers["cf-aig-cache-status"])


async def test_a_second_identical_request_is_a_hit_that_costs_nothing(caching: Any, marker: str, provider_of: Any):
    first, second = ask(caching, marker, "kept"), ask(caching, marker, "kept", cf_aig_custom_cost='{"total_cost":1}')
    assert (status(first), status(second)) == ("MISS", "HIT")
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["cf-aig-log-id"] != first.headers["cf-aig-log-id"]
    assert len(await provider_of(caching).entries(marker)) == 1
    miss = caching.log(first.headers["cf-aig-log-id"], "kept")
    hit = caching.log(second.headers["cf-aig-log-id"], "kept")
    assert (miss["cached"], miss["tokens_in"] > 0, miss["cost"] > 0) == (False, True, True)
    assert (hit["cached"], hit["tokens_in"], hit["tokens_out"], hit["cost"]) == (True, 0, 0, 0)
    assert (hit["model"], hit["path"], hit["status_code"], hit["success"]) == (miss["model"], miss["path"], 200, True)
    for side in ("request", "response"):
        assert caching.log_body(hit["id"], side, "kept") == caching.log_body(miss["id"], side, "kept")
