import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.formats.eventstream import MEDIA_TYPE, encode
from sluice.formats.text import piece_of, text_of

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"

WHOLE = {
    "chat": ({"choices": [{"message": {"role": "assistant", "content": "hello"}}]}, "hello"),
    "chat in parts": (
        {
            "choices": [
                {"message": {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hello"}]}}
            ]
        },
        "hello",
    ),
    "chat, the first of several": (
        {"choices": [{"message": {"content": "hello"}}, {"message": {"content": "bye"}}]},
        "hello",
    ),
    "chat that only calls a tool": (
        {"choices": [{"message": {"content": None, "tool_calls": [{"id": "c"}]}}]},
        "",
    ),
    "converse": ({"output": {"message": {"content": [{"reasoningContent": {}}, {"text": "hello"}]}}}, "hello"),
    "completion": ({"choices": [{"text": "hello", "index": 0}]}, "hello"),
    "responses": (
        {
            "object": "response",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "hel"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "lo"}]},
            ],
        },
        "hello",
    ),
    "responses that only call a tool": ({"output": [{"type": "function_call", "name": "f"}]}, ""),
    "responses as the sdk shows them": ({"output_text": "hello"}, "hello"),
    "anthropic": (
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "hel"},
                {"type": "tool_use", "name": "f", "input": {"text": "no"}},
                {"type": "text", "text": "lo"},
            ],
        },
        "hello",
    ),
    "gemini": (
        {
            "candidates": [
                {"content": {"parts": [{"text": "hm", "thought": True}, {"text": "hel"}, {"text": "lo"}]}},
                {"content": {"parts": [{"text": "bye"}]}},
            ]
        },
        "hello",
    ),
    "gemini, stopped": ({"candidates": [{"finishReason": "SAFETY"}]}, ""),
    "gemini as an array": (
        [
            {"candidates": [{"content": {"parts": [{"text": "hel"}]}}]},
            {"candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}]},
            {"usageMetadata": {}},
        ],
        "hello",
    ),
    "workers ai": ({"result": {"response": "hello"}, "success": True}, "hello"),
    "workers ai without its envelope": ({"response": "hello"}, "hello"),
    "workers ai that answers with json": ({"result": {"response": {"a": [1, True]}}}, '{"a":[1,true]}'),
    "workers ai that answers with a number": ({"result": {"response": 42}, "success": True}, "42"),
    "chat that answers with a number": ({"choices": [{"message": {"content": 4.5}}]}, "4.5"),
    "workers ai in openai's shape": ({"result": {"choices": [{"message": {"content": "hello"}}]}}, "hello"),
    "cohere v1": ({"text": "hello", "generation_id": "g", "meta": {}}, "hello"),
    "cohere v2": ({"message": {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}}, "hello"),
    "hugging face": ([{"generated_text": "hello"}], "hello"),
    "replicate in pieces": ({"status": "succeeded", "output": ["hel", "lo"]}, "hello"),
    "replicate": ({"status": "succeeded", "output": "hello"}, "hello"),
}
STREAMED = {
    "converse": [
        {"role": "assistant"},
        {"contentBlockIndex": 0, "delta": {"text": "hel"}},
        {"contentBlockIndex": 0, "delta": {"text": "lo"}},
        {"contentBlockIndex": 0},
        {"stopReason": "end_turn"},
    ],
    "chat": [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "hel"}}]},
        {"choices": [{"index": 1, "delta": {"content": "bye"}}]},
        {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "hm"}}]},
        {"choices": [{"index": 0, "delta": {"content": "lo"}}]},
        {"choices": [], "usage": {}},
    ],
    "completion": [{"choices": [{"text": "hel", "index": 0}]}, {"choices": [{"text": "lo", "index": 0}]}],
    "responses": [
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.output_text.delta", "delta": "hel"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.output_text.delta", "delta": "lo"},
        {"type": "response.output_text.done", "text": "hello"},
        {
            "type": "response.completed",
            "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}]},
        },
    ],
    "responses, its deltas lost": [
        {"type": "response.created", "response": {"output": []}},
        {
            "type": "response.completed",
            "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}]},
        },
    ],
    "anthropic": [
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "hel"}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "hel"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}], "usageMetadata": {}},
    ],
    "workers ai": [{"response": "hel"}, {"response": "lo"}, {"response": "", "usage": {}}],
    "cohere v1": [
        {"event_type": "stream-start"},
        {"event_type": "text-generation", "text": "hel"},
        {"event_type": "text-generation", "text": "lo"},
        {"event_type": "stream-end", "response": {"text": "hello"}},
    ],
    "cohere v1, its pieces lost": [{"event_type": "stream-end", "response": {"text": "hello"}}],
    "cohere v2": [
        {"type": "message-start"},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "hel"}}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "lo"}}}},
        {"type": "message-end", "delta": {}},
    ],
    "hugging face": [
        {"token": {"text": "hel", "special": False}, "generated_text": None},
        {"token": {"text": "lo", "special": False}},
        {"token": {"text": "</s>", "special": True}, "generated_text": "hello"},
    ],
}


@pytest.mark.parametrize(("reply", "text"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("content_type", [JSON, "", "text/plain"])
def test_the_text_of_a_whole_reply_is_found_by_its_shape(reply, text, content_type):
    assert text_of(content_type, json.dumps(reply).encode()) == text


@pytest.mark.parametrize("events", STREAMED.values(), ids=STREAMED)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_text_of_a_stream_is_assembled(events, line_end):
    lines = [f"data: {json.dumps(event)}{line_end}{line_end}" for event in events]
    body = "".join([*lines, f"data: [DONE]{line_end}{line_end}"]).encode()
    assert text_of(SSE, body) == "hello"
    assert text_of("text/plain", body) == "hello"
    assert text_of(SSE, body.strip()) == "hello"


def test_the_text_of_a_stream_of_amazons_messages_is_assembled():
    body = b"".join(encode({":event-type": "x"}, json.dumps(event).encode()) for event in STREAMED["converse"])
    assert text_of(MEDIA_TYPE, body) == text_of(MEDIA_TYPE, body + b"cut") == "hello"


@pytest.mark.parametrize("events", [events for name, events in STREAMED.items() if "lost" not in name])
def test_the_pieces_of_a_stream_are_found_one_by_one(events):
    assert "".join(piece_of(json.dumps(event).encode()) or "" for event in events) == "hello"


@pytest.mark.parametrize(
    "events",
    [
        [{"response": "In "}, {"response": 0}, {"response": 1.5}, {"response": True}, {"response": None}],
        [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("In ", 0, 1.5, True, None)],
        [{"choices": [{"index": 0, "text": piece}]} for piece in ("In ", 0, 1.5, True, None)],
        [{"choices": [{"delta": {"content": [{"type": "text", "text": piece}]}}]} for piece in ("In ", 0, 1.5, True)],
    ],
)
def test_a_number_is_words_too(events):
    assert "".join(piece_of(json.dumps(event).encode()) or "" for event in events) == "In 01.5"
    assert text_of(SSE, "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()) == "In 01.5"


@pytest.mark.parametrize("data", [b"[DONE]", b"", b"{", b"[" * 200_000, b'{"error": {"message": "no"}}'])
def test_an_event_without_words_has_no_piece(data):
    assert piece_of(data) is None


@pytest.mark.parametrize("name", ["cohere v1", "workers ai"])
def test_the_text_of_a_stream_of_lines_is_assembled(name):
    body = b"\n".join(json.dumps(event).encode() for event in STREAMED[name])
    assert text_of("application/stream+json", body) == "hello"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, '{"error":{"message":"no"}}'),
        (JSON, '{"data":[{"url":"https://x"}]}'),
        (JSON, '{"choices":[]}'),
        (JSON, '{"choices":[{"message":"x"}]}'),
        (JSON, '{"result":{"response":true}}'),
        (JSON, '{"output":null,"status":"starting"}'),
        (JSON, "[]"),
        (JSON, "[1,2]"),
        (JSON, "3"),
        (JSON, '"quoted"'),
        (JSON, '{"response":"\\ud800"}'),
        (JSON, '{"choices":'),
        (JSON, ""),
        ("text/plain", "plain words"),
        ("text/html", "<p>data: x</p>"),
        (SSE, 'data: {"error":{"message":"no"}}\n\n'),
        (SSE, "not a stream"),
        (SSE, ""),
    ],
)
def test_a_reply_of_no_known_shape_is_its_own_text(content_type, body):
    assert text_of(content_type, body.encode()) == body


def test_bytes_that_are_no_text_are_replaced():
    assert text_of("image/png", b"\x89PNG\xff") == "\ufffdPNG\ufffd"


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"result":' * 100_000, b'data: {"choices":' + b"[" * 200_000])
def test_deep_json_is_its_own_text(body):
    assert text_of(JSON, body) == body.decode()


KEYS = sorted({key for reply, _ in WHOLE.values() for key in json.dumps(reply).split('"')[1::2]})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.lists(VALUES, max_size=3), st.sampled_from([JSON, SSE, "application/stream+json", ""]))
def test_no_json_breaks_the_reading(values, content_type):
    whole = json.dumps(values[0] if values else None).encode()
    stream = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    for body in (whole, stream, stream.replace(b"data: ", b"")):
        assert isinstance(text_of(content_type, body), str)


@given(st.binary(max_size=80), st.text(max_size=20))
def test_no_bytes_break_the_reading(body, content_type):
    assert isinstance(text_of(content_type, body), str)
