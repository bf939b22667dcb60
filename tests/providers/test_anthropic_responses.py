"""OpenAI's responses before Anthropic's messages, request, reply and stream."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from sluice.formats.sse import EventSplitter, parse_event
from sluice.providers.anthropic_responses.reply import from_message
from sluice.providers.anthropic_responses.request import to_messages
from sluice.providers.anthropic_responses.stream import MAX_ANSWER_BYTES, ResponseStream
from sluice.values.errors import MalformedRequest, OutputUnreadable, UpstreamBroken

CREATED_S = 1_700_000_000
PNG = "iVBORw0KGgo="
HELLO_TURN = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def request(**fields: Any) -> bytes:
    return json.dumps({"model": "anthropic/claude", "input": "Hello", **fields}).encode()


def translated(**fields: Any) -> dict[str, Any]:
    return json.loads(to_messages(request(**fields), "claude-sonnet-4-5").body)


def refusal(**fields: Any) -> str:
    with pytest.raises(MalformedRequest) as caught:
        to_messages(request(**fields), "claude-sonnet-4-5")
    return caught.value.said


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return translated(input=[{"role": "user", "content": parts}])["messages"][0]["content"]


def test_a_plain_request_has_the_given_model_and_the_bound_that_anthropic_wants():
    assert translated() == {"model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": [HELLO_TURN]}


def test_instructions_and_system_items_become_the_system_text():
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": "Hello"},
        {"role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
    ]
    body = translated(instructions="Be there.", input=items)
    assert body["system"] == "Be there.\n\nBe brief.\n\nBe kind."
    assert body["messages"] == [HELLO_TURN]


def test_every_kind_of_part_has_its_block():
    parts = (
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    )
    assert [(block["type"], block.get("source", {}).get("type")) for block in user(*parts)] == [
        ("text", None),
        ("image", "url"),
        ("image", "base64"),
        ("document", "base64"),
        ("document", "url"),
    ]


def test_calls_and_their_outputs_are_turns():
    items = [
        {"role": "user", "content": "Hello"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "rainy"}]},
        {"role": "user", "content": "And?"},
    ]
    assert translated(input=items)["messages"] == [
        HELLO_TURN,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "rainy"}]},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "translation"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "name": "weather"}, {"type": "tool", "name": "weather"}),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
            {"type": "any"},
        ),
    ],
)
def test_tools_and_every_form_of_their_choice_have_counterparts(choice: Any, translation: dict[str, Any]):
    other = {"type": "function", "name": "now"}
    body = translated(tools=[WEATHER, other], tool_choice=choice)
    assert body["tool_choice"] == translation
    assert body["tools"][0] == {
        "name": "weather",
        "description": "Tells the weather.",
        "input_schema": WEATHER["parameters"],
    }
    assert len(body["tools"]) == (1 if isinstance(choice, dict) and choice["type"] == "allowed_tools" else 2)


def test_the_other_fields_have_counterparts():
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = translated(
        max_output_tokens=7,
        temperature=2,
        top_p=0.5,
        user="u",
        tools=[WEATHER],
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high"},
        store=True,
        include=["reasoning.encrypted_content"],
    )
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 1, 0.5)
    assert body["metadata"] == {"user_id": "u"}
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "reasoning" not in body


def test_a_stream_always_tells_usage():
    told = to_messages(request(stream=True), "m")
    assert (told.stream, told.include_usage, json.loads(told.body)["stream"]) == (True, True, True)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": []}, "input"),
        ({"input": " "}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call_output", "call_id": "x", "output": []}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "a", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "["}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
            "input[0].content[0].file_data",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "ftp://x"}]}]},
            "input[0].content[0].file_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "https://x"}]}]},
            "input[0].content",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_place(fields: dict[str, Any], place: str):
    assert refusal(**fields).startswith(f"{place}: ")


WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "text", "text": 'Grüß Gott, "Welt" 🌍'},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "München"}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 25},
}


def response(message: dict[str, Any]) -> dict[str, Any]:
    return json.loads(from_message(json.dumps(message).encode(), CREATED_S))


def test_a_reply_is_a_response_that_openais_sdk_knows():
    told = response(WHOLE)
    known = Response.model_validate(told)
    assert (known.id, known.status, known.created_at, known.model) == (
        "msg_1",
        "completed",
        CREATED_S,
        "claude-sonnet-4-5",
    )
    assert known.output_text == 'Grüß Gott, "Welt" 🌍'
    assert [item["type"] for item in told["output"]] == ["message", "function_call", "function_call"]
    assert [json.loads(item["arguments"]) for item in told["output"][1:]] == [{"city": "München"}, {}]
    assert [item["call_id"] for item in told["output"][1:]] == ["toolu_1", "toolu_2"]
    assert told["usage"] == {
        "input_tokens": 14,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 25,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 39,
    }


@pytest.mark.parametrize(
    ("stop_reason", "status", "reason"),
    [
        ("end_turn", "completed", None),
        ("tool_use", "completed", None),
        ("max_tokens", "incomplete", "max_output_tokens"),
        ("refusal", "incomplete", "content_filter"),
    ],
)
def test_a_stop_reason_is_a_status(stop_reason: str, status: str, reason: str | None):
    told = response({**WHOLE, "stop_reason": stop_reason})
    assert (told["status"], (told["incomplete_details"] or {}).get("reason")) == (status, reason)


def test_what_is_no_message_is_an_error_of_its_own():
    with pytest.raises(OutputUnreadable):
        from_message(b"<html>", CREATED_S)


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def streamed(message: dict[str, Any], cut: int = 3) -> bytes:
    """The events that would have brought this message, in pieces of `cut` characters."""
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    told = [event("message_start", message=start), event("ping")]
    for index, block in enumerate(message["content"]):
        text = block.get("text", json.dumps(block["input"]) if block.get("input") else "")
        kind, name = ("text_delta", "text") if block["type"] == "text" else ("input_json_delta", "partial_json")
        opened = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        told.append(event("content_block_start", index=index, content_block=opened))
        for at in range(0, len(text), cut):
            told.append(event("content_block_delta", index=index, delta={"type": kind, name: text[at : at + cut]}))
        told.append(event("content_block_stop", index=index))
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    told.append(event("message_delta", delta={"stop_reason": message["stop_reason"]}, usage=usage))
    return b"".join(told) + event("message_stop")


STREAM = streamed(WHOLE)


def fed(*pieces: bytes) -> bytes:
    stream = ResponseStream(CREATED_S)
    told = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert (stream.ended, stream.fault) == (True, None)
    return told


def events(told: bytes) -> list[dict[str, Any]]:
    found = [parse_event(block) for block in EventSplitter().feed(told)]
    assert [one.name for one in found if one] == [json.loads(one.data)["type"] for one in found if one]
    return [json.loads(one.data) for one in found if one]


def parsed(told: dict[str, Any]) -> dict[str, Any]:
    for item in told["output"]:
        if "arguments" in item:
            item["arguments"] = json.loads(item["arguments"])
    return told


def test_a_stream_ends_with_the_whole_response():
    assert parsed(events(fed(STREAM))[-1]["response"]) == parsed(response(WHOLE))


def test_a_stream_is_the_same_at_every_split():
    told = fed(STREAM)
    for place in range(len(STREAM) + 1):
        assert fed(STREAM[:place], STREAM[place:]) == told


def test_a_stream_tells_each_item_from_its_opening_to_its_end():
    told = events(fed(STREAM))
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    kinds = [one["type"].removeprefix("response.") for one in told]
    assert [kind for here, kind in enumerate(kinds) if kinds[here - 1] != kind] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    for number, done in enumerate(one for one in told if one["type"] == "response.output_item.done"):
        deltas = [one["delta"] for one in told if "delta" in one and one["output_index"] == number]
        item = done["item"]
        assert done["output_index"] == number
        assert "".join(deltas) == (item["arguments"] if "arguments" in item else item["content"][0]["text"])


def test_every_event_is_one_that_openais_sdk_knows():
    for one in events(fed(STREAM)):
        STREAM_EVENT.validate_python(one)


def test_a_cut_stream_never_looks_complete():
    for place in range(STREAM.rindex(b"}") + 1):
        stream = ResponseStream(CREATED_S)
        told = stream.feed(STREAM[:place]) + stream.finish()
        assert not stream.ended
        assert isinstance(stream.fault, UpstreamBroken | OutputUnreadable)
        assert b"response.completed" not in told


def test_an_error_in_a_stream_is_passed_on_and_ends_it():
    stream = ResponseStream(CREATED_S)
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    told = stream.feed(STREAM[: len(STREAM) // 2].rpartition(b"event: ")[0] + error + STREAM)
    last = events(told)[-1]
    assert (last["type"], last["code"], last["message"]) == ("error", "overloaded_error", "Overloaded")
    assert isinstance(stream.fault, UpstreamBroken)
    assert (stream.feed(STREAM), stream.finish(), stream.ended) == (b"", b"", False)


@pytest.mark.parametrize(
    "broken",
    [STREAM[STREAM.index(b"event: content_block_start") :], event("message_stop"), STREAM.replace(b"}", b"", 1)],
    ids=["headless", "nothing", "garbled"],
)
def test_a_stream_that_cannot_be_read_is_at_fault(broken: bytes):
    stream = ResponseStream(CREATED_S)
    assert b"response.completed" not in stream.feed(broken) + stream.finish()
    assert isinstance(stream.fault, OutputUnreadable)


def test_an_answer_past_all_bounds_is_a_fault():
    stream = ResponseStream(CREATED_S)
    opened, ended = STREAM.split(event("content_block_stop", index=1))
    stream.feed(opened)
    piece = event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x" * (1 << 20)})
    fed_bytes = 0
    while stream.fault is None:
        stream.feed(piece)
        fed_bytes += 1 << 20
        assert fed_bytes <= MAX_ANSWER_BYTES + (1 << 20)
    assert isinstance(stream.fault, OutputUnreadable)
    assert stream.feed(ended) == b""


TEXTS = st.text(max_size=8)
BLOCKS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
    | st.builds(
        lambda number, given: {"type": "tool_use", "id": f"toolu_{number}", "name": "f", "input": given},
        st.integers(0, 99),
        st.dictionaries(TEXTS, st.none() | st.integers(-9, 9) | TEXTS, max_size=3),
    ),
    max_size=5,
)


@given(BLOCKS, st.sampled_from(["end_turn", "max_tokens", "refusal"]), st.integers(1, 6))
def test_any_reply_streamed_equals_the_same_reply_whole(blocks: list[dict[str, Any]], reason: str, cut: int):
    message = {**WHOLE, "content": blocks, "stop_reason": reason}
    assert parsed(events(fed(streamed(message, cut)))[-1]["response"]) == parsed(response(message))
