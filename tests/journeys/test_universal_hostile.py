"""Clients and providers that mean ill: one of them costs itself an error, and nobody else anything."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

Step = dict[str, Any]
TAG = "<prompt-response id='a' />"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def step(model: str = "gpt-4o-mini", **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields.pop("query", {})}
    return {"provider": "openai", "endpoint": "chat/completions", "query": query, **fields}


def unified(**fields: Any) -> Step:
    return step("anthropic/claude", provider="compat", **fields)


@pytest.fixture(scope="module")
def before(start_shared_gateway: Any, stand: Any) -> Any:
    """A gateway before a provider that a test makes."""
    return start_shared_gateway(providers={name: {"base_url": stand.base_url} for name in ("openai", "anthropic")})


def asking(compose: Any, gateway: Any, body: Any, **headers: str) -> bytes:
    request: bytes = compose(gateway, path="/v1/local/default", body=json.dumps(body).encode(), **headers)
    return request


# --- clients


@pytest.mark.parametrize("field", ["customCost", "metadata"])
def test_a_setting_of_any_size_costs_no_log(gateway: Any, field: str):
    reply = gateway.universal(step(config={field: {"x": "y" * 17_000_000}}))
    assert reply.status_code == 200
    assert gateway.log(reply.headers["cf-aig-log-id"])["ending"] == "complete"


def test_names_of_any_length_stay_out_of_the_head(gateway: Any):
    reply = gateway.universal(step(eventId="e" * 257))
    assert (reply.status_code, reply.json()["message"]) == (400, "eventId is longer than 256 characters")
    reply = gateway.universal(step("m" * 200_000))
    assert (reply.status_code, "cf-aig-model" in reply.headers) == (200, False)
    reply = gateway.universal(step(option={"backoff": "b" * 200_000}))
    assert (reply.status_code, len(reply.content) < 5000) == (400, True)


# --- providers


@pytest.mark.parametrize("stream", ["compressed", "of an error", "of no sense"])
async def test_a_stream_that_cannot_be_translated_is_let_go(
    before: Any, stand: Any, wire: Any, compose: Any, stream: str
):
    gone = asyncio.Event()
    head, data = {
        "compressed": (b"Content-Encoding: gzip\r\n", b"\x1f\x8b"),
        "of an error": (
            b"",
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n',
        ),
        "of no sense": (b"", b"event: message_start\ndata: [1]\n\n"),
    }[stream]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EVENTS + head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(data), data))
        while await reader.read(65_536):
            pass
        gone.set()

    async with stand.serve(handle), wire(before) as line:
        reply = await line.ask(asking(compose, before, unified(query={"stream": True})))
        async with asyncio.timeout(3):
            await gone.wait()
    assert (reply.status, reply.json()["internalCode"] in (2002, 2005)) == (400, True)
    assert before.log(reply.header("cf-aig-log-id"))["ending"] == "refused"


@pytest.mark.parametrize("make", [step, unified], ids=["as it came", "translated"])
async def test_an_error_whose_body_never_ends_is_fallen_back_from(
    before: Any, stand: Any, wire: Any, compose: Any, make: Callable[[], Step]
):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"second: 1" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n{")
        while await reader.read(65_536):
            pass

    began_s = time.monotonic()
    async with stand.serve(handle), wire(before) as line:
        reply = await line.ask(asking(compose, before, [make(), step(headers={"second": 1})]))
    assert (reply.status, reply.body, reply.header("cf-aig-step")) == (200, b"ok", "1")
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_source_of_very_many_events_holds_up_nobody_else(
    before: Any, stand: Any, wire: Any, compose: Any, coding: str
):
    data = b"data:{}\n\n" * 200_000
    plain_bytes = len(data)
    if coding:
        data = gzip.compress(data, 1)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = EVENTS + (b"Content-Encoding: gzip\r\n" if coding else b"")
        writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        await writer.drain()
        await reader.read()

    body = [step(id="a", option={"onComplete": step(endpoint=f"x/{TAG}")})]
    slowest_s = 0.0
    async with stand.serve(handle), wire(before) as line, wire(before) as other:
        asked = asyncio.create_task(line.ask(asking(compose, before, body)))
        while not asked.done():
            began_s = time.monotonic()
            assert (await other.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        reply = await asked
    assert reply.status in (200, 400)
    assert plain_bytes > 1_000_000
    assert slowest_s < 0.8
