"""Sketches of durations: percentiles within the stated bound, however they were merged."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sluice.storage.embedded.sketch import (
    ERROR,
    Buckets,
    add_sketch,
    bucket_of,
    merged,
    percentiles,
    sketch_of,
    write_sketch,
)

SHARES = (0.5, 0.95, 0.99)
DURATIONS = st.lists(
    st.one_of(st.integers(0, 300), st.integers(0, 3_600_000), st.integers(0, 2**63 - 1)), min_size=1, max_size=300
)


def buckets_of(sketch: bytes) -> Buckets:
    buckets: Buckets = {}
    add_sketch(buckets, sketch)
    return buckets


@given(DURATIONS)
def test_a_percentile_lies_within_the_bound(durations: list[int]) -> None:
    exact = [sorted(durations)[max(math.ceil(share * len(durations)), 1) - 1] for share in SHARES]
    told = percentiles(buckets_of(sketch_of(durations)), SHARES)
    assert told is not None
    for mine, true in zip(told, exact, strict=True):
        assert abs(mine - true) <= ERROR * true * (1 + 1e-9) + 0.5


@given(DURATIONS, DURATIONS, DURATIONS)
def test_sketches_of_parts_make_the_sketch_of_the_whole(one: list[int], two: list[int], three: list[int]) -> None:
    whole = sketch_of(one + two + three)
    assert merged(merged(sketch_of(one), sketch_of(two)), sketch_of(three)) == whole
    assert merged(sketch_of(three), merged(sketch_of(two), sketch_of(one))) == whole
    assert merged(whole) == merged(b"", whole) == whole
    strung = b"\0\0".join(part for part in (sketch_of(two), sketch_of(three), sketch_of(one)) if part)
    assert merged(strung) == whole
    assert write_sketch(buckets_of(whole)) == whole


def test_the_bytes_are_those_that_the_storage_page_describes() -> None:
    assert sketch_of([]) == b""
    assert percentiles({}, SHARES) is None
    assert sketch_of([0, 0, 1]) == bytes([0, 2, 1, 1])
    assert (bucket_of(812), sketch_of([812] * 300)) == (135, bytes([135, 1, 172, 2]))
    assert percentiles(buckets_of(sketch_of([0, 0, 1])), SHARES) == [0, 1, 1]
