"""AWS's event streams: what one is cut into, however it comes, and how damage shows."""

import base64
import json
from struct import pack
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.eventstream import Message, MessageReader, encode, event_of, events_in

HEADERS = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}
STREAM = b"".join(encode(HEADERS, json.dumps({"n": n}).encode()) for n in range(3))


@given(st.dictionaries(st.text("abc:-", min_size=1, max_size=9), st.text(max_size=40), max_size=4), st.binary())
def test_what_is_encoded_is_read_again_and_by_amazons_own_reader(headers: dict[str, str], payload: bytes):
    data = encode(headers, payload)
    assert list(MessageReader().feed(data)) == [Message(headers, payload)]
    theirs = EventStreamBuffer()
    theirs.add_data(data)
    (read,) = theirs
    assert (read.headers, read.payload) == (headers, payload)


@given(st.lists(st.integers(1, 60)))
def test_the_messages_are_the_same_however_the_stream_is_split(sizes: list[int]):
    reader, found, at = MessageReader(), [], 0
    for size in (*sizes, len(STREAM)):
        found += reader.feed(STREAM[at : at + size])
        at += size
    assert [json.loads(message.payload)["n"] for message in found] == [0, 1, 2]
    assert reader.whole


@pytest.mark.parametrize("place", [0, 3, 8, 14, 40, len(STREAM) // 3 - 1])
def test_damage_is_told_behind_the_last_good_message(place: int):
    length = len(STREAM) // 3
    at = length + place
    damaged = STREAM[:at] + bytes([STREAM[at] ^ 0x40]) + STREAM[at + 1 :]
    found = MessageReader().feed(damaged)
    assert json.loads(next(found).payload) == {"n": 0}
    with pytest.raises(ValueError):
        next(found)
    assert list(events_in(iter([damaged]))) == [b'{"n": 0}']


def test_a_message_that_would_be_too_long_is_damage_before_it_has_come():
    length = (25 * 1024 * 1024).to_bytes(4, "big") + bytes(4)
    checksum = crc32(length).to_bytes(4, "big")
    with pytest.raises(ValueError, match="26214400 bytes"):
        list(MessageReader().feed(length + checksum))


def test_headers_of_every_type_are_passed_over_but_for_text():
    typed = b"\1a\0" + b"\1b\1" + b"\1c\2x" + b"\1d\3xx" + b"\1e\4xxxx" + b"\1f\5xxxxxxxx" + b"\1g\6\0\2xx"
    typed += b"\1h\7\0\2hi" + b"\1i\x08xxxxxxxx" + b"\1j\x09" + b"x" * 16
    whole = encode({"k": "v"}, b"p")
    lengths = pack(">II", 16 + len(typed) + 1, len(typed))
    data = lengths + pack(">I", crc32(lengths)) + typed + b"p"
    (message, other) = MessageReader().feed(data + pack(">I", crc32(data)) + whole)
    assert message == Message({"h": "hi"}, b"p")
    assert other == Message({"k": "v"}, b"p")


@pytest.mark.parametrize("payload", [b'{"bytes":"!"}', b"{}", b"nonsense", b'{"bytes":1}'])
def test_a_chunk_that_wraps_nothing_is_left_as_it_is(payload: bytes):
    assert event_of(Message({":event-type": "chunk"}, payload)) == payload


def test_what_a_model_says_in_its_own_shape_is_unwrapped():
    said = b'{"type":"message_stop"}'
    wrapped = json.dumps({"bytes": base64.b64encode(said).decode(), "p": "abc"}).encode()
    assert event_of(Message({":event-type": "chunk"}, wrapped)) == said
    assert event_of(Message({":event-type": "metadata"}, wrapped)) == wrapped
