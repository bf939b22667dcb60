"""OpenAI's chat completions to Converse and back (docs/compat-bedrock.md), by hand and by hypothesis' cuts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.eventstream import encode
from sluice.providers.bedrock_chat.reply import Heading, from_error, from_reply
from sluice.providers.bedrock_chat.request import endpoint_of, to_converse
from sluice.providers.bedrock_chat.stream import ConverseStream
from sluice.values.errors import MalformedRequest, OutputUnreadable, UpstreamBroken

CLAUDE = "anthropic.claude-x-v1:0"
HEADING = Heading("chatcmpl-1", 7, CLAUDE)
PNG = "data:image/png;base64,iVBORw0K"
PDF = "data:application/pdf;base64,JVBERi0K"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA}}
SPEC = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}, "description": "tells it"}}
CALLED = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "call.1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call.1", "content": "rain"},
]
CONVERSED = [
    {"role": "user", "content": [{"text": "hi"}]},
    {"role": "assistant",
     "content": [{"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Oslo"}}}]},
    {"role": "user", "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}}]},
]  # fmt: skip
UNSAID = {"code": None, "param": None}
HI = [{"role": "user", "content": "hi"}]
HELLO = [{"role": "user", "content": [{"text": "hi"}]}]

REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("text", {"messages": HI}, {"messages": HELLO}),
    (
        "system and what is said in a row",
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "developer", "content": "be kind"},
                *HI,
                *HI,
            ]
        },
        {
            "system": [{"text": "be brief\n\nbe kind"}],
            "messages": [{"role": "user", "content": [{"text": "hi"}, {"text": "hi"}]}],
        },
    ),
    (
        "images and documents",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image_url", "image_url": {"url": PNG}},
                        {"type": "file", "file": {"file_data": PDF, "filename": "a_b.pdf"}},
                        {"type": "file", "file": {"file_data": PDF}},
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "see"},
                        {"image": {"format": "png", "source": {"bytes": "iVBORw0K"}}},
                        {"document": {"format": "pdf", "name": "a-b-pdf", "source": {"bytes": "JVBERi0K"}}},
                        {"document": {"format": "pdf", "name": "document-2", "source": {"bytes": "JVBERi0K"}}},
                    ],
                }
            ]
        },
    ),
    (
        "numbers",
        {"messages": HI, "max_tokens": 5, "temperature": 1.5, "top_p": 0.5, "stop": ["x", " "], "seed": 1, "user": "u"},
        {
            "messages": HELLO,
            "inferenceConfig": {"maxTokens": 5, "temperature": 1.0, "topP": 0.5, "stopSequences": ["x"]},
        },
    ),
    (
        "what is the model's own",
        {"messages": HI, "top_k": 4, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {
            "messages": HELLO,
            "additionalModelRequestFields": {"top_k": 4, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        },
    ),
    ("tools", {"messages": HI, "tools": [WEATHER]}, {"messages": HELLO, "toolConfig": {"tools": [SPEC]}}),
    (
        "a tool that must be called",
        {"messages": HI, "tools": [WEATHER], "tool_choice": "required"},
        {"messages": HELLO, "toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ),
    (
        "this tool",
        {"messages": HI, "tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"messages": HELLO, "toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}},
    ),
    ("no tool", {"messages": HI, "tools": [WEATHER], "tool_choice": "none"}, {"messages": HELLO}),
    (
        "no tool after a call of one",
        {"messages": CALLED, "tools": [WEATHER], "tool_choice": "none"},
        {"messages": CONVERSED, "toolConfig": {"tools": [SPEC]}},
    ),
    (
        "an answer by a schema",
        {
            "messages": HI,
            "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
        },
        {
            "messages": HELLO,
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "schema": '{"type":"object","properties":{"city":{"type":"string"}},'
                            '"additionalProperties":false}',
                            "name": "place",
                        }
                    },
                }
            },
        },
    ),
]


@pytest.mark.parametrize(("asked", "told"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_a_request_is_told_as_converse_has_it(asked: dict[str, Any], told: dict[str, Any]):
    translated = to_converse(json.dumps({"model": CLAUDE} | asked).encode(), CLAUDE)
    assert json.loads(translated.body) == told
    assert (translated.stream, translated.include_usage) == (False, False)


def test_only_the_models_that_have_a_field_are_sent_it():
    body = json.dumps({"messages": HI, "top_k": 4, "thinking": {}}).encode()
    nova = json.loads(to_converse(body, "us.amazon.nova-lite-v1:0").body)
    assert nova == {"messages": HELLO, "additionalModelRequestFields": {"inferenceConfig": {"topK": 4}}}
    assert json.loads(to_converse(body, "meta.llama-x").body) == {"messages": HELLO}


def test_a_model_of_any_name_is_one_segment_of_the_path():
    assert endpoint_of(CLAUDE, False) == b"bedrock-runtime/model/anthropic.claude-x-v1%3A0/converse"
    assert endpoint_of("arn:a/b?c", True) == b"bedrock-runtime/model/arn%3Aa%2Fb%3Fc/converse-stream"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"messages": HI, "n": 2}, "n:"),
        ({"messages": HI, "audio": {}}, "audio:"),
        ({"messages": HI, "modalities": ["audio"]}, "modalities:"),
        ({"messages": HI, "response_format": {"type": "grammar"}}, "response_format.type"),
        ({"messages": HI, "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
         "data URLs"),
        ({"messages": []}, "messages"),
        ({}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named(asked: dict[str, Any], field: str):
    with pytest.raises(MalformedRequest, match=field):
        to_converse(json.dumps(asked).encode(), CLAUDE)


def reply(*content: Any, stop: str = "end_turn", **usage: int) -> bytes:
    counts = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15} | usage
    message = {"role": "assistant", "content": list(content)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": counts, "metrics": {}}).encode()


def test_a_reply_is_told_as_a_completion():
    told = json.loads(
        from_reply(reply({"reasoningContent": {}}, {"text": "Hel"}, {"text": "lo"}, cacheReadInputTokens=7), HEADING)
    )
    assert told == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": CLAUDE,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 17,
            "completion_tokens": 5,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 7},
        },
    }


def test_calls_are_told_as_calls():
    use = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}}
    (choice,) = json.loads(from_reply(reply(use, stop="tool_use"), HEADING))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "t1", "weather", {"city": "Oslo"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something new", "stop"),
    ],
)
def test_every_reason_to_stop_has_a_word_of_openais(stop: str, finish: str):
    assert json.loads(from_reply(reply({"text": "x"}, stop=stop), HEADING))["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 9999, b'{"output":{"message":{}}}'])
def test_what_is_no_reply_of_converse_is_said_to_be_none(body: bytes):
    with pytest.raises(OutputUnreadable):
        from_reply(body, HEADING)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message":"no such model"}', "no such model"),
        (b'{"Message":"no access"}', "no access"),
        (b"<html>", "The provider answered with status 403"),
    ],
)
def test_an_error_is_told_in_openais_shape(body: bytes, said: str):
    assert json.loads(from_error(403, body))["error"] == {"message": said, "type": "permission_error"} | UNSAID


def event(kind: str, **payload: Any) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode(headers, json.dumps(payload | {"p": "abc"}).encode())


BEGIN = event("messageStart", role="assistant")
SAID = [event("contentBlockDelta", contentBlockIndex=0, delta={"text": text}) for text in ("Hel", "", "lo")]
STOP = event("messageStop", stopReason="end_turn")
USAGE = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 18, "cacheWriteInputTokens": 3}
END = event("metadata", usage=USAGE, metrics={"latencyMs": 9})
TEXT = b"".join([BEGIN, *SAID, event("contentBlockStop", contentBlockIndex=0), event("novelty"), STOP, END])
CALLS = b"".join(
    [
        BEGIN,
        event("contentBlockStart", contentBlockIndex=1, start={"toolUse": {"toolUseId": "t1", "name": "a"}}),
        event("contentBlockDelta", contentBlockIndex=1, delta={"toolUse": {"input": '{"x"'}}),
        event("contentBlockDelta", contentBlockIndex=1, delta={"toolUse": {"input": ":1}"}}),
        event("contentBlockStop", contentBlockIndex=1),
        event("contentBlockStart", contentBlockIndex=2, start={"toolUse": {"toolUseId": "t2", "name": "b"}}),
        event("contentBlockStop", contentBlockIndex=2),
        event("messageStop", stopReason="tool_use"),
        END,
    ]
)


def chunks(data: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return ["DONE" if line == b"[DONE]" else json.loads(line) for line in lines]


def told(data: bytes, usage: bool = True) -> tuple[list[Any], ConverseStream]:
    stream = ConverseStream(usage, HEADING)
    return chunks(stream.feed(data) + stream.finish()), stream


def test_a_stream_is_told_in_chunks():
    found, stream = told(TEXT)
    assert (stream.ended, stream.fault) == (True, None)
    assert [one["choices"][0]["delta"] for one in found[:-2]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert found[-3]["choices"][0]["finish_reason"] == "stop"
    assert found[-2]["usage"] == {
        "prompt_tokens": 13,
        "completion_tokens": 5,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 3},
    }
    assert found[-1] == "DONE"
    assert "usage" not in told(TEXT, usage=False)[0][-2]


def test_calls_in_a_stream_are_told_with_arguments_that_can_be_parsed():
    found, _ = told(CALLS)
    deltas = [call for one in found[:-2] for call in one["choices"][0]["delta"].get("tool_calls", ())]
    arguments = ["".join(one["function"]["arguments"] for one in deltas if one["index"] == n) for n in (0, 1)]
    assert [json.loads(one) for one in arguments] == [{"x": 1}, {}]
    assert [(one["id"], one["function"]["name"]) for one in deltas if "id" in one] == [("t1", "a"), ("t2", "b")]
    assert found[-3]["choices"][0]["finish_reason"] == "tool_calls"


@given(st.lists(st.integers(1, 80), max_size=40), st.sampled_from([TEXT, CALLS]))
def test_a_stream_is_told_the_same_however_it_is_split(sizes: list[int], data: bytes):
    stream, found, at = ConverseStream(True, HEADING), b"", 0
    for size in (*sizes, len(data)):
        found += stream.feed(data[at : at + size])
        at += size
    assert chunks(found + stream.finish()) == told(data)[0]


def test_a_stream_without_metadata_ends_well_and_tells_no_usage():
    found, stream = told(TEXT.removesuffix(END))
    assert (stream.fault, found[-1]) == (None, "DONE")
    assert found[-2]["usage"] is None


@pytest.mark.parametrize("cut", [1, len(END) + 1, len(END) + len(STOP), len(TEXT) - len(BEGIN)])
def test_a_stream_that_is_cut_shows_no_good_end(cut: int):
    found, stream = told(TEXT[:-cut])
    assert isinstance(stream.fault, UpstreamBroken)
    assert "DONE" not in found
    assert all(one["choices"][0]["finish_reason"] is None for one in found)


def test_an_exception_is_passed_on_and_breaks_the_stream():
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    found, stream = told(BEGIN + encode(headers, b'{"message":"too many"}') + TEXT)
    assert found[1:] == [{"error": {"message": "too many", "type": "throttlingException"} | UNSAID}]
    assert isinstance(stream.fault, UpstreamBroken)
    failed = encode({":message-type": "error", ":error-code": "500", ":error-message": "oh"}, b"")
    assert told(failed)[0] == [{"error": {"message": "oh", "type": "500"} | UNSAID}]


@pytest.mark.parametrize("payload", [b"nonsense", b'{"contentBlockIndex":"x"}', b"\xff", b"[" * 9999])
def test_an_event_that_cannot_be_read_is_a_fault(payload: bytes):
    headers = {":message-type": "event", ":event-type": "contentBlockDelta"}
    _, stream = told(BEGIN + encode(headers, payload))
    assert isinstance(stream.fault, OutputUnreadable)
    assert isinstance(told(TEXT[:200] + b"x" * 200)[1].fault, OutputUnreadable)
