"""Conversations from OpenAI's shape to Anthropic's and back: another wording, the same meaning."""

import json
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.providers.anthropic_chat.inverse_reply import from_chat
from sluice.providers.anthropic_chat.inverse_request import to_chat
from sluice.providers.anthropic_chat.reply import from_message
from sluice.providers.anthropic_chat.request import to_messages
from sluice.values.errors import MalformedRequest, OutputUnreadable

Json = dict[str, Any]

TEXTS = st.text(max_size=10)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
OBJECTS = st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=2), max_size=3)
PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.sampled_from(
        [
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        ]
    ),
)
CONTENTS = TEXTS | st.lists(PARTS, max_size=3)
USERS = st.builds(lambda content: [{"role": "user", "content": content}], CONTENTS)
SYSTEMS = st.builds(
    lambda role, text: [{"role": role, "content": text}], st.sampled_from(["system", "developer"]), TEXTS
)
SPEAKERS = st.builds(lambda text: [{"role": "assistant", "content": text}], st.none() | TEXTS)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Json]:
    """An assistant calls tools, and their results follow in any order."""
    made = draw(st.lists(st.tuples(st.sampled_from(["f", "g"]), OBJECTS), min_size=1, max_size=3))
    first = draw(st.integers(0, 10**6))
    calls = [
        {"id": f"call_{first + number}", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
        for number, (name, args) in enumerate(made)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": draw(CONTENTS)} for call in calls]
    said = {"role": "assistant", "content": draw(st.none() | TEXTS), "tool_calls": calls}
    return [said, *draw(st.permutations(results))]


CONVERSATIONS = st.lists(USERS | SYSTEMS | SPEAKERS | exchanges(), max_size=6).map(
    lambda pieces: [{"role": "user", "content": "Begin."}, *(message for piece in pieces for message in piece)]
)


def blank(text: str | None) -> bool:
    return not (text or "").strip()


def items(content: Any) -> list[Any]:
    """What a content says, without what is blank."""
    if not isinstance(content, list):
        return [] if blank(content) else [content]
    return [one.get("text", one) for one in content if one["type"] != "text" or not blank(one["text"])]


def meaning(conversation: list[Json]) -> tuple[str, list[Any]]:
    """The system text and each side's turns: results before words, words before calls."""
    system = "\n\n".join(
        text for one in conversation if one["role"] in ("system", "developer") for text in items(one["content"])
    )
    said = []
    for one in conversation:
        calls = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in one.get("tool_calls") or ()
        ]
        if one["role"] == "tool":
            said.append(("user", [(one["tool_call_id"], items(one["content"]))], []))
        elif one["role"] in ("user", "assistant") and (calls or items(one.get("content"))):
            said.append((one["role"], calls, items(one.get("content"))))
    turns = []
    for role, group in groupby(said, key=lambda one: one[0]):
        members = list(group)
        words = [word for _, _, told in members for word in told]
        words = ["".join(words)] if role == "assistant" else words
        turns.append((role, [call for _, calls, _ in members for call in calls], words))
    return system, turns


@given(CONVERSATIONS)
def test_a_conversation_comes_back_with_its_meaning(conversation: list[Json]):
    there = to_messages(json.dumps({"model": "m", "messages": conversation}).encode(), "claude")
    back = json.loads(to_chat(there.body, "gpt").body)
    assert meaning(back["messages"]) == meaning(conversation)


@given(CONVERSATIONS)
def test_a_second_journey_changes_nothing_more(conversation: list[Json]):
    back = to_chat(to_messages(json.dumps({"messages": conversation}).encode(), "claude").body, "gpt").body
    assert json.loads(to_chat(to_messages(back, "claude").body, "gpt").body) == json.loads(back)


@given(CONVERSATIONS)
def test_what_anthropic_gets_is_what_it_accepts(conversation: list[Json]):
    turns = json.loads(to_messages(json.dumps({"messages": conversation}).encode(), "claude").body)["messages"]
    roles = [turn["role"] for turn in turns]
    assert all(here != there for here, there in pairwise(roles))
    for turn in turns:
        kinds = [block["type"] for block in turn["content"]]
        assert kinds
        assert kinds == sorted(kinds, key=lambda kind: kind != "tool_result") or turn["role"] == "assistant"
        assert not any(block["type"] == "text" and blank(block["text"]) for block in turn["content"])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0, 0.5, 1]),
            "top_p": st.sampled_from([0.1, 0.9]),
            "stop": st.lists(st.sampled_from(["a", "END"]), min_size=1, max_size=3),
            "max_completion_tokens": st.integers(1, 9999),
            "user": st.sampled_from(["u"]),
            "tool_choice": st.sampled_from(
                ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]
            ),
            "response_format": st.just(
                {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object", "additionalProperties": False}},
                }
            ),
        },
    )
)
def test_every_field_that_both_have_comes_back(fields: Json):
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools, **fields}
    back = json.loads(to_chat(to_messages(json.dumps(request).encode(), "c").body, "m").body)
    assert back == {"max_completion_tokens": 4096, **request}


def test_a_stream_asks_for_the_usage_that_anthropics_clients_expect():
    told = to_chat(b'{"model":"c","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}', "gpt")
    assert (told.stream, told.include_usage) == (True, True)
    assert json.loads(told.body)["stream_options"] == {"include_usage": True}


def test_calls_one_at_a_time_come_back_as_such():
    request = {"messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "f"}}]}
    there = to_messages(json.dumps({**request, "parallel_tool_calls": False}).encode(), "c").body
    assert json.loads(to_chat(there, "gpt").body)["parallel_tool_calls"] is False


def test_system_blocks_thinking_and_plain_turns_are_understood():
    request = {
        "model": "c",
        "max_tokens": 5,
        "system": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "b"},
        ],
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "text", "text": "y"}],
            },
        ],
    }
    assert json.loads(to_chat(json.dumps(request).encode(), "gpt").body)["messages"] == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
    ]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"role": "user", "content": [{"type": "search_result"}]}, "messages[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            "messages[0].content[0]",
        ),
        (
            {"role": "assistant", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]},
            "messages[0].content[0]",
        ),
        ({"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}, "messages[0].content[0].source"),
        ({"role": "system", "content": "x"}, "messages[0].role"),
    ],
)
def test_what_openai_has_not_is_refused_by_its_place(message: Json, place: str):
    with pytest.raises(MalformedRequest) as caught:
        to_chat(json.dumps({"model": "c", "max_tokens": 5, "messages": [message]}).encode(), "gpt")
    assert caught.value.said.startswith(place)


USES = st.builds(
    lambda number, name, given: {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given},
    st.integers(0, 99),
    st.sampled_from(["f", "g"]),
    OBJECTS,
)
REASONS = st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal"])


@given(TEXTS, st.lists(USES, max_size=3), REASONS, st.tuples(*[st.integers(0, 10**6)] * 4))
def test_a_reply_comes_back_as_it_was(text: str, uses: list[Json], reason: str, counts: tuple[int, int, int, int]):
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [*([{"type": "text", "text": text}] if text else []), *uses],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": dict(zip(names, counts, strict=True)),
    }
    told = json.loads(from_chat(from_message(json.dumps(message).encode(), 1)))
    assert told == {**message, "stop_reason": "tool_use" if uses and reason == "end_turn" else reason}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"error":{"message":"x"}}',
        b'{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[]}',
        b'{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"message":{"tool_calls":[{"id":"x"}]}}]}',
        b'{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"message":{"tool_calls":'
        b'[{"id":"x","function":{"name":"f","arguments":"{"}}]}}]}',
    ],
)
def test_what_is_no_chat_completion_is_an_error_of_its_own(body: bytes):
    with pytest.raises(OutputUnreadable):
        from_chat(body)


def test_a_reply_of_openai_with_all_its_fields_is_read():
    reply = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": "No.", "annotations": []},
                "logprobs": {"content": []},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
    told = json.loads(from_chat(json.dumps(reply).encode()))
    assert told["content"] == [{"type": "text", "text": "No."}]
    assert (told["usage"]["input_tokens"], told["stop_reason"]) == (9, "end_turn")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (42, "42"),
        (1.5, "1.5"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "y"}], "y"),
        ([{"type": "text", "text": 4}, {"type": "text", "text": None}, {"type": "reference"}], "4"),
    ],
)
def test_a_number_and_blocks_are_text(content: Any, text: str):
    told = json.loads(from_chat(json.dumps({"choices": [{"message": {"content": content}}]}).encode()))
    assert told["content"] == [{"type": "text", "text": text}]


@pytest.mark.parametrize(
    ("calls", "finish", "reason"),
    [
        ([{"id": "a", "function": {"name": "f", "arguments": "{}"}}], "stop", "tool_use"),
        ([{"id": "a", "function": {"name": "f", "arguments": "{}"}}], "length", "max_tokens"),
        ([], "stop", "end_turn"),
        (None, "stop", "end_turn"),
    ],
)
def test_an_answer_with_calls_ends_for_them_though_it_says_stop(calls: Any, finish: str, reason: str):
    choice = {"message": {"content": None, "tool_calls": calls}, "finish_reason": finish}
    assert json.loads(from_chat(json.dumps({"choices": [choice]}).encode()))["stop_reason"] == reason


def test_what_a_reply_lacks_is_nothing():
    calls = [{"id": "call_1", "function": {"name": "f", "arguments": None}}]
    choice = {"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    reply = {"id": None, "model": None, "choices": [choice], "usage": {"prompt_tokens": 3}}
    told = json.loads(from_chat(json.dumps(reply).encode()))
    assert told["content"] == [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]
    assert (told["id"], told["model"], told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == ("", "", 3, 0)


@pytest.mark.parametrize("content", [True, {"text": "x"}, [1], [{"type": "text", "text": False}]])
def test_content_of_another_kind_cannot_be_read(content: Any):
    with pytest.raises(OutputUnreadable):
        from_chat(json.dumps({"choices": [{"message": {"content": content}}]}).encode())
