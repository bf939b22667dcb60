"""Connections to providers: used again, replaced when they turn out to be closed, bounded by the client's timeout."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

CLOSED = "The reply did not come: the connection was closed"


async def test_a_provider_that_is_slower_than_its_client_allows(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str, expect_failure: Any
):
    body = {"model": "gpt-4o~slow-head-5000", "messages": []}
    async with wire(gateway) as line:
        started = time.monotonic()
        sent = compose(gateway, body=body, cf_aig_request_timeout="100", x_sluice_marker=marker)
        expect_failure(gateway, await line.ask(sent), "The provider did not answer in time")
        assert 0.09 < time.monotonic() - started < 1
    [entry] = await provider.entries(marker, 1)
    assert entry["ended"] == "client gone"


@pytest.mark.parametrize("given", ["0", "-1", "soon", "1e9", "", "99999999999"])
async def test_a_timeout_that_is_none_is_ignored(gateway: Any, wire: Any, compose: Any, given: str):
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", "openai/models", cf_aig_request_timeout=given))
    assert reply.status == 200


async def test_a_reply_that_has_begun_is_not_cut_by_the_clients_timeout(gateway: Any, wire: Any, compose: Any):
    body = {"model": "gpt-4o~pace-60~words-12", "stream": True, "messages": []}
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, body=body, cf_aig_request_timeout="400"))
    assert (reply.status, reply.fault) == (200, "")
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_requests_in_turn_use_one_connection(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        seen = {(await line.ask(compose(gateway, x_sluice_echo="1"))).connection for _ in range(5)}
    assert len(seen) == 1


async def test_requests_at_once_use_as_many_connections_and_later_ones_the_same(gateway: Any, wire: Any, compose: Any):
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire(gateway)) for _ in range(6)]
        sent = compose(gateway, x_sluice_echo="1", x_sluice_fault="slow-head=150")
        first = {reply.connection for reply in await asyncio.gather(*(line.ask(sent) for line in lines))}
        second = {reply.connection for reply in await asyncio.gather(*(line.ask(sent) for line in lines))}
    assert len(first) == 6
    assert second == first


@pytest.mark.parametrize("fault", ["close", "surplus"])
async def test_a_connection_that_is_spoilt_behind_a_reply_is_not_used_again(
    gateway: Any, wire: Any, compose: Any, fault: str
):
    async with wire(gateway) as line:
        first = await line.ask(compose(gateway, x_sluice_echo="1", x_sluice_fault=fault))
        second = await line.ask(compose(gateway, x_sluice_echo="1"))
    assert (first.status, second.status) == (200, 200)
    assert first.connection != second.connection


async def test_an_interim_reply_is_skipped(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        first = await line.ask(compose(gateway, x_sluice_echo="1", x_sluice_fault="interim"))
        second = await line.ask(compose(gateway, x_sluice_echo="1"))
    assert (first.status, second.status) == (200, 200)
    assert first.connection == second.connection


async def test_a_reused_connection_that_was_closed_in_silence_is_replaced_once(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str
):
    async with wire(gateway) as line:
        warm = await line.ask(compose(gateway, x_sluice_echo="1"))
        reply = await line.ask(
            compose(gateway, body=b"once more", x_sluice_echo="1", x_sluice_fault="drop-reused", x_sluice_marker=marker)
        )
    entries = await provider.entries(marker, 2)
    assert (reply.status, reply.seen_body) == (200, b"once more")
    assert [entry["ended"] for entry in entries] == ["broken", "complete"]
    assert entries[0]["connection"] == warm.connection != entries[1]["connection"] == reply.connection
    assert log_bodies(gateway, reply)[0] == b"once more"


def log_bodies(gateway: Any, reply: Any) -> tuple[bytes, bytes]:
    log_id = reply.header("cf-aig-log-id")
    return gateway.log_body(log_id, "request"), gateway.log_body(log_id, "response")


async def test_nothing_is_sent_a_third_time(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str, expect_failure: Any
):
    async with wire(gateway) as line:
        await line.ask(compose(gateway, x_sluice_echo="1"))
        reply = await line.ask(compose(gateway, body=b"{}", x_sluice_fault="drop", x_sluice_marker=marker))
    expect_failure(gateway, reply, CLOSED)
    assert len(await provider.entries(marker, 2)) == 2


async def test_a_body_that_was_streamed_is_not_sent_again(
    gateway: Any, provider: Any, wire: Any, compose: Any, marker: str, expect_failure: Any
):
    async with wire(gateway) as line:
        await line.ask(compose(gateway, x_sluice_echo="1"))
        sent = compose(gateway, body=b"x" * 100_000, x_sluice_fault="drop-reused", x_sluice_marker=marker)
        await line.send(sent[:-1])
        await provider.arrived(marker)
        expect_failure(gateway, await line.ask(sent[-1:]), CLOSED)
    assert len(await provider.entries(marker, 1)) == 1
