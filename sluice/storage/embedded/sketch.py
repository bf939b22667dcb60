"""A sketch of many durations: how many lie in each of log-spaced buckets. Any percentile comes out nearly right.

Bucket 0 is 0 ms; bucket b from 1 on holds what is over GAMMA ** (b - 2) ms and not over GAMMA ** (b - 1) ms. A
percentile is told as the middle of its bucket, so it is at most ERROR of the true one away, and half a millisecond
where it is rounded, however many sketches were merged: merging adds counts and loses nothing. (The scheme is
DDSketch's: Masson, Rim and Lee, 2019.)

As bytes: for each bucket that holds any, in rising order, two unsigned LEB128 numbers: how far its index lies above
the one before (the first: above 0), and its count. Nothing at all is no bytes. Two zero bytes, which no bucket has,
begin at 0 again: so two sketches with those between them are a sketch of both, made without looking into either.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

ERROR: Final = 0.025
GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_PER_E: Final = 1 / math.log(GAMMA)

Buckets = dict[int, int]
"""Bucket to count."""


def bucket_of(duration_ms: int) -> int:
    return 1 + math.ceil(math.log(duration_ms) * _PER_E) if duration_ms > 0 else 0


def sketch_of(durations_ms: Iterable[int]) -> bytes:
    buckets: Buckets = {}
    for duration_ms in durations_ms:
        bucket = 1 + math.ceil(math.log(duration_ms) * _PER_E) if duration_ms > 0 else 0  # a call is half the time
        buckets[bucket] = buckets.get(bucket, 0) + 1
    return write_sketch(buckets)


def write_sketch(buckets: Mapping[int, int]) -> bytes:
    written = bytearray()
    last = 0
    for bucket in sorted(buckets):
        for number in (bucket - last, buckets[bucket]):
            while number > 127:
                written.append(number & 127 | 128)
                number >>= 7
            written.append(number)
        last = bucket
    return bytes(written)


def add_sketch(buckets: Buckets, sketch: bytes) -> None:
    """Adds what a sketch holds to these buckets."""
    bucket = number = shift = 0
    is_count = False
    for byte in sketch:
        if byte > 127:
            number |= (byte & 127) << shift
            shift += 7
            continue
        number |= byte << shift
        if not is_count:
            bucket += number
        elif number:
            buckets[bucket] = buckets.get(bucket, 0) + number
        else:
            bucket = 0
        is_count = not is_count
        number = shift = 0


def merged(one: bytes, other: bytes = b"") -> bytes:
    """The shortest sketch of all that two are of."""
    buckets: Buckets = {}
    add_sketch(buckets, one)
    add_sketch(buckets, other)
    return write_sketch(buckets)


def percentiles(buckets: Mapping[int, int], shares: Iterable[float]) -> list[int] | None:
    """Of each share q the duration at rank ceil(q * n) of n, the shares rising; None where there is nothing."""
    total = sum(buckets.values())
    if not total:
        return None
    rising = sorted(buckets.items())
    found: list[int] = []
    place = passed = 0
    for share in shares:
        rank = max(math.ceil(share * total), 1)
        while passed + rising[place][1] < rank:
            passed += rising[place][1]
            place += 1
        found.append(_middle(rising[place][0]))
    return found


def _middle(bucket: int) -> int:
    return round(2 * GAMMA ** (bucket - 1) / (GAMMA + 1)) if bucket else 0
