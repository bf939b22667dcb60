"""Requests that no honest client sends: the culprit is named, in bounded time, and nothing else is ever raised."""

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.providers.anthropic_chat.inverse_request import to_chat
from sluice.providers.anthropic_chat.request import to_messages
from sluice.providers.anthropic_responses.request import to_messages as response_to_messages
from sluice.values.errors import MalformedRequest

PATIENCE_S = 5.0
"""Far above what any of this takes, far below what a quadratic of it would."""

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT = {
    "model": "anthropic/claude",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "name": "u",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 1,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 3,
    "stop": ["a"],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "functions": [{"name": "g"}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {}}}}},
    "modalities": ["text"],
    "user": "u",
    "thinking": {"type": "disabled"},
}
MESSAGES = json.loads(to_messages(json.dumps(CHAT).encode(), "claude").body)
RESPONSE = {
    "model": "anthropic/claude",
    "instructions": "Be kind.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            ],
        },
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {"properties": {"a": {}}}}},
    "max_output_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "stream": True,
    "user": "u",
}
WRONG = [None, True, -1, 1.5, 10**40, "", "x", "\x00", [], [[]], [None], {}, {"type": "x"}, {"a": {"b": [1]}}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def altered(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(whole)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def outcome(translate: Any, body: bytes) -> Any:
    """What is passed on, which is JSON whatever came in, or None where the request is refused."""
    try:
        return json.loads(translate(body, "model").body)
    except MalformedRequest as error:
        said = error.said
    assert 0 < len(said) < 300
    return None


@pytest.mark.parametrize("path", [*places(CHAT)], ids=lambda path: ".".join(map(str, path)) or "all")
def test_a_wrong_type_anywhere_in_a_chat_request_is_translated_or_refused(path: tuple[Any, ...]):
    for wrong in WRONG:
        outcome(to_messages, json.dumps(altered(CHAT, path, wrong)).encode())


@pytest.mark.parametrize("path", [*places(RESPONSE)], ids=lambda path: ".".join(map(str, path)) or "all")
def test_a_wrong_type_anywhere_in_a_responses_request_is_translated_or_refused(path: tuple[Any, ...]):
    for wrong in WRONG:
        outcome(response_to_messages, json.dumps(altered(RESPONSE, path, wrong)).encode())


@pytest.mark.parametrize("path", [*places(MESSAGES)], ids=lambda path: ".".join(map(str, path)) or "all")
def test_a_wrong_type_anywhere_in_a_messages_request_is_translated_or_refused(path: tuple[Any, ...]):
    for wrong in WRONG:
        outcome(to_chat, json.dumps(altered(MESSAGES, path, wrong)).encode())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("messages",), "x", "messages: expected array, got str"),
        (("messages", 1), 5, "messages[1]: expected object, got int"),
        (("messages", 0, "role"), "judge", "messages[0].role: invalid enum value 'judge'"),
        (("messages", 0, "content"), 5, "messages[0].content: expected str | array | null, got int"),
        (("messages", 1, "content", 0, "text"), [], "messages[1].content[0].text: expected str | null, got array"),
        (("messages", 1, "content", 1, "image_url"), "https://x", "messages[1].content[1].image_url: expected object"),
        (("messages", 2, "tool_calls", 0, "function", "name"), 1, "messages[2].tool_calls[0].function.name: expected"),
        (("messages", 2, "tool_calls", 0, "id"), "", "messages[2].tool_calls[0].id: missing"),
        (("tools", 0, "function", "parameters"), [], "tools[0].function.parameters: expected object | null, got array"),
        (("temperature",), "hot", "temperature: expected float | null, got str"),
        (("max_tokens",), 1.5, "max_tokens: expected int | null, got float"),
        (("stop",), [1], "stop[0]: expected str, got int"),
        ((), {"model": "x"}, "object missing required field messages"),
        ((), [], "expected object, got array"),
    ],
)
def test_the_culprit_is_named_by_its_path(path: tuple[Any, ...], value: Any, said: str):
    with pytest.raises(MalformedRequest) as caught:
        to_messages(json.dumps(altered(CHAT, path, value)).encode(), "claude")
    assert caught.value.said.startswith(said)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f","parameters":{"a":"\xff"}}}]}',
        b'{"messages":[{"role":"user","content":"x"}],"unknown":"\xff"}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"unknown":' + DEEP + b"}",
        b'{"messages":' + DEEP + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f","parameters":{"a":'
        + DEEP
        + b"}}}]}",
        b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"messages":[{"role":"user","content":"x"}]} {}',
    ],
    ids=range(14),
)
def test_what_is_no_request_is_refused(body: bytes):
    for translate in (to_messages, to_chat):
        assert outcome(translate, body) is None


def test_a_deep_schema_is_refused():
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"properties": {"a": schema}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        to_messages(json.dumps({**CHAT, "response_format": wanted}).encode(), "claude")


def test_what_is_large_takes_bounded_time():
    long = "x" * 10_000_000
    many = [message for number in range(20_000) for message in exchange(number)]
    data = "data:image/png;base64," + "A" * 10_000_000
    bodies = [
        {**CHAT, "messages": [{"role": "user", "content": long}]},
        {**CHAT, "messages": [{"role": "user", "content": " " * 10_000_000 + "x"}]},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data}}]}]},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": long}}]}]},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": long}]}]},
        {**CHAT, "tool_choice": long},
        {**CHAT, "messages": many},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 100_000}]},
    ]
    for body in bodies:
        given = json.dumps(body).encode()
        began = time.monotonic()
        outcome(to_messages, given)
        assert time.monotonic() - began < PATIENCE_S


def exchange(number: int) -> list[dict[str, Any]]:
    """A result among the user's own words, as would cost a search each time if results were looked for."""
    return [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": f"call_{number}", "content": "x"}]


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", " ", "x", "text", "image_url", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "function", "name", "id", "image_url", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
ROLES = st.sampled_from(["user", "assistant", "tool", "system", "function"])


@given(st.lists(st.fixed_dictionaries({"role": ROLES, "content": ANY_JSON}, optional={"tool_calls": ANY_JSON})))
def test_no_json_breaks_the_translation(messages: list[Any]):
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": messages}).encode()
    outcome(to_messages, body)
    outcome(to_chat, body)
