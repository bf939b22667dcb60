"""Anthropic's streams in OpenAI's chunks: equal to the whole reply at every split, and never complete when cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from sluice.formats.sse import MAX_EVENT_BYTES, EventSplitter, parse_event
from sluice.providers.anthropic_chat.reply import from_message
from sluice.providers.anthropic_chat.stream import ChunkStream
from sluice.values.errors import OutputUnreadable, UpstreamBroken

CREATED_S = 1_700_000_000
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
DONE = b"data: [DONE]\n\n"


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1},
    },
)
THINKING = (
    event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    + delta(0, "thinking_delta", thinking="Hm")
    + delta(0, "signature_delta", signature="x")
    + event("content_block_stop", index=0)
)
TEXT = (
    event("content_block_start", index=1, content_block={"type": "text", "text": ""})
    + PING
    + delta(1, "text_delta", text="Grüß Gott, ")
    + delta(1, "citations_delta", citation={})
    + delta(1, "text_delta", text='"Welt" 🌍')
    + event("content_block_stop", index=1)
)
CALL = (
    event("content_block_start", index=2, content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}})
    + delta(2, "input_json_delta", partial_json="")
    + delta(2, "input_json_delta", partial_json='{"city": "Mün')
    + delta(2, "input_json_delta", partial_json='chen"}')
    + event("content_block_stop", index=2)
)
EMPTY_CALL = (
    event("content_block_start", index=3, content_block={"type": "tool_use", "id": "t2", "name": "g", "input": {}})
    + delta(3, "input_json_delta", partial_json="")
    + event("content_block_stop", index=3)
)
SERVER_CALL = (
    event("content_block_start", index=4, content_block={"type": "server_tool_use", "id": "s", "name": "web_search"})
    + delta(4, "input_json_delta", partial_json='{"query":1}')
    + event("content_block_stop", index=4)
)
END = event(
    "message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 25}
) + event("message_stop")
STREAM = START + PING + THINKING + TEXT + CALL + EMPTY_CALL + SERVER_CALL + event("of_the_future", x=[1]) + END
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "text", "text": 'Grüß Gott, "Welt" 🌍'},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "München"}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 25},
}


def translated(*pieces: bytes, include_usage: bool = True) -> bytes:
    stream = ChunkStream(include_usage, CREATED_S)
    told = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert (stream.ended, stream.fault) == (True, None)
    return told


def chunks(told: bytes) -> list[dict[str, Any]]:
    assert told.endswith(DONE)
    found = [parse_event(block) for block in EventSplitter().feed(told.removesuffix(DONE))]
    return [json.loads(one.data) for one in found if one]


def assembled(told: bytes) -> dict[str, Any]:
    """What a client makes of the chunks, in the shape of a whole reply."""
    message: dict[str, Any] = {"content": "", "refusal": None}
    calls: list[dict[str, Any]] = []
    whole: dict[str, Any] = {}
    for chunk in chunks(told):
        whole |= {key: chunk[key] for key in ("id", "created", "model")}
        whole["usage"] = chunk.get("usage")
        for choice in chunk["choices"]:
            whole["finish_reason"] = choice["finish_reason"]
            message["role"] = choice["delta"].get("role", message.get("role"))
            message["content"] += choice["delta"].get("content", "")
            for call in choice["delta"].get("tool_calls", ()):
                if call["index"] == len(calls):
                    calls.append({"id": call["id"], "type": call["type"], "function": {"arguments": ""}})
                made = calls[call["index"]]["function"]
                made["name"] = call["function"].get("name", made.get("name"))
                made["arguments"] += call["function"]["arguments"]
    return whole | {"message": message | ({"tool_calls": calls} if calls else {})}


def as_whole(message: dict[str, Any]) -> dict[str, Any]:
    """The same of a reply that was not streamed."""
    whole = json.loads(from_message(json.dumps(message).encode(), CREATED_S))
    choice = whole["choices"][0]
    choice["message"]["content"] = choice["message"]["content"] or ""
    kept = {key: whole[key] for key in ("id", "created", "model")} | {"usage": whole.get("usage")}
    return kept | {"finish_reason": choice["finish_reason"], "message": choice["message"]}


def meaning(whole: dict[str, Any]) -> dict[str, Any]:
    for call in whole["message"].get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return whole


def test_a_stream_says_what_the_whole_reply_says():
    assert meaning(assembled(translated(STREAM))) == meaning(as_whole(WHOLE))


def test_a_stream_is_the_same_at_every_split():
    told = translated(STREAM)
    for place in range(len(STREAM) + 1):
        assert translated(STREAM[:place], STREAM[place:]) == told
    assert translated(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == told


def test_a_stream_with_other_line_ends_and_comments_is_the_same():
    assert translated(b": hello\n\n" + STREAM.replace(b"\n", b"\r\n")) == translated(STREAM)
    assert translated(STREAM.replace(b"event: ", b"id: 7\nevent: ")) == translated(STREAM)


def test_the_first_chunk_has_the_role_and_the_last_the_reason():
    first, *between, last = chunks(translated(STREAM, include_usage=False))
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert {first["object"], first["created"], first["id"], first["model"]} == {
        "chat.completion.chunk",
        CREATED_S,
        "msg_1",
        "claude-sonnet-4-5",
    }
    assert {chunk["choices"][0]["finish_reason"] for chunk in between} == {None}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "tool_calls")


def test_calls_have_indices_of_their_own_and_arguments_that_can_be_parsed():
    made = [call for chunk in chunks(translated(STREAM)) for choice in chunk["choices"] for call in calls_of(choice)]
    assert made[0] == {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert [(call["index"], call["function"]["arguments"]) for call in made if "id" not in call] == [
        (0, '{"city": "Mün'),
        (0, 'chen"}'),
        (1, "{}"),
    ]


def calls_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    return choice["delta"].get("tool_calls", [])


def test_usage_comes_in_a_chunk_of_its_own_if_asked_for():
    *others, last = chunks(translated(STREAM))
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 14,
        "completion_tokens": 25,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert {chunk["usage"] for chunk in others} == {None}
    assert all("usage" not in chunk for chunk in chunks(translated(STREAM, include_usage=False)))


def test_a_call_whose_arguments_come_at_once_has_them():
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    told = translated(
        START + event("content_block_start", index=0, content_block=call) + event("content_block_stop", index=0) + END
    )
    arguments = assembled(told)["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"a": 1}


def test_a_call_that_is_open_at_the_end_is_whole_all_the_same():
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    told = translated(START + event("content_block_start", index=0, content_block=call) + END)
    assert assembled(told)["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_every_chunk_is_one_that_openais_sdk_knows():
    for include_usage in (True, False):
        for chunk in chunks(translated(STREAM, include_usage=include_usage)):
            ChatCompletionChunk.model_validate(chunk, strict=True)


def test_text_that_a_block_begins_with_is_not_lost():
    told = translated(START + event("content_block_start", index=0, content_block={"type": "text", "text": "Hi"}) + END)
    assert assembled(told)["message"]["content"] == "Hi"


def test_a_stream_without_usage_or_reason_ends_all_the_same():
    start = event("message_start", message={"id": "m", "model": "c"})
    told = assembled(translated(start + event("message_stop")))
    assert (told["finish_reason"], told["usage"]) == ("stop", None)


def test_a_stream_that_lacks_only_its_last_blank_line_is_complete():
    assert translated(STREAM.rstrip(b"\n")) == translated(STREAM)


def test_what_follows_the_end_is_ignored():
    assert translated(STREAM + TEXT, STREAM) == translated(STREAM)


def test_a_cut_stream_never_looks_complete():
    last = STREAM.rindex(b"}")
    for place in range(last + 1):
        stream = ChunkStream(True, CREATED_S)
        told = stream.feed(STREAM[:place]) + stream.finish()
        assert not stream.ended
        assert isinstance(stream.fault, UpstreamBroken | OutputUnreadable)
        assert b"[DONE]" not in told
        assert b'"finish_reason":"' not in told
        assert (stream.feed(STREAM[place:]), stream.finish()) == (b"", b"")


def test_an_error_in_a_stream_is_passed_on_and_ends_it():
    stream = ChunkStream(True, CREATED_S)
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded", "details": None})
    told = stream.feed(START + TEXT + error + END)
    assert told.endswith(
        b'data: {"error":{"message":"Overloaded","type":"overloaded_error","code":null,"param":null}}\n\n'
    )
    assert "Welt" in told.decode()
    assert stream.finish() == b""
    assert not stream.ended
    assert isinstance(stream.fault, UpstreamBroken)
    assert "overloaded_error: Overloaded" in stream.fault.detail


def test_an_error_may_be_all_there_is():
    stream = ChunkStream(False, CREATED_S)
    assert stream.feed(event("error")).startswith(b'data: {"error":{"message":')
    assert stream.fault is not None


@pytest.mark.parametrize(
    "stream",
    [
        TEXT + END,
        CALL + END,
        END,
        START + START + END,
        event("message_start") + END,
        START + b"data: {\n\n" + END,
        START + b"data: [DONE]\n\n" + END,
        START + b"data: <html>\n\n" + END,
        START + delta(0, "text_delta", text=7) + END,
        START + delta(0, "text_delta", text="x").replace(b'"x"', b'"\xff"') + END,
        START + event("content_block_start", index="x", content_block={"type": "text"}) + END,
        START + CALL.replace(b"{}", b'{"\xff":1}') + END,
        START + b'data: {"type":"ping","x":' + b"[" * 100_000 + b"\n\n" + END,
        START + b'data: {"type":"message_delta","usage":{"output_tokens":"many"}}\n\n' + END,
    ],
    ids=range(14),
)
def test_a_stream_that_cannot_be_read_is_at_fault(stream: bytes):
    translation = ChunkStream(True, CREATED_S)
    told = translation.feed(stream) + translation.finish()
    assert isinstance(translation.fault, OutputUnreadable)
    assert not translation.ended
    assert b"[DONE]" not in told


def test_an_event_past_all_bounds_is_a_fault_and_not_a_gap():
    stream = ChunkStream(True, CREATED_S)
    piece = b'data: {"type":"content_block_delta","x":"' + b"x" * (1 << 20)
    fed = 0
    stream.feed(START)
    while stream.fault is None:
        stream.feed(piece)
        fed += len(piece)
        assert fed < MAX_EVENT_BYTES + 2 * len(piece)
    assert stream.feed(b'"}\n\n' + END) + stream.finish() == b""


def test_a_long_stream_of_whole_events_is_no_such_event():
    stream = ChunkStream(False, CREATED_S)
    stream.feed(START)
    text = delta(0, "text_delta", text="x" * (1 << 20))
    for _ in range(20):
        assert stream.feed(text)
    assert stream.feed(END).endswith(DONE)


TEXTS = st.text(max_size=12)
BLOCKS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
    | st.builds(
        lambda number, name, given: {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given},
        st.integers(0, 99),
        st.sampled_from(["f", "g"]),
        st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, max_size=3),
    ),
    max_size=5,
)
REASONS = st.sampled_from(["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "pause_turn"])


def streamed(message: dict[str, Any], cut: int) -> bytes:
    """The events that would have brought this message, in pieces of `cut` characters."""
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    told = [event("message_start", message=start)]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            opened, whole, kind, name = {"type": "text", "text": ""}, block["text"], "text_delta", "text"
        else:
            text = json.dumps(block["input"]) if block["input"] else ""
            opened, whole, kind, name = {**block, "input": {}}, text, "input_json_delta", "partial_json"
        told.append(event("content_block_start", index=index, content_block=opened))
        told += [delta(index, kind, **{name: whole[at : at + cut]}) for at in range(0, len(whole), cut)]
        told.append(event("content_block_stop", index=index))
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    told.append(event("message_delta", delta={"stop_reason": message["stop_reason"]}, usage=usage))
    return b"".join(told) + event("message_stop")


@given(BLOCKS, REASONS, st.integers(1, 8), st.lists(st.integers(0, 3000), max_size=6))
def test_any_reply_streamed_equals_the_same_reply_whole(
    blocks: list[dict[str, Any]], reason: str, cut: int, splits: list[int]
):
    message = {**WHOLE, "content": blocks, "stop_reason": reason}
    stream = streamed(message, cut)
    edges = [0, *sorted(splits), len(stream)]
    told = translated(*(stream[here:there] for here, there in pairwise(edges)))
    assert meaning(assembled(told)) == meaning(as_whole(message))
