"""Options over a WebSocket, end to end: the gateway's setting, over it the upgrade's header, over that the request's.

Which of them holds is shown for every option in tests/edge/test_session_options.py; here, that what holds is done.
"""

from typing import Any

import pytest

Step = dict[str, Any]
GATEWAY = {
    "authentication": True,
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}


def step(model: str = "gpt-4o-mini", text: str = "hello", stream: bool = False, **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        query["stream"] = True
    headers = {"Authorization": "Bearer sk-theirs", **fields.pop("headers", {})}
    return {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}


OPTIONS: dict[str, tuple[str, str, str, Any, Any]] = {
    "cf-aig-metadata": ('{"team":"session"}', '{"team":"own"}', "metadata", {"team": "session"}, {"team": "own"}),
    "cf-aig-event-id": ("session", "own", "event_id", "session", "own"),
    "cf-aig-custom-cost": ('{"total_cost":1}', '{"total_cost":2}', "cost", 1, 2),
}


@pytest.mark.parametrize("option", OPTIONS)
async def test_an_option_of_the_session_holds_until_a_request_has_its_own(gateway: Any, talk: Any, option: str):
    session, own, field, wanted, wanted_own = OPTIONS[option]
    async with talk(gateway, headers={**gateway.auth, option: session}) as client:
        for headers, value in (({}, wanted), ({option: own}, wanted_own), ({}, wanted)):
            await client.send({"type": "universal.create", "request": step(headers=headers)})
            message = await client.next()
            assert gateway.log(message["metadata"]["logId"])[field] == value
            if field == "event_id":
                assert message["metadata"]["eventId"] == value


async def test_retries_are_the_gateways_the_sessions_or_the_requests_own(gateway: Any, talk: Any, marker: str):
    fields = {"id": "retrying", "authentication": True, "cache_invalidate_on_update": False, "cache_ttl": 0}
    fields |= {"collect_logs": True, "rate_limiting_interval": 0, "rate_limiting_limit": 0, "retry_max_attempts": 2}
    assert gateway.manage("POST", "/gateways", json=fields).status_code == 200
    path, failing = "/v1/local/retrying", "gpt~status-500"

    async def attempts(client: Any, **own: Any) -> int:
        [message] = await client.ask(step(failing, **own))
        return int(gateway.log(message["metadata"]["logId"], "retrying")["attempts"])

    async with talk(gateway, path) as client:
        assert await attempts(client) == 2
        assert await attempts(client, headers={"cf-aig-max-attempts": 3}) == 3
    async with talk(gateway, path, {**gateway.auth, "cf-aig-max-attempts": "4"}) as client:
        assert await attempts(client) == 4
        assert await attempts(client, headers={"cf-aig-max-attempts": 1}) == 1
        assert await attempts(client, config={"maxAttempts": 5}, headers={"cf-aig-max-attempts": 1}) == 5


async def test_what_is_not_to_be_logged_has_no_log_id(gateway: Any, talk: Any):
    async with talk(gateway, headers={**gateway.auth, "cf-aig-collect-log": "false"}) as client:
        [quiet] = await client.ask(step())
        assert "logId" not in quiet["metadata"]
        [loud] = await client.ask(step(headers={"cf-aig-collect-log": True}))
        assert gateway.log(loud["metadata"]["logId"])["request_type"] == "websocket"


async def test_a_gateway_that_keeps_no_logs_keeps_what_the_session_or_the_request_asks_for(gateway: Any, talk: Any):
    fields = {**GATEWAY, "id": "websocket-quiet", "collect_logs": False}
    assert gateway.manage("POST", "/gateways", json=fields).status_code == 200
    path, header = "/v1/local/websocket-quiet", "cf-aig-collect-log"
    for session, own, logged in (
        ({}, {}, False),
        ({header: "true"}, {}, True),
        ({}, {header: True}, True),
        ({header: "true"}, {header: False}, False),
        ({header: "false"}, {header: "true"}, True),
    ):
        async with talk(gateway, path, {**gateway.auth, **session}) as client:
            [message] = await client.ask(step(headers=own))
            assert ("logId" in message["metadata"]) == logged


@pytest.mark.parametrize(
    ("session", "own", "kept"), [("false", None, 404), ("false", True, 200), ("true", False, 404), (None, None, 200)]
)
async def test_bodies_are_kept_as_the_session_or_the_request_asks(
    gateway: Any, talk: Any, session: str | None, own: bool | None, kept: int
):
    header = "cf-aig-collect-log-payload"
    async with talk(gateway, headers={**gateway.auth, **({header: session} if session else {})}) as client:
        [message] = await client.ask(step(headers={} if own is None else {header: own}))
    log_id = message["metadata"]["logId"]
    gateway.log(log_id)
    assert gateway.manage("GET", f"/gateways/default/logs/{log_id}/response").status_code == kept


@pytest.mark.parametrize(("session", "own", "status"), [("30", None, 400), ("30", 60_000, 200), ("60000", 30, 400)])
async def test_a_provider_is_waited_for_as_long_as_the_session_or_the_request_says(
    gateway: Any, talk: Any, session: str, own: int | None, status: int
):
    header = "cf-aig-request-timeout"
    async with talk(gateway, headers={**gateway.auth, header: session}) as client:
        [message] = await client.ask(step("gpt~slow-head-500", headers={} if own is None else {header: own}))
    assert message["metadata"].get("statusCode", 200) == status
    assert ("error" in message["response"]) == (status == 400)


async def test_the_key_of_an_alias_is_the_sessions_or_the_requests(gateway: Any, talk: Any):
    header = "cf-aig-byok-alias"
    async with talk(gateway, headers={**gateway.auth, header: "sessions"}) as client:
        for headers, alias in (({}, "sessions"), ({header: "own"}, "own")):
            [message] = await client.ask(step(headers={"Authorization": None, **headers}))  # or its own key counts
            assert message["response"]["error"][0]["code"] == 2040
            assert f"'{alias}'" in message["response"]["description"]


@pytest.mark.parametrize(("session", "own", "least_ms"), [("600", None, 600), ("1", 600, 600), ("60000", 1, 1)])
async def test_the_next_try_waits_as_long_as_the_session_or_the_request_says(
    gateway: Any, talk: Any, session: str, own: int | None, least_ms: int
):
    retried = {"cf-aig-max-attempts": "2", "cf-aig-retry-delay": session}
    async with talk(gateway, headers={**gateway.auth, **retried}) as client:
        [message] = await client.ask(step("gpt~status-500", headers={} if own is None else {"cf-aig-retry-delay": own}))
    log = gateway.log(message["metadata"]["logId"])
    assert log["attempts"] == 2
    assert least_ms <= log["duration"] < 60_000


@pytest.mark.parametrize(
    ("session", "own", "least_ms"), [("exponential", None, 1500), ("constant", "exponential", 1500)]
)
async def test_delays_grow_as_the_session_or_the_request_says(
    gateway: Any, talk: Any, session: str, own: str | None, least_ms: int
):
    """Three tries, 500 ms apart at first: 1,000 ms in all where they stay so, 1,500 ms where they double."""
    asked = {"cf-aig-max-attempts": "3", "cf-aig-retry-delay": "500", "cf-aig-backoff": session}
    async with talk(gateway, headers={**gateway.auth, **asked}) as client:
        [message] = await client.ask(step("gpt~status-500", headers={} if own is None else {"cf-aig-backoff": own}))
    assert gateway.log(message["metadata"]["logId"])["duration"] >= least_ms
