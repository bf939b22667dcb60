import json
from typing import Any

import pytest

from sluice.simulator import words

FIRST, SECOND = "/cohere/v1/chat", "/cohere/v2/chat"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


def second(said: str = "hello", model: str = "command-a-03-2025", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": said}]} | more


async def test_the_second_chat_and_its_stream_agree(simulator: Any) -> None:
    whole = (await simulator.ask("POST", SECOND, second())).json()
    assert whole["message"] == {"role": "assistant", "content": [{"type": "text", "text": words.reply("hello")}]}
    assert whole["usage"]["tokens"] == {"input_tokens": 8, "output_tokens": words.count(words.reply("hello"))}
    reply = await simulator.ask("POST", SECOND, second(stream=True))
    *events, end, done = reply.events()
    assert [one["type"] for one in events[:2]] == ["message-start", "content-start"]
    told = [one["delta"]["message"]["content"]["text"] for one in events if one["type"] == "content-delta"]
    assert "".join(told) == words.reply("hello")
    assert (end["type"], end["delta"]["finish_reason"], done) == ("message-end", "COMPLETE", "[DONE]")
    assert end["delta"]["usage"] == whole["usage"]
    assert b"event: message-end\n" in reply.body


async def test_the_first_chat_streams_lines_of_json_or_events(simulator: Any) -> None:
    whole = (await simulator.ask("POST", FIRST, {"message": "hello"})).json()
    assert (whole["text"], whole["finish_reason"]) == (words.reply("hello"), "COMPLETE")
    told = words.count(whole["text"])
    assert whole["meta"]["billed_units"] == {"input_tokens": 5, "output_tokens": told}
    lines = await simulator.ask("POST", FIRST, {"message": "hello", "stream": True})
    assert lines.header("content-type") == "application/stream+json"
    events = [json.loads(line) for line in lines.body.splitlines()]
    as_events = await simulator.ask(
        "POST", FIRST, {"message": "hello", "stream": True}, {"Accept": "text/event-stream"}
    )
    assert as_events.events() == events
    assert "".join(one["text"] for one in events if one["event_type"] == "text-generation") == whole["text"]
    last = events[-1]
    assert (last["event_type"], last["is_finished"], last["response"]["meta"]) == ("stream-end", True, whole["meta"])


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_are_called(simulator: Any, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    reply = await simulator.ask("POST", SECOND, second("the weather in Paris", tools=[tool], stream=stream))
    if stream:
        calls = [one["delta"]["message"]["tool_calls"]["function"] for one in reply.events()[:-1] if _is_call(one)]
        name, given = calls[0]["name"], "".join(one["arguments"] for one in calls)
        finish = reply.events()[-2]["delta"]["finish_reason"]
    else:
        name, given = reply.json()["message"]["tool_calls"][0]["function"].values()
        finish = reply.json()["finish_reason"]
    assert (name, json.loads(given), finish) == ("get_weather", {"city": "Paris"}, "TOOL_CALL")
    turn = {"role": "tool", "tool_call_id": "x", "content": "the weather is fine"}
    said = second(tools=[tool]) | {"messages": [turn]}
    assert "content" in (await simulator.ask("POST", SECOND, said)).json()["message"]


def _is_call(event: Any) -> bool:
    return event["type"] in ("tool-call-start", "tool-call-delta")


async def test_the_first_chat_calls_tools_by_their_parameters(simulator: Any) -> None:
    tool = {"name": "get_weather", "parameter_definitions": {"city": {"type": "str"}, "days": {"type": "int"}}}
    (call,) = (await simulator.ask("POST", FIRST, {"message": "weather in Rome", "tools": [tool]})).json()["tool_calls"]
    assert call == {"name": "get_weather", "parameters": {"city": "Rome", "days": 4}}


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({"max_tokens": 2}, "MAX_TOKENS"),
        ({"stop_sequences": ["said"]}, "STOP_SEQUENCE"),
        ({"model": "command~refusal"}, "ERROR_TOXIC"),
    ],
)
async def test_the_reason_to_finish_is_told(simulator: Any, more: Any, finish: str) -> None:
    assert (await simulator.ask("POST", SECOND, second(**more))).json()["finish_reason"] == finish
    assert (await simulator.ask("POST", FIRST, {"message": "hello"} | more)).json()["finish_reason"] == finish


async def test_texts_are_embedded_in_both_shapes(simulator: Any) -> None:
    body = {"model": "embed-english-v3.0", "texts": ["a gate", "a river"], "input_type": "search_query"}
    vectors = [words.vector(one, 1024) for one in body["texts"]]
    first = (await simulator.ask("POST", "/cohere/v1/embed", body)).json()
    second_shape = (await simulator.ask("POST", "/cohere/v2/embed", body)).json()
    assert (first["embeddings"], second_shape["embeddings"]) == (vectors, {"float": vectors})
    assert first["meta"]["billed_units"] == {"input_tokens": 4}


async def test_the_compatible_path_speaks_openais_wire(simulator: Any) -> None:
    target = "/cohere/compatibility/v1/chat/completions"
    said = (await simulator.ask("POST", target, second())).json()
    assert said["choices"][0]["message"]["content"] == words.reply("hello")
    assert "message" in (await simulator.ask("POST", target, second(model="c~status-500"))).json()


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "complaint"),
    [
        ("POST", SECOND, second(messages=[]), {}, 400, "messages must not be empty"),
        ("POST", SECOND, {"messages": [{"role": "user", "content": "x"}]}, {}, 400, "model is required"),
        ("POST", FIRST, {"message": ""}, {}, 400, "at least 1 token"),
        ("POST", "/cohere/v2/embed", {"model": "e", "texts": ["x"]}, {}, 400, "input_type"),
        ("GET", "/cohere/v1/models", None, {"Authorization": "Bearer bad-key"}, 401, "invalid api token"),
        ("POST", SECOND, second(model="unknown-x"), {}, 404, "not found"),
        ("POST", "/cohere/v3/chat", {}, {}, 404, "not found"),
        ("GET", SECOND, None, {}, 405, "method"),
        ("POST", SECOND, second(model="c~retry-after-1"), {}, 429, "limit"),
    ],
)
async def test_an_error_is_a_message(
    simulator: Any, method: str, target: str, body: Any, headers: Any, status: int, complaint: str
) -> None:
    reply = await simulator.ask(method, target, body, headers)
    assert reply.status == status
    assert complaint in reply.json()["message"]
