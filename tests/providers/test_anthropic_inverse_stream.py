"""OpenAI's streams in Anthropic's events, and Anthropic's own there and back."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.sse import EventSplitter, parse_event
from sluice.providers.anthropic_chat.inverse_reply import from_chat
from sluice.providers.anthropic_chat.inverse_stream import EventStream
from sluice.providers.anthropic_chat.stream import ChunkStream
from sluice.values.errors import OutputUnreadable, UpstreamBroken

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def chunk(delta: Json | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": choices}
    return f"data: {json.dumps({**head, **fields}, ensure_ascii=False)}\n\n".encode()


def call(index: int, **fields: Any) -> Json:
    return {"tool_calls": [{"index": index, **fields}]}


def opened(index: int, id: str, name: str) -> Json:
    return call(index, id=id, type="function", function={"name": name, "arguments": ""})


def more(index: int, arguments: str) -> Json:
    return call(index, function={"arguments": arguments})


STREAM = b"".join(
    [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Grüß "}),
        chunk({"content": "Gott 🌍"}),
        chunk(opened(0, "call_1", "f")),
        chunk(more(0, '{"city": "Mün')),
        chunk(opened(1, "call_2", "g")),
        chunk(more(0, 'chen"}')),
        chunk({}, "tool_calls"),
        chunk(
            usage={
                "prompt_tokens": 14,
                "completion_tokens": 25,
                "total_tokens": 39,
                "prompt_tokens_details": {"cached_tokens": 4},
            }
        ),
        DONE,
    ]
)
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Grüß Gott 🌍",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city": "München"}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 14,
        "completion_tokens": 25,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}


def translated(*pieces: bytes) -> bytes:
    stream = EventStream()
    told = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert (stream.ended, stream.fault) == (True, None)
    return told


def assembled(told: bytes) -> Json:
    """What a client of Anthropic's makes of the events."""
    message: Json = {}
    for block in EventSplitter().feed(told):
        found = parse_event(block)
        assert found
        event = json.loads(found.data)
        assert event["type"] == found.name
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append({**event["content_block"], "told": ""})
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            message["content"][event["index"]]["told"] += delta.get("text", delta.get("partial_json"))
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for block in message["content"]:
        text = block.pop("told")
        block |= {"text": text} if block["type"] == "text" else {"input": json.loads(text or "{}")}
    return message


def test_a_stream_says_what_the_whole_reply_says():
    assert assembled(translated(STREAM)) == json.loads(from_chat(json.dumps(WHOLE).encode()))


def test_a_stream_is_the_same_at_every_split():
    told = translated(STREAM)
    for place in range(len(STREAM) + 1):
        assert translated(STREAM[:place], STREAM[place:]) == told


def test_every_block_is_closed_once_and_after_all_of_it():
    open_blocks: list[int] = []
    closed: list[int] = []
    for block in EventSplitter().feed(translated(STREAM)):
        found = parse_event(block)
        assert found
        event = json.loads(found.data)
        if event["type"] == "content_block_start":
            open_blocks.append(event["index"])
        elif event["type"] == "content_block_stop":
            open_blocks.remove(event["index"])
            closed.append(event["index"])
        elif event["type"] == "content_block_delta":
            assert event["index"] in open_blocks
    assert (open_blocks, closed) == ([], [0, 1, 2])


def test_a_refusal_is_text_and_other_choices_are_left_out():
    other = {"index": 1, "delta": {"content": "other"}}
    told = assembled(translated(chunk({"refusal": "No."}), chunk(choices=[other]), chunk({}, "content_filter"), DONE))
    assert (told["content"], told["stop_reason"]) == ([{"type": "text", "text": "No."}], "refusal")


BLOCKS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": " of"}]


def test_numbers_and_blocks_are_text_and_null_is_nothing():
    """So Workers AI streams digits, and Mistral what its models thought."""
    pieces = [{"content": 1}, {"content": 2.5}, {"content": BLOCKS}, {"content": [{"type": "text", "text": 3}]}]
    nothing = [{"content": None, "tool_calls": None}, {"content": []}, {"content": [{"type": "text", "text": None}]}]
    hollow = [{"index": 0, "delta": None}], None, [{"index": 0}], [{"index": None, "delta": {"content": "."}}]
    told = assembled(
        translated(
            chunk({"role": "assistant"}, id=None, model=None),
            *map(chunk, pieces + nothing),
            *(chunk(choices=choices) for choices in hollow),
            chunk({}, "stop"),
            chunk(usage={"prompt_tokens": 7, "total_tokens": 7}),
            DONE,
        )
    )
    assert told["content"] == [{"type": "text", "text": "12.5 of3."}]
    assert (told["id"], told["model"], told["stop_reason"]) == ("", "", "end_turn")
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (7, 0)


def pieces_of(*calls: Json) -> list[bytes]:
    return [chunk({"tool_calls": [one]}) for one in calls]


def whole(id: str, name: str, **given: Any) -> Json:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}


def test_calls_without_a_place_are_told_apart_by_their_ids():
    """So Google streams them, each whole or in pieces without an id."""
    begun = {"id": "c", "function": {"name": "g", "arguments": '{"x"'}}
    pieces = pieces_of(
        {"extra_content": {"google": {"thought_signature": "A"}}},
        whole("a", "f", x=1),
        whole("b", "f", x=2),
        begun,
        {"id": "c", "function": {"arguments": ":"}},
        {"id": "", "function": {"name": "", "arguments": "3"}},
        {"function": {"arguments": "}"}},
        {"extra_content": {}},
    )
    told = assembled(translated(*pieces, chunk({}, "tool_calls"), DONE))
    assert [(block["id"], block["name"], block["input"]) for block in told["content"]] == [
        ("a", "f", {"x": 1}),
        ("b", "f", {"x": 2}),
        ("c", "g", {"x": 3}),
    ]


def test_calls_in_one_chunk_and_calls_of_one_number_are_told_apart():
    both = [whole("a", "f", x=1), whole("b", "f", x=2)]
    numbered = [{"index": 0, **one} for one in both]
    for stream in (chunk({"tool_calls": both}), chunk({"tool_calls": numbered}), b"".join(pieces_of(*numbered))):
        told = assembled(translated(stream, chunk({}, "tool_calls"), DONE))
        assert [(block["id"], block["input"]) for block in told["content"]] == [("a", {"x": 1}), ("b", {"x": 2})]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "tool_use"), (None, "tool_use"), ("length", "max_tokens"), ("tool_calls", "tool_use")],
)
def test_an_answer_with_calls_ends_for_them_though_its_stream_says_stop(finish: str | None, reason: str):
    (called,) = pieces_of(whole("a", "f"))
    assert assembled(translated(called, chunk({}, finish), DONE))["stop_reason"] == reason
    assert assembled(translated(chunk({"content": "x"}), chunk({}, "stop"), DONE))["stop_reason"] == "end_turn"


def test_a_call_whose_every_piece_has_another_id_is_one():
    pieces = pieces_of(
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "id": "b", "function": {"arguments": '{"x":'}},
        {"index": 0, "id": "c", "function": {"arguments": "1}"}},
    )
    told = assembled(translated(*pieces, chunk({}, "tool_calls"), DONE))
    assert told["content"] == [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]


def test_a_call_without_a_function_has_no_arguments():
    told = assembled(translated(chunk(opened(0, "call_1", "f")), chunk(call(0, function=None)), DONE))
    assert told["content"] == [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]


XAI = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 135,
    "prompt_tokens_details": {"cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 94},
}
OPENAI = {**XAI, "completion_tokens": 103}


@pytest.mark.parametrize("usage", [XAI, OPENAI], ids=["apart", "within"])
def test_reasoning_is_output_whether_the_vendor_counts_it_apart_or_within(usage: Json):
    streamed = assembled(translated(chunk({"content": "x"}), chunk({}, "stop"), chunk(usage=usage), DONE))
    reply = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    for told in (streamed, json.loads(from_chat(json.dumps(reply).encode()))):
        counts = told["usage"]
        assert (counts["input_tokens"], counts["output_tokens"], counts["cache_read_input_tokens"]) == (26, 103, 6)


def test_a_cut_stream_never_looks_complete():
    for place in range(STREAM.rindex(b"]") + 1):
        stream = EventStream()
        told = stream.feed(STREAM[:place]) + stream.finish()
        assert not stream.ended
        assert isinstance(stream.fault, UpstreamBroken | OutputUnreadable)
        assert b"message_delta" not in told
        assert b"message_stop" not in told
        assert (stream.feed(STREAM[place:]), stream.finish()) == (b"", b"")


def test_an_error_in_a_stream_is_passed_on_and_ends_it():
    stream = EventStream()
    told = stream.feed(
        chunk({"content": "x"}) + b'data: {"error":{"message":"Busy","type":"server_error"}}\n\n' + STREAM
    )
    assert told.endswith(b'event: error\ndata: {"type":"error","error":{"type":"server_error","message":"Busy"}}\n\n')
    assert isinstance(stream.fault, UpstreamBroken)
    assert (stream.finish(), stream.ended) == (b"", False)


@pytest.mark.parametrize(
    "broken",
    [
        DONE,
        b"data: {\n\n",
        b'data: {"choices":5}\n\n',
        chunk(more(0, "x")),
        chunk(opened(-1, "a", "f")),
        chunk({"content": "x"}) + chunk(opened(-1, "a", "f")),
        chunk({"content": True}),
        chunk({"tool_calls": [{"id": "a", "function": {"arguments": "x"}}]}),
        chunk({"tool_calls": [whole("a", "f"), {"id": "b", "function": {"arguments": "x"}}]}),
    ],
    ids=range(9),
)
def test_a_stream_that_cannot_be_read_is_at_fault(broken: bytes):
    stream = EventStream()
    assert b"message_stop" not in stream.feed(broken + DONE) + stream.finish()
    assert isinstance(stream.fault, OutputUnreadable)


PIECES = st.lists(
    st.text(max_size=6).map(lambda text: {"content": text})
    | st.dictionaries(st.text(max_size=4), st.none() | st.integers(), max_size=2).map(lambda given: {"given": given}),
    max_size=5,
)


@given(PIECES, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), st.lists(st.integers(0, 2000)))
def test_any_stream_comes_back_as_it_was(pieces: list[Json], finish: str, splits: list[int]):
    """Anthropic's events of OpenAI's chunks, made chunks again, make the same events again."""
    told, calls = [chunk({"role": "assistant", "content": ""})], 0
    for piece in pieces:
        if "given" in piece:
            told += [chunk(opened(calls, f"call_{calls}", "f")), chunk(more(calls, json.dumps(piece["given"])))]
            calls += 1
        else:
            told.append(chunk(piece))
    stream = b"".join([*told, chunk({}, finish), DONE])
    edges = [0, *sorted(splits), len(stream)]
    there = translated(*(stream[here:there] for here, there in pairwise(edges)))
    back = ChunkStream(True, 1)
    chunks = back.feed(there) + back.finish()
    assert back.ended
    again, once = assembled(translated(chunks)), assembled(there)
    again["usage"], once["usage"] = None, None
    assert again == once
