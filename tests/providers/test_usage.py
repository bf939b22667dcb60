import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.formats.sse import Event
from sluice.providers.replies import ends_stream, may_end_stream, named_model, named_model_of_event
from sluice.providers.usage import MAX_COUNT, Told, counted, may_tell_usage, merged, told_by_event, told_by_reply
from sluice.values.log import Usage


def usage_of(body: bytes) -> Usage | None:
    return counted(told_by_reply(body))


def usage_of_event(data: bytes) -> Usage | None:
    return counted(told_by_event(data))


TABLE = {
    "chat": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 3},
            "completion_tokens_details": {
                "reasoning_tokens": 20,
                "audio_tokens": 4,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        Usage(100, 50, 150, reasoning=20, cached_in=64, audio_in=3, audio_out=4),
    ),
    "responses": (
        {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 123,
        },
        Usage(36, 87, 123, reasoning=64, cached_in=0),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, None, 8)),
    "legacy completions": (
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        Usage(5, 7, 12),
    ),
    "images": (
        {
            "total_tokens": 100,
            "input_tokens": 50,
            "output_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        },
        Usage(50, 50, 100, image_in=40),
    ),
    "transcription": (
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
            "output_tokens": 101,
            "total_tokens": 115,
        },
        Usage(14, 101, 115, audio_in=4),
    ),
    "realtime, out of the cache": (
        {
            "input_tokens": 1000,
            "input_token_details": {
                "text_tokens": 500,
                "audio_tokens": 500,
                "cached_tokens": 600,
                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 500, "image_tokens": 0},
            },
            "output_tokens": 10,
            "total_tokens": 1010,
        },
        Usage(1000, 10, 1010, cached_in=600, audio_in=500, cached_audio_in=500),
    ),
    "transcription by time": ({"type": "duration", "seconds": 9}, Usage(audio_in_ms=9_000)),
    "no details": (
        {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None, "completion_tokens_details": None},
        Usage(1, 2),
    ),
    "cache writes": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 6}},
        Usage(10, 2, cache_write=6),
    ),
    "zero is told from missing": ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
    "whole floats": ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, Usage(12, 3)),
    "impossible counts": (
        {"prompt_tokens": -1, "completion_tokens": 10**30, "total_tokens": 1.5},
        Usage(),
    ),
    "the largest count": ({"prompt_tokens": MAX_COUNT, "completion_tokens": MAX_COUNT + 1}, Usage(MAX_COUNT)),
}


@pytest.mark.parametrize(("usage", "expected"), TABLE.values(), ids=TABLE)
def test_usage_is_read_from_every_shape_of_openai(usage, expected):
    body = json.dumps({"id": "x", "model": "m", "choices": [{"message": {"content": "hi"}}], "usage": usage}).encode()
    assert usage_of(body) == expected
    assert usage_of_event(body) == expected
    assert usage_of_event(json.dumps({"type": "t", "response": {"usage": usage}}).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"usage"',
        b"{}",
        b'{"usage":null}',
        b'{"usage":5}',
        b'{"usage":[]}',
        b'{"usage":{"prompt_tokens":"12"}}',
        b'{"usage":{"prompt_tokens":true}}',
        b'{"usage":{"prompt_tokens":NaN}}',
        b'{"usage":{"prompt_tokens":1e999}}',
        b'{"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
        b'{"usage":{"prompt_tokens_details":7}}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b',"usage":{"prompt_tokens":1}}',
        b'{"a":' * 50_000,
        b'{"usage":{"prompt_tokens":1}',
        b'{"usage":{"prompt_tokens":1}} x',
        b"\xff\xfe{}",
        b'{"response":"text"}',
    ],
)
def test_what_is_not_usage_is_unknown(body):
    assert usage_of(body) is None
    assert usage_of_event(body) is None


def test_of_duplicate_keys_the_last_counts():
    assert usage_of(b'{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}') == Usage(2)


def test_bad_text_in_other_fields_does_not_matter():
    assert usage_of(b'{"x":"\xff\xfe","usage":{"prompt_tokens":2}}') == Usage(2)


KEYS = [
    "usage",
    "response",
    "result",
    "message",
    "delta",
    "x_groq",
    "meta",
    "metrics",
    "details",
    "model",
    "usageMetadata",
    "promptTokenCount",
    "thoughtsTokenCount",
    "promptTokensDetails",
    "candidates",
    "prompt_tokens",
    "input_tokens",
    "input_tokens_details",
    "cache_read_input_tokens",
    "tokens",
    "billed_units",
    "generated_tokens",
    "reasoning_tokens",
    "total_tokens",
    "finishReason",
    "type",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(JSON, JSON)
def test_no_json_breaks_the_readers(value, later):
    body, event = json.dumps(value).encode(), json.dumps(later).encode()
    told = merged(told_by_reply(body), told_by_event(event))
    for usage in (usage_of(body), usage_of_event(body), counted(told)):
        counts = [getattr(usage, field) for field in Usage.__struct_fields__] if usage else []
        assert all(count is None or 0 <= count <= MAX_COUNT for count in counts)
    assert isinstance(named_model(body), str | None)
    assert isinstance(named_model_of_event(body), str | None)
    assert isinstance(ends_stream(Event("message", body)), bool)


@given(st.binary(max_size=60) | st.sampled_from([b"[" * 50_000, b'[{"usage":' * 20_000, b'{"message":' * 50_000]))
def test_no_bytes_break_the_readers(data):
    assert usage_of(data) is None or isinstance(usage_of(data), Usage)
    assert isinstance(named_model_of_event(data), str | None)
    assert isinstance(ends_stream(Event("message", data)), bool)


def test_only_usage_that_is_not_null_is_worth_parsing():
    assert may_tell_usage(b'data: {"usage": {"prompt_tokens":1}}')
    assert may_tell_usage(b'data: {"usage":\ndata: {"prompt_tokens":1}}')
    assert may_tell_usage(b'data: {"usage":null,"x_groq":{"usage":{"prompt_tokens":1}}}')
    assert may_tell_usage(b'data: {"usageMetadata":{"promptTokenCount":1}}')
    assert not may_tell_usage(b'data: {"usage":null}')
    assert not may_tell_usage(b'data: {"usage" : null}')
    assert not may_tell_usage(rb'data: {"content":"\"usage\":{}"}')


def test_what_a_later_event_says_replaces_what_an_earlier_said():
    def both(*said: Usage) -> Usage | None:
        told: Told | None = None
        for usage in said:
            told = merged(told, Told(usage))
        return counted(told)

    assert both(Usage(1)) == Usage(1)
    assert both(Usage(10, 1, cached_in=4), Usage(tokens_out=9)) == Usage(10, 9, cached_in=4)
    assert both(Usage(10, 1), Usage(0, 0)) == Usage(0, 0)
    assert merged(None, None) is counted(None) is None


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        (Event("message", b"[DONE]"), True),
        (Event("response.completed", b"{}"), True),
        (Event("response.incomplete", b"{}"), True),
        (Event("response.failed", b"{}"), True),
        (Event("message_stop", b'{"type":"message_stop"}'), True),
        (Event("message", b'{"type":"response.completed"}'), True),
        (Event("message-end", b'{"type":"message-end","delta":{}}'), True),
        (Event("message", b'{"is_finished":true,"event_type":"stream-end"}'), True),
        (Event("message", b'{"candidates":[{"content":{},"finishReason":"STOP"}]}'), True),
        (Event("message", b'{"candidates":[{"finishReason":"STOP"},{"index":1}]}'), False),
        (Event("message", b'{"candidates":[],"finishReason":1}'), False),
        (Event("message", b'{"token":{"text":"a"},"generated_text":"a"}'), True),
        (Event("message", b'{"token":{"text":"a"},"generated_text":null}'), False),
        (Event("message", b'{"type":"response.output_text.done"}'), False),
        (Event("message", b'{"text":"[DONE] response.completed"}'), False),
        (Event("response.created", b"{}"), False),
        (Event("message", b"[DONE"), False),
        (Event("message", b'{"type":7}'), False),
    ],
)
def test_the_last_event_of_a_stream_is_known(event, ends):
    assert ends_stream(event) is ends
    if ends:
        assert may_end_stream(b"event: " + event.name.encode() + b"\ndata: " + event.data)
