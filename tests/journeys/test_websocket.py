"""Requests over one WebSocket: what is said to each, interleaved, and what is logged (contract 4.1, B.3)."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

Step = dict[str, Any]
UNAUTHORIZED = {"code": 2009, "message": "Unauthorized"}


def step(model: str = "gpt-4o-mini", text: str = "hello", stream: bool = False, **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        query["stream"] = True
    headers = {"Authorization": "Bearer sk-theirs", **fields.pop("headers", {})}
    return {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}


def marked(marker: str, *args: Any, **fields: Any) -> Step:
    return step(*args, headers={"x-sluice-marker": marker}, **fields)


def words(messages: list[dict[str, Any]]) -> str:
    """What a stream of OpenAI's has said."""
    deltas = [message["response"]["choices"] for message in messages if message["type"] == "universal.stream"]
    return "".join(choices[0]["delta"].get("content") or "" for choices in deltas if choices)


@pytest.mark.parametrize("path", ["/v1/local/default", "/v1/local/default/"])
async def test_two_requests_at_once_as_the_contract_shows_them(gateway: Any, talk: Any, path: str):
    streamed = step(stream=True)
    streamed["query"]["stream_options"] = {"include_usage": True}
    plain = {"provider": "workers-ai", "endpoint": "@cf/x/y", "headers": {"cf-aig-skip-cache": "true"}}
    async with talk(gateway, path) as client:
        await client.create("a", streamed)
        await client.create("b", {**plain, "query": {"prompt": "hi"}})
        told = await client.until_ended("a", "b")
        connection_id = client.connection.response.headers["cf-aig-connection-id"]
    first, *middle, last = told["a"]
    log_id = first["metadata"]["logId"]
    full = {"cacheStatus": "MISS", "eventId": "a", "logId": log_id, "step": "0", "contentType": "text/event-stream"}
    assert first == {"type": "universal.created", "metadata": full}
    assert last == {"type": "universal.done", "metadata": full}
    assert all(list(one) == ["type", "metadata", "response"] for one in middle)
    assert {(one["type"], json.dumps(one["metadata"])) for one in middle} == {("universal.stream", '{"eventId": "a"}')}
    assert words(middle) == gateway.chat().json()["choices"][0]["message"]["content"]
    [created] = told["b"]
    assert created["type"] == "universal.created"
    assert created["metadata"] == {
        "cacheStatus": "MISS",
        "eventId": "b",
        "logId": created["metadata"]["logId"],
        "step": "0",
        "contentType": "application/json",
    }
    assert created["response"]["success"] is True
    for event_id, entry in (("a", log_id), ("b", created["metadata"]["logId"])):
        log = gateway.log(entry)
        assert (log["request_type"], log["connection_id"], log["event_id"]) == ("websocket", connection_id, event_id)
        assert (log["ending"], log["authentication"], log["status_code"]) == ("complete", True, 200)
        assert log["tokens_out"] > 0
    stored = gateway.log_body(log_id, "response")
    assert stored.startswith(b"data: ")
    assert stored.endswith(b"data: [DONE]\n\n")


async def test_the_log_is_there_with_the_message_that_ends_its_event(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        for number in range(20):
            last = (await client.ask(step(stream=number % 2 == 0), f"e{number}"))[-1]
            gateway.log(last["metadata"]["logId"], deadline_s=1)


async def test_many_streams_and_plain_requests_finish_in_any_order(gateway: Any, talk: Any):
    chance = random.Random(4)
    kinds: dict[str, str] = {}
    async with talk(gateway) as client:
        for number in range(400):
            faults = chance.choice(["", "~pace-2", "~slow-head-50", "~slow-first-token-80", "~drip-7", "~cut-3"])
            kinds[f"e{number}"] = kind = f"{'stream' if number % 2 else 'plain'}{faults}"
            asked = step(f"gpt-4o-mini{faults}", f"number {number}", stream=kind.startswith("stream"))
            await client.create(f"e{number}", asked)
        told = await client.until_ended(*kinds)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.connection.recv(), 0.05)
    order = [message["metadata"]["eventId"] for messages in told.values() for message in messages[-1:]]
    assert len(order) == len(set(order)) == 400
    for event_id, messages in told.items():
        kind, number = kinds[event_id], event_id[1:]
        if kind == "plain~cut-3":
            assert messages[-1]["metadata"]["statusCode"] == 400
        elif kind.startswith("plain"):
            [only] = messages
            assert only["response"]["choices"][0]["message"]["content"].startswith(f"You said: number {number}.")
        else:
            types = [message["type"] for message in messages]
            assert types == ["universal.created", *["universal.stream"] * (len(types) - 2), "universal.done"]
            assert words(messages).startswith(f"You said: number {number}."[: len(words(messages))])
            assert ("error" in messages[-1]["metadata"]) == ("cut" in kind)
    ids = [messages[-1]["metadata"]["logId"] for messages in told.values()]
    assert len(set(ids)) == 400
    endings = Counter(gateway.log(log_id)["ending"] for log_id in ids)
    assert endings == {
        "broken": sum("cut" in kind for kind in kinds.values()),
        "complete": sum("cut" not in kind for kind in kinds.values()),
    }


async def test_fallback_retries_and_chains_work_as_over_http(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        await client.create("fallback", [step("gpt-4o-mini~status-500", eventId="fallback"), step()])
        chained = step(id="1", option={"onComplete": step(text="<prompt-response id='1' />")})
        await client.create("chain", chained)
        await client.create("all fail", [step("gpt~status-503", eventId="all fail"), step("gpt~status-418")])
        told = await client.until_ended("fallback", "chain", "all fail")
    assert told["fallback"][0]["metadata"]["step"] == "1"
    assert told["chain"][0]["response"]["choices"][0]["message"]["content"].startswith("You said: You said hello")
    assert told["all fail"][0]["metadata"]["statusCode"] == 418
    assert told["all fail"][0]["response"]["error"]


async def test_errors_of_ours_and_the_providers_come_as_replies(gateway: Any, talk: Any, error_body: Any):
    async with talk(gateway) as client:
        [refused] = await client.ask(step(headers={"Authorization": "Bearer bad-key"}), "theirs")
        [dropped] = await client.ask(step("gpt~drop"), "none")
        [unknown] = await client.ask({**step(), "provider": "nobody"}, "ours")
    assert refused["metadata"]["statusCode"] == 401
    assert refused["response"]["error"]["code"] == "invalid_api_key"
    assert dropped["response"] == error_body(400, 2005, "Failed to get response from provider")
    assert dropped["metadata"]["logId"]
    assert unknown == {
        "type": "universal.created",
        "metadata": {
            "eventId": "ours",
            "step": "0",
            "contentType": "application/json",
            "statusCode": 400,
            "cacheStatus": "MISS",
        },
        "response": error_body(400, 2008, "Invalid provider", told="This version of Sluice has no provider 'nobody'"),
    }


async def test_a_stream_that_breaks_is_done_with_an_error(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        *_, done = await client.ask(step("gpt-4o-mini~cut-3", stream=True))
        assert done["type"] == "universal.done"
        assert done["metadata"]["error"] == [{"code": 2005, "message": "Failed to get response from provider"}]
        assert gateway.log(done["metadata"]["logId"])["ending"] == "broken"
        assert (await client.ask(step(), "b"))[0]["response"]["object"] == "chat.completion"  # others go on


async def test_pictures_and_texts_come_as_strings(gateway: Any, talk: Any):
    speech = {
        "provider": "openai",
        "endpoint": "audio/speech",
        "query": {"model": "tts-1", "input": "hi", "voice": "a"},
    }
    async with talk(gateway) as client:
        [spoken] = await client.ask(speech)
    assert spoken["metadata"]["encoding"] == "base64"
    assert spoken["metadata"]["contentType"].startswith("audio/")
    assert isinstance(spoken["response"], str)


async def test_a_binary_message_with_json_is_as_good_and_fragments_are_put_together(gateway: Any, talk: Any):
    message = json.dumps({"type": "universal.create", "request": {**step(), "eventId": "é"}})
    async with talk(gateway) as client:
        await client.send(message.encode())
        assert (await client.until_ended("é"))["é"][0]["metadata"]["contentType"] == "application/json"
        await client.connection.send([message[:50], message[50:60], "", message[60:]])
        assert (await client.until_ended("é"))["é"][0]["metadata"]["contentType"] == "application/json"
        await client.connection.send([message.encode()[:50], message.encode()[50:]])
        assert (await client.until_ended("é"))["é"][0]["metadata"]["contentType"] == "application/json"


async def test_a_host_of_its_own_has_its_websocket_at_the_root(start_gateway: Any, talk: Any):
    own = start_gateway("--simulate", hosts='{"127.0.0.1": "local/default"}')
    async with talk(own, "/") as client:
        assert (await client.ask(step()))[0]["response"]["object"] == "chat.completion"


# --- cancelling, and leaving


async def test_a_cancelled_request_ends_and_its_provider_is_left(gateway: Any, talk: Any, provider: Any, marker: str):
    async with talk(gateway) as client:
        await client.create("a", marked(marker, "gpt~stall-2", stream=True))
        assert (await client.next())["type"] == "universal.created"
        await client.send({"type": "universal.cancel", "eventId": "a"})
        *_, done = (await client.until_ended("a"))["a"]
        assert done["metadata"]["cancelled"] is True
        [entry] = await provider.entries(marker, ended=1)
        assert entry["ended"] != "complete"
        log = gateway.log(done["metadata"]["logId"])
        assert (log["ending"], log["event_id"]) == ("abandoned", "a")
        await client.send({"type": "universal.cancel", "eventId": "a"})
        error = await client.next()
        assert (error["type"], error["metadata"]) == ("universal.error", {"eventId": "a"})


async def test_a_request_without_a_reply_yet_can_be_cancelled(gateway: Any, talk: Any, provider: Any, marker: str):
    async with talk(gateway) as client:
        await client.create("a", marked(marker, "gpt~slow-head-600000"))
        await provider.arrived(marker)
        await client.create("b", step())
        await client.send({"type": "universal.cancel", "eventId": "a"})
        told = await client.until_ended("a", "b")
    assert told["a"] == [{"type": "universal.done", "metadata": {"eventId": "a", "step": "0", "cancelled": True}}]
    assert told["b"][0]["response"]["object"] == "chat.completion"


@pytest.mark.parametrize("how", ["goodbye", "reset"])
async def test_whoever_leaves_leaves_its_providers_and_truthful_logs(
    gateway: Any, talk: Any, provider: Any, marker: str, how: str
):
    async with talk(gateway) as client:
        for number in range(5):
            await client.create(f"{marker}{number}", marked(marker, "gpt~stall-2", stream=True))
        await provider.arrived(marker, 5)
        if how == "goodbye":
            await client.connection.close(4000, "enough")
            assert await client.closed() == (4000, "enough")
        else:
            client.connection.transport.abort()
        assert len(await provider.entries(marker, ended=5)) == 5

    def abandoned() -> bool:
        found = [log for log in gateway.logs() if str(log["event_id"]).startswith(marker)]
        return sorted(log["event_id"] for log in found if log["ending"] == "abandoned") == [
            f"{marker}{number}" for number in range(5)
        ]

    gateway.until(abandoned, "five logs of abandoned requests")


async def test_a_token_is_looked_at_anew_for_each_request(gateway: Any, talk: Any):
    made = gateway.manage("POST", "/tokens", json={"permissions": ["run"]}).json()["result"]
    async with talk(gateway, headers={"cf-aig-authorization": made["token"]}) as client:
        assert (await client.ask(step()))[0]["response"]["object"] == "chat.completion"
        assert gateway.manage("DELETE", f"/tokens/{made['id']}").status_code == 200
        [refused] = await client.ask(step())
        assert refused["response"]["error"] == [UNAUTHORIZED]
        assert refused["metadata"] == {
            "eventId": "a",
            "step": "0",
            "contentType": "application/json",
            "statusCode": 401,
            "cacheStatus": "MISS",
        }


async def test_a_dead_provider_and_a_gone_client_hold_nobody_else_up(gateway: Any, talk: Any):
    async with talk(gateway) as client:
        await client.create("stalled", step("gpt~stall-1", stream=True))
        async with talk(gateway) as other:
            assert (await other.ask(step()))[0]["response"]["object"] == "chat.completion"
        with pytest.raises(ConnectionClosed):
            await other.connection.recv()
        assert (await client.next())["type"] == "universal.created"
