"""The management API against calls that its own description makes: the short form of `scripts/soak rest`."""

from functools import partial
from pathlib import Path

from bench.fuzz.plain import PlainCaller
from bench.fuzz.served import fuzz_served

CALLS = 300


def test_fuzzed_calls_are_answered_as_the_description_says(tmp_path: Path):
    account = fuzz_served(tmp_path / "data", CALLS, partial(PlainCaller, number=1))
    assert account.sent == CALLS
    assert account.wrong == {}
