"""The bytes of a spool: what is encoded is decoded again, and what is damaged is noticed."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.spool.frames import (
    FILE_HEADER_BYTES,
    HEAD_BYTES,
    MAX_FRAME_BYTES,
    FileHeader,
    FrameError,
    decode_command,
    decode_file_header,
    decode_log_frame,
    decode_meta,
    encode_command_frame,
    encode_file_header,
    encode_log_frame,
    encode_opened_frame,
    find_span,
    is_command,
    log_id_of,
    meta_of,
    side_length,
    tells_of_opening,
)
from sluice.values.command import Change, Command
from sluice.values.exchange import Exchange
from sluice.values.ids import Mint

GATEWAY = bytes(range(16))
SEED = 0x5EED

Frame = Callable[..., bytes]


@pytest.fixture
def frame(exchange_of: Callable[..., Exchange]) -> Frame:
    def make(request: bytes = b"asked", response: bytes = b"answered", seed: int = SEED) -> bytes:
        return b"".join(encode_log_frame(GATEWAY, exchange_of(Mint(1).mint()), [request], [response], seed=seed))

    return make


def test_a_frame_is_decoded_to_what_was_encoded(exchange_of: Callable[..., Exchange]):
    exchange = exchange_of(Mint(3).mint(), request_bytes=9, response_bytes=4)
    data = b"".join(encode_log_frame(GATEWAY, exchange, [b"one ", b"body "], [b"", b"two"], seed=SEED))
    assert find_span(data, 0, SEED) == (len(data), GATEWAY)
    assert decode_log_frame(data) == (GATEWAY, exchange, b"one body ", b"two")
    assert log_id_of(data) == exchange.id


def test_a_body_in_a_side_file_is_its_length(exchange_of: Callable[..., Exchange]):
    sections = (side_length(3 << 33), side_length(0))
    data = b"".join(
        encode_log_frame(
            GATEWAY,
            exchange_of(Mint(3).mint()),
            *sections,
            request_in_side_file=True,
            response_in_side_file=True,
            seed=SEED,
        )
    )
    assert decode_log_frame(data)[2:] == (3 << 33, 0)


def test_the_head_says_how_the_frame_is_laid_out(frame: Frame):
    data = frame()
    assert data[:4] == b"SLU1"
    assert int.from_bytes(data[4:8], "little") == len(data) - 12
    assert data[12:16] == b"\x01\x00\x01\x00"  # kind, flags, version
    assert data[16:32] == GATEWAY
    assert int.from_bytes(data[36:40], "little") == len(b"asked")


def test_every_prefix_of_a_frame_is_unfinished_and_not_damage(frame: Frame):
    data = frame()
    assert [find_span(data[:size], 0, SEED) for size in range(len(data))] == [None] * len(data)


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_never_taken_for_a_frame(frame_bytes: bytes, at: int, bit: int):
    data = bytearray(frame_bytes)
    data[at % len(data)] ^= 1 << bit
    try:
        span = find_span(bytes(data), 0, SEED)
    except FrameError:
        return
    assert span is None  # its length grew: it waits for the rest


@pytest.fixture(scope="module")
def frame_bytes() -> bytes:
    exchange = Exchange("x", "local", "openai", "p", "POST", "provider", 1, 2, 3, 200, "complete", *[0] * 3,
                        True, True, *[b""] * 7, 1, 2)  # fmt: skip
    return b"".join(encode_log_frame(GATEWAY, exchange, [b"asked"], [b"answered"], seed=SEED))


def test_a_frame_made_for_another_file_is_not_accepted(frame: Frame):
    with pytest.raises(FrameError):
        find_span(frame(seed=1), 0, SEED)


def test_an_absurd_length_is_damage_and_not_waited_for(frame: Frame):
    data = bytearray(frame())
    data[4:8] = (MAX_FRAME_BYTES + 1).to_bytes(4, "little")
    with pytest.raises(FrameError):
        find_span(bytes(data), 0, SEED)


def test_a_frame_that_readers_would_refuse_is_not_made(frame: Frame):
    with pytest.raises(FrameError):
        frame(b"x" * MAX_FRAME_BYTES)


def test_a_frame_of_an_unknown_kind_or_with_unreadable_meta_is_refused(frame: Frame):
    data = bytearray(frame())
    data[12] = 9
    with pytest.raises(FrameError):
        decode_log_frame(bytes(data))
    data[12], data[HEAD_BYTES] = 1, 0xC1
    with pytest.raises(FrameError):
        decode_log_frame(bytes(data))


def test_a_frame_of_an_exchange_that_goes_on_is_told_apart_and_has_no_bodies(
    frame: Frame, exchange_of: Callable[..., Exchange]
):
    exchange = exchange_of(Mint(3).mint(), request_bytes=9, response_bytes=4)
    data = b"".join(encode_opened_frame(GATEWAY, exchange, seed=SEED))
    assert find_span(data, 0, SEED) == (len(data), GATEWAY)
    assert (tells_of_opening(data), tells_of_opening(frame())) == (True, False)
    assert decode_log_frame(data) == (GATEWAY, exchange, b"", b"")
    assert decode_meta(meta_of(data)) == exchange
    assert log_id_of(data) == exchange.id


def test_meta_that_cannot_be_read_is_refused():
    for meta in (b"", b"\xc1", b"\x91\xa1x"):
        with pytest.raises(FrameError):
            decode_meta(meta)


def test_a_file_header_is_decoded_again_and_damage_is_noticed():
    header = FileHeader(
        worker=5, seq=12, incarnation=b"i" * 16, floor=7 << 40, last_key=9 << 40, former_s=1_800_000_000
    )
    data = encode_file_header(header)
    assert len(data) == FILE_HEADER_BYTES
    assert decode_file_header(data) == header
    for size in range(FILE_HEADER_BYTES):
        with pytest.raises(FrameError):
            decode_file_header(data[:size])
    for at in range(FILE_HEADER_BYTES):
        with pytest.raises(FrameError):
            decode_file_header(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        None,
        Change(),
        Change(feedback=-1),
        Change(feedback=None, score=None, metadata=None),
        Change(score=99.5, metadata={"a": "x", "b": 1, "c": 1.0, "d": True}),
    ],
)
def test_a_command_is_decoded_to_what_was_encoded(frame: Frame, change: Change | None):
    command = Command(Mint(3).mint(), "local", [Mint(4).mint(), Mint(5).mint()], change)
    data = b"".join(encode_command_frame(GATEWAY, command, seed=SEED))
    assert find_span(data, 0, SEED) == (len(data), GATEWAY)
    assert (is_command(data), is_command(frame())) == (True, False)
    assert decode_command(data) == command
    assert log_id_of(data) == command.id
    with pytest.raises(FrameError):
        decode_log_frame(data)
    with pytest.raises(FrameError):
        decode_command(frame())
