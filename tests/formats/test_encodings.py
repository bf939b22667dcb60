import gzip
import io
import os
import zlib
from functools import partial

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.encodings import coding_of, decoded


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


ENCODERS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=5),
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip,br": lambda data: brotli.compress(gzip.compress(data), quality=5),
    "zstd,deflate,identity,gzip": lambda data: gzip.compress(zlib.compress(zstandard.compress(data))),
}
TEXT = b"".join(b'{"n": %d, "word": "%x"}\n' % (n, n * 2654435761 % 2**32) for n in range(20_000))


def decode(data: bytes, coding: str, limit: int = 1 << 30) -> bytes:
    pieces = decoded(io.BytesIO(data), coding, limit)
    assert pieces is not None
    return b"".join(pieces)


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("body", [b"", b"x", TEXT, os.urandom(200_000), b"a" * 900_000])
def test_what_was_encoded_is_decoded(coding, body):
    assert decode(ENCODERS[coding](body), coding) == body


def test_deflate_may_be_raw():
    assert decode(raw_deflate(TEXT), "deflate") == TEXT


@given(st.binary(max_size=2000), st.sampled_from(sorted(ENCODERS)))
def test_any_bytes_survive_the_round_trip(body, coding):
    assert decode(ENCODERS[coding](body), coding) == body


@given(st.binary(max_size=300), st.sampled_from(sorted(ENCODERS)))
def test_hostile_bytes_never_raise(body, coding):
    assert decode(body, coding) is not None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_of_a_body_cut_short_the_beginning_is_read(coding, kept):
    whole = ENCODERS[coding](TEXT)
    got = decode(whole[: int(len(whole) * kept)], coding)
    assert TEXT.startswith(got)
    assert len(got) > len(TEXT) * kept * 0.5 or kept == 0.0


def test_damage_ends_a_body_at_what_was_read_before_it():
    whole = bytearray(gzip.compress(os.urandom(300_000)))
    whole[200_000:200_100] = b"\xff" * 100
    assert len(decode(bytes(whole), "gzip")) > 100_000


SUMMED = ENCODERS | {"zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
JSON = b'{"usage":{"prompt_tokens":1}}'


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "gzip,br", "br,gzip"])
@pytest.mark.parametrize("body", [JSON, TEXT[:60_000], TEXT, os.urandom(200_000)])
def test_a_wrong_checksum_costs_nothing_of_the_body(coding, body):
    encoded = bytearray(body)
    for name in coding.split(","):
        encoded = bytearray(SUMMED[name](bytes(encoded)))
        if name in ("gzip", "deflate", "zstd"):
            encoded[-5 if name == "gzip" else -1] ^= 1
    assert decode(bytes(encoded), coding) == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("body", [JSON, TEXT[:60_000], TEXT, os.urandom(200_000)])
@pytest.mark.parametrize("rubbish", [b"\0", b"rubbish", b"\xff" * 70_000])
def test_rubbish_behind_a_body_costs_nothing_of_it(coding, body, rubbish):
    assert decode(ENCODERS[coding](body) + rubbish, coding) == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_damage_in_a_small_body_ends_it_no_earlier_than_a_cut_there(coding):
    whole = bytearray(ENCODERS[coding](TEXT[:60_000]))
    at = len(whole) // 2
    cut = decode(bytes(whole[:at]), coding)
    whole[at:] = b"\xff" * (len(whole) - at)
    got = decode(bytes(whole), coding)
    assert len(cut) > 10_000 or coding == "zstd"
    assert got[: len(cut)] == cut


def test_damage_behind_more_than_is_kept_costs_one_piece_at_most():
    body = os.urandom(5_000_000)
    whole = bytearray(gzip.compress(body))
    whole[-5] ^= 1
    assert body.startswith(got := decode(bytes(whole), "gzip"))
    assert len(got) >= len(body) - 64 * 1024


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_of_several_members_is_read_whole(coding):
    assert decode(ENCODERS[coding](b"one ") + ENCODERS[coding](b"two"), coding) == b"one two"


def test_rubbish_behind_a_gzip_body_is_left_alone():
    assert decode(gzip.compress(b"one") + b"\0\0rubbish", "gzip") == b"one"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip,br", "zstd,deflate,identity,gzip"])
def test_a_bomb_is_stopped_by_its_ratio(coding):
    bomb = ENCODERS[coding](bytes(50_000_000))
    assert len(decode(bomb, coding)) <= (1 << 20) + 256 * len(bomb)


@pytest.mark.parametrize("coding", ENCODERS)
def test_no_more_than_the_limit_is_decoded(coding):
    assert decode(ENCODERS[coding](TEXT), coding, limit=70_000) == TEXT[:70_000]


def test_a_body_of_empty_members_costs_no_more_than_so_many():
    assert decode(gzip.compress(b"") * 20_000 + gzip.compress(b"x"), "gzip") == b""


def test_the_raw_form_is_told_from_the_other_where_another_coding_hands_it_on_byte_by_byte():
    flush = zlib.compressobj(wbits=31)
    inner = zlib.compress(TEXT)
    outer = b"".join(flush.compress(inner[at : at + 1]) + flush.flush(zlib.Z_SYNC_FLUSH) for at in range(40))
    assert TEXT.startswith(decode(outer + flush.compress(inner[40:]) + flush.flush(), "deflate,gzip"))


def test_a_zstd_body_with_a_window_that_http_forbids_is_not_read():
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert decode(data.compress(TEXT) + data.flush(), "zstd") == b""


@pytest.mark.parametrize("coding", ["compress", "gzip,compress", "nonsense", "br,br,br,br,br"])
def test_an_unknown_coding_is_told_apart_from_an_empty_body(coding):
    assert decoded(io.BytesIO(b"x"), coding) is None


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"", "identity"),
        (b"identity", "identity"),
        (b" GZip ", "gzip"),
        (b"identity, gzip", "gzip"),
        (b",", "identity"),
        (b"gzip, zstd", "gzip,zstd"),
        (b"\xff", "\xff"),
    ],
)
def test_the_coding_is_read_from_its_header(header, coding):
    assert coding_of(header) == coding
