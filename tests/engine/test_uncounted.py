"""Limits over a table that has no room for one of the sums that a call belongs to."""

from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path

import pytest

from sluice.engine.estimates import Estimates
from sluice.engine.limits import Broken, Limits
from sluice.metrics import Metrics
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.ports import StoreFault
from sluice.values.errors import Overloaded
from sluice.values.limits import SpendLimit

KNOWN, UNKNOWN = b"k" * 16, b"u" * 16
RULE = SpendLimit("r", 10, "?", 86_400, "sliding")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[MappedWindows]:
    """A table that knows one sum, and has no place for another that may come."""
    with closing(MappedWindows(tmp_path / "limits.map", 1 << 18)) as windows:
        windows.reserve(KNOWN, RULE, 1)
        for number in range(1000):
            with suppress(StoreFault):
                windows.reserve(blake2b(b"%d" % number, digest_size=16).digest(), RULE, 1)
        yield windows


def limits(windows: MappedWindows, when_broken: Broken) -> Limits:
    async def onward(*_: object) -> None: ...

    return Limits(onward, windows, Estimates(lambda *_: None), Metrics.unseen(), when_broken)  # type: ignore[arg-type]  # nobody looks at the reply


def test_a_call_is_counted_in_the_sums_that_there_is_room_for(full: MappedWindows):
    allowing = limits(full, "allow")
    reservation, refusing = allowing._set_aside([(RULE, UNKNOWN), (RULE, KNOWN)], 9)
    assert refusing is None
    assert reservation is not None
    assert [bucket for bucket, _, _ in reservation.buckets] == [KNOWN]
    assert allowing._set_aside([(RULE, UNKNOWN), (RULE, KNOWN)], 9) == (None, RULE)


def test_a_call_that_cannot_be_counted_and_is_refused_sets_nothing_aside(full: MappedWindows):
    with pytest.raises(Overloaded):
        limits(full, "refuse")._set_aside([(RULE, KNOWN), (RULE, UNKNOWN)], 9)
    assert full.reserve(KNOWN, RULE, 8) is not None
