"""Frames as a relay reads and writes them (RFC 6455, 5), whatever pieces they come in."""

from collections.abc import Callable

import pytest

from sluice.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    UNSAID,
    Closing,
    Frame,
    FrameReader,
    close_frame,
    framed,
)

FRAMES = [
    Frame(TEXT, b"whole"),
    Frame(TEXT, b"be", last=False),
    Frame(PING, b"between"),
    Frame(CONTINUATION, b"gun", last=False),
    Frame(CONTINUATION, b""),
    Frame(BINARY, bytes(range(256)) * 300),
    Frame(BINARY, b""),
    Frame(TEXT, b"gr" + "ü".encode()[:1], last=False),
    Frame(CONTINUATION, "ü".encode()[1:] + "ße".encode()),
    Frame(BINARY, b"\xff is no text, and passes"),
]


@pytest.mark.parametrize("masked", [True, False], ids=["from a client", "from a server"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 1 << 20])
def test_frames_come_out_as_they_were_sent_whatever_the_pieces(masked: bool, size: int):
    reader = FrameReader(masked, 1 << 20)
    data = b"".join(framed(frame, masked) for frame in FRAMES)
    found = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert (found, reader.fault, reader.closing) == (FRAMES, None, None)


def test_what_a_client_sends_is_masked_anew_each_time():
    assert len({framed(Frame(TEXT, b"same"), masked=True) for _ in range(8)}) == 8
    assert framed(Frame(TEXT, b"same"), masked=False) == b"\x81\x04same"


@pytest.mark.parametrize(
    ("closing", "data"),
    [
        (Closing(UNSAID), b""),
        (Closing(1000), b"\x03\xe8"),
        (Closing(4321, "ünïcode"), b"\x10\xe1" + "ünïcode".encode()),
    ],
)
def test_a_close_frame_says_why_and_nothing_behind_it_is_read(closing: Closing, data: bytes):
    reader = FrameReader(False, 1000)
    sent = framed(close_frame(closing), masked=False)
    assert sent[2:] == data
    assert reader.feed(sent + framed(Frame(TEXT, b"late"), masked=False)) == [Frame(CLOSE, data)]
    assert (reader.closing, reader.fault, reader.feed(b"\x81\x00")) == (closing, None, [])


def test_a_reason_is_cut_to_what_a_close_frame_holds_between_two_characters():
    data = close_frame(Closing(1008, "é" * 100)).data
    assert data[2:].decode() == "é" * 61


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x80\0\0\0\0", 1002),
        (b"\xc1\x00", 1002),
        (b"\x83\x00", 1002),
        (b"\x8b\x00", 1002),
        (b"\x80\x00", 1002),
        (b"\x01\x00\x81\x00", 1002),
        (b"\x09\x00", 1002),
        (b"\x89\x7e\x00\x7e" + b"p" * 126, 1002),
        (b"\x88\x01x", 1002),
        (b"\x88\x02\x03\xed", 1002),
        (b"\x88\x02\x00\x00", 1002),
        (b"\x88\x03\x03\xe8\xff", 1007),
        (b"\x81\x01\xff", 1007),
        (b"\x01\x02\xe2\x82\x80\x01\x20", 1007),
        (b"\x82\x7e\x03\xe9", 1009),
        (b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
    ids=[
        "masked by a server",
        "reserved bit",
        "unknown kind",
        "unknown kind of control",
        "fragment of nothing",
        "message within a message",
        "fragmented ping",
        "long ping",
        "half a code",
        "a code that is never sent",
        "a code that does not exist",
        "a reason that is no text",
        "text that is none",
        "text whose second fragment is none",
        "one byte too long",
        "endless",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_breaks_the_protocol_is_told_by_its_code_behind_what_came_before(data: bytes, code: int, size: int):
    reader = FrameReader(False, 1000)
    stream = b"\x81\x02ok" + data + b"\x81\x04more"
    found = [frame for start in range(0, len(stream), size) for frame in reader.feed(stream[start : start + size])]
    assert found[0] == Frame(TEXT, b"ok")
    assert Frame(TEXT, b"more") not in found
    assert reader.fault is not None
    assert (reader.fault.code, reader.closing) == (code, None)


def test_a_frame_as_long_as_the_limit_is_read():
    assert FrameReader(False, 1000).feed(framed(Frame(BINARY, b"x" * 1000), masked=False)) == [
        Frame(BINARY, b"x" * 1000)
    ]


def test_a_reader_that_waits_holds_nothing_of_what_was_said(kept_bytes: Callable[[Callable[[], object]], int]):
    reader, message = FrameReader(masked=False, most_bytes=1 << 24), framed(Frame(BINARY, bytes(8 << 20)), masked=False)
    assert kept_bytes(lambda: len(reader.feed(message))) < 1 << 20


def test_a_reader_that_is_closed_holds_nothing_of_what_was_begun(kept_bytes: Callable[[Callable[[], object]], int]):
    reader, message = FrameReader(masked=False, most_bytes=1 << 24), framed(Frame(BINARY, bytes(8 << 20)), masked=False)

    def close() -> None:
        reader.feed(message[:-1])
        reader.close()

    assert kept_bytes(close) < 1 << 20
