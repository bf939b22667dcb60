"""Who is let in, from memory: never from a memory that is out of date, and never from one without bounds."""

import tracemalloc
from typing import Any

import msgspec
import pytest

from sluice.storage.ports import NewToken
from sluice.values.errors import GatewayNotFound, Unauthorized
from sluice.values.gateway import GatewayConfig
from sluice.values.ids import wall_ms
from sluice.values.request import ONE_TRY, RetryPolicy

OPEN = GatewayConfig(authentication=False)
CLOSED = GatewayConfig(authentication=True)
RUN = frozenset({"run"})


def token_for(control: Any, **more: Any) -> tuple[str, bytes]:
    """A token's id and text."""
    record, text = control.create_token(NewToken("acme", RUN, **more))
    return record.token.id, text.reveal().encode()


async def test_every_change_is_in_force_for_the_next_request(directory: Any, control: Any, request_to: Any):
    control.create_gateway("acme", "g", CLOSED)
    token_id, token = token_for(control)
    for _ in range(2):
        assert (await directory.admit(request_to("g", token))).authenticated
    control.change_gateway("acme", "g", lambda config: msgspec.structs.replace(config, collect_logs=False))
    assert not (await directory.admit(request_to("g", token))).gateway.collect_logs
    control.delete_token("acme", token_id)
    with pytest.raises(Unauthorized):
        await directory.admit(request_to("g", token))
    control.change_gateway("acme", "g", lambda config: msgspec.structs.replace(config, authentication=False))
    assert not (await directory.admit(request_to("g", token))).authenticated
    control.delete_gateway("acme", "g")
    with pytest.raises(GatewayNotFound):
        await directory.admit(request_to("g", token))


async def test_a_gateways_own_retries_are_at_hand(directory: Any, control: Any, request_to: Any):
    control.create_gateway("acme", "g", OPEN)
    assert (await directory.admit(request_to("g"))).gateway.retry is ONE_TRY
    asked = {"retry_max_attempts": 3, "retry_delay": 40, "retry_backoff": "linear"}
    control.change_gateway("acme", "g", lambda config: msgspec.structs.replace(config, **asked))
    assert (await directory.admit(request_to("g"))).gateway.retry == RetryPolicy(3, 40, "linear")


async def test_what_was_missing_is_found_once_it_is_there(directory: Any, control: Any, request_to: Any):
    with pytest.raises(GatewayNotFound):
        await directory.admit(request_to("g"))
    control.create_gateway("acme", "g", OPEN)
    assert (await directory.admit(request_to("g"))).gateway.name == "g"


async def test_a_token_that_has_been_let_in_expires_on_time(directory: Any, control: Any, request_to: Any):
    control.create_gateway("acme", "g", CLOSED)
    ends_ms = wall_ms() + 300
    _, token = token_for(control, expires_ms=ends_ms)
    assert (await directory.admit(request_to("g", token))).authenticated
    refused = False
    while not refused:
        try:
            await directory.admit(request_to("g", token))
        except Unauthorized:
            refused = True
        else:
            assert wall_ms() < ends_ms + 100
    assert wall_ms() >= ends_ms


async def test_default_is_made_for_who_has_a_token_and_for_nobody_else(directory: Any, control: Any, request_to: Any):
    _, token = token_for(control)
    for refused in (request_to("default"), request_to("default", b"sluice_unknown")):
        with pytest.raises(Unauthorized):
            await directory.admit(refused)
    assert control.gateway("acme", "default") is None
    admission = await directory.admit(request_to("default", token))
    assert (admission.gateway.name, admission.gateway.authentication, admission.authenticated) == (
        "default",
        True,
        True,
    )
    with pytest.raises(GatewayNotFound):
        await directory.admit(request_to("default", token, account="nobody"))


async def test_large_tokens_of_strangers_are_not_remembered(directory: Any, control: Any, request_to: Any):
    """Anybody may send them to an open gateway: 64 KB each, a new one with each request."""
    control.create_gateway("acme", "open", OPEN)
    control.create_gateway("acme", "closed", CLOSED)
    tracemalloc.start()
    try:
        for number in range(2000):
            token = b"%060000d" % number
            await directory.admit(request_to("open", token))
            with pytest.raises(Unauthorized):
                await directory.admit(request_to("closed", token))
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()
