"""What a WebSocket may send and leave unread: what is malformed is told so, and memory is bounded (contract 4.1)."""

import asyncio
import json
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

MB = 1024 * 1024
Step = dict[str, Any]


def step(model: str = "gpt-4o-mini", text: str = "hello", **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return {"provider": "openai", "endpoint": "chat/completions", "query": query}


def create(event_id: str, asked: Step) -> str:
    return json.dumps({"type": "universal.create", "request": {**asked, "eventId": event_id}})


def metric(gateway: Any, name: str) -> int:
    found = re.search(rf"^{name} (\S+)$", gateway.http.get("/metrics").text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def memory_mb(gateway: Any, which: str = "VmRSS") -> float:
    """Memory of the worker now, or at its peak (VmHWM)."""
    status = Path(f"/proc/{gateway.processes()['sluice: worker 1']}/status").read_text()
    found = re.search(rf"^{which}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


# --- messages that are none


async def test_what_cannot_be_run_is_told_and_the_next_message_is_run(gateway: Any, talk: Any):
    bad = ["", "hello", "[]", '{"type":"universal.creat","request":{}}', '{"type":"universal.create"}', b"\x00\xff"]
    async with talk(gateway) as client:
        for message in bad:
            await client.send(message)
            told = await client.next()
            assert (told["type"], told["success"], told["error"][0]["code"]) == ("universal.error", False, 2004)
        assert (await client.ask(step()))[0]["response"]["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("text that is none", masked(Opcode.TEXT, b'{"a":"\xff"}'), 1007),
        ("unmasked", Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        ("HTTP again", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1002),
        ("a continuation of nothing", masked(Opcode.CONT, b"{}"), 1002),
        ("an exabyte", b"\x81\xff\x10" + bytes(7), 1009),
    ],
)
async def test_what_is_no_message_ends_the_connection(gateway: Any, talk: Any, what: str, data: bytes, code: int):
    async with talk(gateway) as client:
        await client.create("a", step("gpt~stall-1", stream=True))
        assert (await client.next())["type"] == "universal.created"
        client.connection.transport.write(data)
        assert (await client.closed())[0] == code


async def test_a_client_that_goes_on_sending_too_long_a_message_is_told_so(gateway: Any, wire: Any, compose: Any):
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    handshake["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with wire(gateway) as line:
        await line.send(compose(gateway, "GET", "/v1/local/default", **handshake))
        assert (await line.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        await line.send(masked(Opcode.TEXT, b" " * (25 * MB + 1)))
        said = await line.end()
    assert (said[0], said[2:4]) == (0x88, (1009).to_bytes(2, "big"))


async def test_a_bomb_is_not_unfolded(gateway: Any, talk: Any):
    before = memory_mb(gateway, "VmHWM")
    async with talk(gateway, compression="deflate") as client:
        with suppress(ConnectionClosed):
            await client.send(b" " * (100 * MB))
        assert (await client.closed())[0] == 1009
    assert memory_mb(gateway, "VmHWM") - before < 120


async def test_a_message_may_be_as_long_as_the_limit_and_come_byte_by_byte(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", limits={"websocket_message_bytes": 2000})
    message = create("a", step())
    longest = message + " " * (2000 - len(message))
    async with talk(own) as client:
        for byte in masked(Opcode.TEXT, longest.encode()):
            client.connection.transport.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.until_ended("a"))["a"][0]["response"]["object"] == "chat.completion"
        await client.send(longest + " ")
        assert (await client.closed())[0] == 1009


async def test_pings_are_answered_while_requests_run_and_wait(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        for number in range(20):
            await client.create(f"e{number}", step("gpt~stall-1", stream=True))
        async with asyncio.timeout(5):
            for _ in range(20):
                await (await client.connection.ping())


# --- too many requests


async def test_ten_thousand_requests_at_once_are_run_or_refused_each(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", limits={"websocket_requests": 50, "websocket_queue_bytes": 4 * MB})
    async with talk(own) as client:
        for number in range(10_000):
            await client.connection.send(create(f"e{number}", step("gpt~words-1")))
        told = await client.until_ended(*[f"e{number}" for number in range(10_000)])
        kinds = [message["type"] for [message] in told.values()]
        refused = [message for [message] in told.values() if message["type"] == "universal.error"]
        assert kinds.count("universal.created") > 1500
        assert {(one["error"][0]["code"], one["error"][0]["message"]) for one in refused} <= {
            (2005, "Too many requests wait on this connection")
        }
        assert kinds.count("universal.created") + len(refused) == 10_000
        assert metric(own, "sluice_websocket_requests") == metric(own, "sluice_websocket_queued_bytes") == 0
        assert metric(own, "sluice_websockets") == 1
        assert metric(own, "sluice_websocket_requests_total") == kinds.count("universal.created")
        assert (await client.ask(step()))[0]["response"]["object"] == "chat.completion"
    assert memory_mb(own, "VmHWM") < 200


async def test_no_more_requests_run_at_once_than_may(start_gateway: Any, talk: Any, provider_of: Any, marker: str):
    own = start_gateway("--simulate", limits={"websocket_requests": 2})
    provider = provider_of(own)
    async with talk(own) as client:
        for number in range(4):
            asked = step("gpt~stall-1", stream=True)
            await client.create(f"e{number}", {**asked, "headers": {"x-sluice-marker": marker}})
        await provider.arrived(marker, 2)
        await client.send({"type": "universal.cancel", "eventId": "e2"})
        waited = await client.until_ended("e2")
        assert waited["e2"] == [
            {"type": "universal.done", "metadata": {"eventId": "e2", "step": "0", "cancelled": True}}
        ]
        assert len(await provider.entries(marker)) == 2
        await client.send({"type": "universal.cancel", "eventId": "e0"})
        await provider.arrived(marker, 3)
        assert metric(own, "sluice_websocket_queued_bytes") == 0


# --- clients that read late, or never


async def test_a_client_that_reads_nothing_holds_its_own_providers_up_and_nobody_else(
    start_gateway: Any, talk: Any, provider_of: Any, marker: str
):
    own = start_gateway("--simulate")
    provider = provider_of(own)
    before = memory_mb(own)
    asked = {**step("gpt~huge-20", stream=True), "headers": {"x-sluice-marker": marker, "cf-aig-collect-log": "false"}}
    async with talk(own, max_queue=1) as client:
        for number in range(20):
            await client.create(f"e{number}", asked)
        await provider.arrived(marker, 20)
        async with talk(own) as other:
            for _ in range(20):
                [told] = await other.ask(step())
                assert told["response"]["object"] == "chat.completion"
                assert memory_mb(own) - before < 60
        assert [entry["ended"] for entry in await provider.entries(marker)].count("complete") == 0
        sizes = dict.fromkeys([f"e{number}" for number in range(20)], 0)
        for event_id, messages in (await client.until_ended(*sizes)).items():
            sizes[event_id] = sum(len(json.dumps(message)) for message in messages)
        assert min(sizes.values()) > 20 * MB  # nothing was lost on the way
    assert memory_mb(own, "VmHWM") - before < 120


async def test_a_client_that_never_reads_is_left_in_the_end(
    start_gateway: Any, talk: Any, provider_of: Any, marker: str
):
    own = start_gateway("--simulate", limits={"send_idle_timeout_s": 0.5})
    provider = provider_of(own)
    async with talk(own, max_queue=1, close_timeout=0.5) as client:  # its own goodbye is never answered
        await client.create("a", {**step("gpt~huge-50", stream=True), "headers": {"x-sluice-marker": marker}})
        [entry] = await provider.entries(marker, ended=1)
        assert entry["ended"] != "complete"
    own.until(lambda: metric(own, "sluice_websockets") == 0, "the end of the connection")
    assert own.logs(2)[0]["ending"] == "abandoned"


async def test_whole_replies_are_gathered_within_bounds_and_all_arrive(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate")
    before = memory_mb(own)
    async with talk(own) as client:
        for number in range(10):
            await client.create(f"e{number}", {**step("gpt~huge-20"), "headers": {"cf-aig-collect-log": "false"}})
        told = await client.until_ended(*[f"e{number}" for number in range(10)])
    lengths = {len(json.dumps(message)) // MB for [message] in told.values()}
    assert lengths == {20}
    assert memory_mb(own, "VmHWM") - before < 350


async def test_a_reply_past_what_a_message_holds_is_refused(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        [told] = await client.ask(step("gpt~huge-40"))
        assert (told["metadata"]["statusCode"], told["response"]["name"]) == (400, "AiGatewayError")
        assert "cannot be sent over a WebSocket" in told["response"]["message"]


# --- the end


async def test_a_silent_connection_is_closed_and_one_on_which_something_runs_is_not(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", limits={"websocket_idle_timeout_s": 0.5})
    async with talk(own) as busy, talk(own) as silent:
        await busy.create("a", step("gpt~slow-first-token-1500", stream=True))
        assert await silent.closed() == (1000, "Nothing was said for too long")
        assert (await busy.until_ended("a"))["a"][-1]["type"] == "universal.done"
        assert (await busy.closed())[0] == 1000


async def test_a_drain_lets_requests_finish_and_says_that_the_gateway_restarts(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate")
    async with talk(own) as busy, talk(own) as idle:
        await busy.create("a", step("gpt~slow-first-token-1000", stream=True))
        assert (await busy.next())["type"] == "universal.created"
        own.process.send_signal(signal.SIGTERM)
        assert (await idle.closed())[0] == 1012
        await busy.create("late", step())
        refused = await busy.next()
        assert (refused["type"], refused["metadata"]) == ("universal.error", {"eventId": "late"})
        assert refused["error"] == [{"code": 2005, "message": "The gateway is restarting: connect anew"}]
        assert (await busy.until_ended("a"))["a"][-1]["type"] == "universal.done"
        assert (await busy.closed())[0] == 1012
    assert own.process.wait(20) == 0


async def test_a_request_that_outlasts_the_drain_is_cut_and_logged(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", server={"drain_timeout_s": 0.5})
    async with talk(own) as client:
        await client.create("a", step("gpt~stall-2", stream=True))
        assert (await client.next())["type"] == "universal.created"
        own.process.send_signal(signal.SIGTERM)
        assert (await client.closed())[0] == 1012
    assert own.process.wait(20) == 0
    assert own.cli("logs", "tail", "--no-follow")["ending"] == "abandoned"


async def test_a_reload_cuts_no_request(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate")
    async with talk(own) as client:
        await client.create("a", step("gpt~slow-first-token-1500", stream=True))
        assert (await client.next())["type"] == "universal.created"
        own.process.send_signal(signal.SIGHUP)
        assert (await client.until_ended("a"))["a"][-1]["type"] == "universal.done"
        assert (await client.closed())[0] == 1012
    async with talk(own) as successor:
        assert (await successor.ask(step()))[0]["response"]["object"] == "chat.completion"


async def test_the_limit_of_connections_counts_websockets(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", limits={"connections": 3})
    own.http.close()
    async with talk(own), talk(own), talk(own):
        with pytest.raises(InvalidStatus) as found:
            async with talk(own):
                pass
        assert found.value.response.status_code == 503
