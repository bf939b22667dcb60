import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from sluice.simulator import words

WEATHER = {
    "name": "get_weather",
    "description": "tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
VERSION = {"anthropic-version": "2023-06-01"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "the weather is fine"}]}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}


def turn(said: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": said}


async def send(simulator: Any, said: Any = "hello", model: str = "claude-sonnet-4-6", **more: Any) -> Any:
    body = {"model": model, "max_tokens": 500, "messages": [turn(said)]} | more
    return await simulator.ask("POST", "/anthropic/v1/messages", body, VERSION)


@pytest.fixture
def client(simulator: Any) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{simulator.port}/anthropic"
    with anthropic.Anthropic(api_key="any", base_url=url, max_retries=0) as client:
        yield client


async def test_a_message_is_answered_with_what_follows_from_its_prompt(simulator: Any) -> None:
    reply = await send(simulator, "open the gate", system="be brief")
    said = reply.json()
    assert said["content"] == [{"type": "text", "text": words.reply("open the gate")}]
    assert (said["type"], said["role"], said["stop_reason"], said["stop_sequence"]) == (
        "message",
        "assistant",
        "end_turn",
        None,
    )
    assert said["usage"]["input_tokens"] == 3 + 4 + 3 + 4 + 2
    assert said["usage"]["output_tokens"] == words.count(words.reply("open the gate"))
    assert reply.header("request-id").startswith("req_")
    assert reply.header("anthropic-ratelimit-requests-limit") == "4000"


async def test_a_stream_says_what_the_whole_message_says(simulator: Any) -> None:
    whole = (await send(simulator)).json()
    reply = await send(simulator, stream=True)
    events = reply.events()
    assert [one["type"] for one in events[:3]] == ["message_start", "content_block_start", "ping"]
    assert [one["type"] for one in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    names = [line[7:] for line in reply.body.decode().splitlines() if line.startswith("event: ")]
    assert names == [one["type"] for one in events]
    told = "".join(one["delta"]["text"] for one in events if one["type"] == "content_block_delta")
    assert told == whole["content"][0]["text"]
    assert events[-2]["usage"].items() <= whole["usage"].items()
    assert events[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]


def test_the_official_sdk_reads_a_stream_of_a_tools_use_and_sends_its_result(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "claude-sonnet-4-6", "max_tokens": 100, "tools": [WEATHER]}
    turns: Any = [turn("What is the weather in Paris?")]
    with client.messages.stream(**asked, messages=turns) as stream:
        message = stream.get_final_message()
    (use,) = message.content
    assert use.type == "tool_use"
    assert (use.name, use.input, message.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    result = RESULT | {"tool_use_id": use.id}
    turns += [turn([use.model_dump()], "assistant"), turn([result])]
    said = client.messages.create(**asked, messages=turns)
    assert said.content[0].type == "text"
    assert said.content[0].text == words.reply("the weather is fine")


def test_the_official_sdk_counts_lists_and_sees_errors(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="claude-haiku-4-5", messages=[{"role": "user", "content": "one two"}])
    assert counted.input_tokens == 9
    listed = client.models.list().data
    assert client.models.retrieve(listed[0].id) == listed[0]
    with pytest.raises(anthropic.RateLimitError) as limited:
        client.messages.create(model="m~retry-after-3", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert limited.value.response.headers["retry-after"] == "3"
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="bad-key").models.list()


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ({}, False),
        ({"tool_choice": {"type": "auto"}}, False),
        ({"tool_choice": {"type": "any"}}, True),
        ({"tool_choice": {"type": "tool", "name": "get_weather"}}, True),
    ],
)
async def test_the_choice_of_tools_is_heeded(simulator: Any, more: Any, called: bool) -> None:
    said = (await send(simulator, tools=[WEATHER], **more)).json()
    assert [one["type"] for one in said["content"]] == ["tool_use" if called else "text"]
    told = (await send(simulator, "the weather", tools=[WEATHER], tool_choice={"type": "none"})).json()
    assert told["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("model", "more", "reason"),
    [
        ("claude", {"max_tokens": 3}, "max_tokens"),
        ("claude", {"stop_sequences": ["never", "said"]}, "stop_sequence"),
        ("claude~refusal", {}, "refusal"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_reason_for_stopping_is_told(
    simulator: Any, model: str, more: Any, reason: str, stream: bool
) -> None:
    reply = await send(simulator, model=model, stream=stream, **more)
    ending = reply.events()[-2]["delta"] if stream else reply.json()
    assert ending["stop_reason"] == reason
    assert ending["stop_sequence"] == ("said" if reason == "stop_sequence" else None)


async def test_what_the_cache_had_a_part_in_is_counted_apart(simulator: Any) -> None:
    usage = (await send(simulator, "a b c d e f g h", "claude~cached-5~cache-write-4")).json()["usage"]
    counts = [usage[f"{name}input_tokens"] for name in ("", "cache_read_", "cache_creation_")]
    assert counts == [15 - 9, 5, 4]
    assert "usage" not in (await send(simulator, model="claude~no-usage")).json()
    long = [{"type": "text", "text": "word " * 2000, "cache_control": {"type": "ephemeral"}}]
    assert (await send(simulator, long)).json()["usage"]["cache_read_input_tokens"] == 1920


async def test_images_and_structured_output_are_understood(simulator: Any) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    said = (await send(simulator, [{"type": "text", "text": "look"}, image, PICTURE])).json()
    assert said["usage"]["input_tokens"] == 3 + 4 + 1 + 2 * 85
    assert said["content"][0]["text"] == words.reply("look")
    form = {"type": "json_schema", "schema": WEATHER["input_schema"]}
    for more in ({"output_config": {"format": form}}, {"output_format": form}):
        assert json.loads((await send(simulator, **more)).json()["content"][0]["text"]) == {
            "city": words.reply("hello")
        }


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"messages": []}, "at least one message"),
        ({"messages": [turn("be brief", "system")]}, "messages.0.role"),
        ({"messages": [turn("")]}, "non-empty content"),
        ({"messages": [turn([{"type": "text", "text": ""}])]}, "text content blocks must be non-empty"),
        ({"messages": [turn([RESULT])]}, "unexpected `tool_use_id`"),
        ({"messages": [turn([USE], "assistant"), turn("well?")]}, "without `tool_result`"),
        ({"messages": [turn([USE], "assistant")]}, "without `tool_result`"),
        ({"messages": [turn([USE])]}, "can not be in a message of the user"),
        ({"messages": [turn([USE | {"input": "{}"}], "assistant"), turn([RESULT])]}, "Expected `object`"),
        ({"messages": [turn([PICTURE | {"source": {"type": "base64", "media_type": "image/bmp"}}])]}, "media_type"),
        ({"messages": [turn([{"type": "image", "source": {"type": "url", "url": "data:x"}}])]}, "source.url"),
        ({"messages": [turn([PICTURE | {"source": {"type": "cloud"}}])]}, "source: Input tag 'cloud'"),
        ({"messages": [turn([{"type": "tool_use", "name": "a"}], "assistant")]}, "tool_use.id"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.custom.name"),
        ({"tools": [{"name": "a"}]}, "input_schema: Field required"),
        ({"tool_choice": {"type": "any"}}, "while providing tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "required"}}, "'required'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "b"}}, "not found"),
    ],
)
async def test_what_anthropic_refuses_is_refused(simulator: Any, more: Any, complaint: str) -> None:
    reply = await send(simulator, **more)
    error = reply.json()
    assert (reply.status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
    assert complaint in error["error"]["message"]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "kind"),
    [
        ("GET", "/anthropic/v1/models", {}, 400, "invalid_request_error"),
        ("GET", "/anthropic/v1/models", VERSION | {"x-api-key": "bad-key"}, 401, "authentication_error"),
        ("GET", "/anthropic/v1/models", VERSION | {"Authorization": "Bearer bad-key"}, 401, "authentication_error"),
        ("GET", "/anthropic/v1/models/unknown-x", VERSION, 404, "not_found_error"),
        ("GET", "/anthropic/messages", VERSION, 404, "not_found_error"),
        ("GET", "/anthropic/v1/messages", VERSION, 405, "invalid_request_error"),
        ("GET", "/anthropic/v1/models", VERSION | {"x-sluice-fault": "status=529"}, 529, "overloaded_error"),
        ("GET", "/anthropic/v1/models", VERSION | {"x-sluice-fault": "status=502"}, 502, "api_error"),
    ],
)
async def test_an_error_has_anthropics_shape(
    simulator: Any, method: str, target: str, headers: Any, status: int, kind: str
) -> None:
    reply = await simulator.ask(method, target, None, headers)
    error = reply.json()
    assert (reply.status, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert error["request_id"] == reply.header("request-id")
