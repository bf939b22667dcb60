"""Each row of contract A.1 that concerns a whole reply or an error."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from sluice.providers.anthropic_chat.reply import from_error, from_message
from sluice.values.errors import OutputUnreadable

USAGE = {"input_tokens": 10, "output_tokens": 5}


def message(*content: dict[str, Any], **fields: Any) -> bytes:
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return json.dumps(whole | fields).encode()


def completion(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return json.loads(from_message(message(*content, **fields), 1_700_000_000))


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}


def test_a_plain_reply_is_a_chat_completion():
    assert completion(text("Hello")) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude-sonnet-4-5",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_a_reply_is_one_that_openais_sdk_knows():
    usage = {**USAGE, "cache_read_input_tokens": 1, "output_tokens_details": {"thinking_tokens": 3}}
    ChatCompletion.model_validate(completion(text("See."), USE, usage=usage, stop_reason="tool_use"), strict=True)


def test_text_blocks_are_joined_and_blocks_of_anthropics_own_left_out():
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "x"}
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]}
    told = completion(thinking, text("It is "), search, found, {**text("sunny."), "citations": []})
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "It is sunny.", "refusal": None}


def test_tool_use_becomes_calls_with_their_arguments_as_text():
    told = completion(text("See."), USE, {**USE, "id": "toolu_2", "input": {}}, stop_reason="tool_use")
    message = told["choices"][0]["message"]
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] == "See."
    assert [(call["id"], call["type"], call["function"]["name"]) for call in message["tool_calls"]] == [
        ("toolu_1", "function", "weather"),
        ("toolu_2", "function", "weather"),
    ]
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"city": "Rome"}, {}]


def test_content_is_null_where_there_are_only_calls_and_empty_where_there_is_nothing():
    assert completion(USE)["choices"][0]["message"]["content"] is None
    assert completion(stop_reason="refusal")["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("of the future", "stop"),
        (None, "stop"),
    ],
)
def test_every_stop_reason_has_a_finish_reason(stop_reason: str | None, finish_reason: str):
    assert completion(text("x"), stop_reason=stop_reason)["choices"][0]["finish_reason"] == finish_reason


def test_usage_counts_the_cache_as_part_of_the_prompt():
    usage = {**USAGE, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "service_tier": "standard"}
    assert completion(text("x"), usage=usage)["usage"] == {
        "prompt_tokens": 130,
        "completion_tokens": 5,
        "total_tokens": 135,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
    }


def test_usage_tells_of_thinking_where_anthropic_does():
    usage = {**USAGE, "output_tokens_details": {"thinking_tokens": 3}}
    assert completion(text("x"), usage=usage)["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert "usage" not in completion(text("x"), usage=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        message(text("x"), type="completion"),
        message(text("x"), content="x"),
        message({"type": "text", "text": 1}),
        message(text("x"))[:-1],
        message(text("x")).replace(b'"x"', b'"\xff"'),
        message(USE).replace(b"Rome", b"\xff"),
        b'{"id":' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_message_is_an_error_of_its_own(body: bytes):
    with pytest.raises(OutputUnreadable) as caught:
        from_message(body, 1)
    assert (caught.value.code, caught.value.status, caught.value.fault) == (2002, 400, "upstream")
    assert caught.value.said == "Failed to parse model output"


def test_an_error_keeps_its_type_and_message():
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"},"request_id":"req_1"}'
    assert json.loads(from_error(429, body)) == {
        "error": {"message": "Slow down", "type": "rate_limit_error", "code": None, "param": None}
    }


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"{}", b'{"error":"x"}', b"\xff", b"[" * 100_000])
def test_an_error_of_another_kind_is_told_by_its_status(body: bytes):
    assert json.loads(from_error(502, body)) == {
        "error": {"message": "The provider answered with status 502", "type": "api_error", "code": None, "param": None}
    }
