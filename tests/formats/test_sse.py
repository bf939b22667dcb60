import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.sse import BOM, Event, EventSplitter, blocks_with, parse_event


def events(*pieces: bytes, limit: int = 1 << 20) -> list[Event]:
    """What the standard dispatches: the block cut by the end is not among it."""
    splitter = EventSplitter(limit)
    blocks = [block for piece in pieces for block in splitter.feed(piece)]
    return [event for block in blocks if (event := parse_event(block))]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\n", [("message", b"one")]),
        (b"data:one\n\n", [("message", b"one")]),
        (b"data:  one \n\n", [("message", b" one ")]),
        (b"data: one\ndata: two\n\n", [("message", b"one\ntwo")]),
        (b"data\n\n", [("message", b"")]),
        (b"data\ndata\n\n", [("message", b"\n")]),
        (b"data:\n\n", [("message", b"")]),
        (b": comment\n\n", []),
        (b": comment\ndata: x\n\n", [("message", b"x")]),
        (b"event: done\n\n", []),
        (b"event: done\ndata: x\n\n", [("done", b"x")]),
        (b"data: x\nevent: done\n\n", [("done", b"x")]),
        (b"event: a\nevent: b\ndata: x\n\n", [("b", b"x")]),
        (b"event:\ndata: x\n\n", [("message", b"x")]),
        (b"id: 7\nretry: 10\ndata: x\n\n", [("message", b"x")]),
        (b"unknown: 1\nDATA: 2\ndata: x\n\n", [("message", b"x")]),
        (b" data: x\n\n", []),
        (b"data: x: y\n\n", [("message", b"x: y")]),
        (b"\xef\xbb\xbfdata: x\n\n", [("message", b"x")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
        (b"\n\n\n\ndata: x\n\n\n\n\ndata: y\n\n", [("message", b"x"), ("message", b"y")]),
        (b"data: x\r\n\r\ndata: y\r\n\r\n", [("message", b"x"), ("message", b"y")]),
        (b"data: x\r\rdata: y\r\r", [("message", b"x"), ("message", b"y")]),
        (b"data: x\r\ndata: y\r\n\r\n", [("message", b"x\ny")]),
        (b"data: x\n\r\ndata: y\r\n\n", [("message", b"x"), ("message", b"y")]),
        (b"data: x\n\ndata: cut off\n", [("message", b"x")]),
        (b"event: \xff\ndata: \xff\n\n", [("�", b"\xff")]),
        (b"", []),
    ],
)
def test_a_stream_means_what_the_standard_says_however_it_is_split(stream, expected):
    assert events(stream) == expected
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for cut in range(len(stream) + 1):
        assert events(stream[:cut], b"", stream[cut:]) == expected


LINES = st.sampled_from(
    [b"data: a", b"data", b"data:", b": c", b"event: e", b"id: 1", b"x", b"", b"\xef\xbb\xbfdata: b"]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: b"".join(line + end for line, end in lines))


def by_the_letter(stream: bytes) -> list[Event]:
    """The standard's algorithm, line by line."""
    found, data, name = [], [], ""
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines[:-1]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if data:
                found.append(Event(name or "message", b"\n".join(data)))
            data, name = [], ""
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode()
    return found


@given(STREAMS, st.lists(st.integers(0, 200), max_size=6))
def test_any_stream_split_anywhere_reads_as_by_the_letter_of_the_standard(stream, cuts):
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(marks)]
    assert events(*pieces) == by_the_letter(stream)


def ones(stream: bytes, start: int) -> int:
    return stream.find(b"1", start)


def colons(stream: bytes, start: int) -> int:
    return stream.find(b": ", start)


@given(st.lists(st.sampled_from([b"data: 1", b"data:2", b"\n", b"\n\n", b":", b"1", BOM, b"event: x"])).map(b"".join))
def test_the_blocks_with_a_sign_are_those_that_have_the_first_one_of_the_whole_stream(stream):
    splitter = EventSplitter()
    whole = [*splitter.feed(stream), splitter.end()]
    sign = ones if any(ones(block, 0) >= 0 for block in whole) else colons
    expected = [block.strip(b"\n") for block in whole if sign(block, 0) >= 0]
    assert [block.strip(b"\n") for block in blocks_with(stream, (ones, colons))] == expected


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_break_the_reader(stream, cut):
    assert events(stream[:cut], stream[cut:]) == events(stream)


def test_the_event_that_the_end_of_the_stream_cut_can_be_had():
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [b"data: a"]
    assert splitter.end() == b"data: b"
    assert splitter.end() == b""


def test_an_event_past_the_limit_is_left_out_and_not_kept():
    splitter = EventSplitter(max_event_bytes=100)
    assert splitter.feed(b"data: a\n\ndata: ") == [b"data: a"]
    for _ in range(50):
        assert splitter.feed(b"x" * 64) == []
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"\ndata: b\n\n") == [b"data: b"]


def test_an_event_past_the_limit_is_left_out_wherever_it_stands_in_a_read():
    long = b"data: 12345"
    stream = b"\n\n".join((long, b"data: a", long, b"data: b", b""))
    assert EventSplitter(max_event_bytes=8).feed(stream) == [b"data: a", b"data: b"]


def test_an_event_of_just_the_limit_is_kept_however_it_comes():
    stream = b"data: a\ndata: b\ndata: c\n\n"
    splitter = EventSplitter(max_event_bytes=len(stream) - 2)
    assert [block for at in range(len(stream)) for block in splitter.feed(stream[at : at + 1])] == [stream[:-2]]


def test_an_event_past_the_limit_is_left_out_at_the_end_too():
    splitter = EventSplitter(max_event_bytes=4)
    splitter.feed(b"data: more than four")
    assert splitter.end() == b""
