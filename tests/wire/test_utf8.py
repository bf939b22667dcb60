"""Text in pieces: what Python's own decoder takes whole passes, and nothing else does."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.wire.utf8 import TextCheck

bounded = settings(max_examples=300, deadline=None, database=None)
TEXTS = st.text(max_size=20).map(str.encode)
CUTS = st.lists(st.integers(0, 100), max_size=6)


def passes(check: TextCheck, pieces: list[bytes]) -> bool:
    return all(check.passes(piece, number == len(pieces) - 1) for number, piece in enumerate(pieces))


@bounded
@given(TEXTS, CUTS)
def test_text_passes_wherever_it_is_cut(cut: Callable[..., list[bytes]], text: bytes, cuts: list[int]):
    check = TextCheck()
    assert passes(check, cut(text, cuts) or [b""])
    assert passes(check, cut(text, range(len(text))) or [b""])  # nothing is left of the one before


@bounded
@given(TEXTS, st.binary(min_size=1, max_size=6), TEXTS, CUTS)
def test_what_is_no_text_does_not_pass_wherever_it_is_cut(
    cut: Callable[..., list[bytes]], before: bytes, odd: bytes, behind: bytes, cuts: list[int]
):
    data = before + odd + behind
    assert passes(TextCheck(), cut(data, cuts)) == (data.decode(errors="ignore").encode() == data)


@pytest.mark.parametrize("begun", [b"\xc0", b"\xff", b"\xed\xa0\x80", b"\xf4\x90", b"\xe0\x80", b"\xf0\x80"])
def test_what_cannot_become_text_any_more_does_not_pass(begun: bytes):
    assert not TextCheck().passes(b"a" + begun, False)


@pytest.mark.parametrize("begun", [b"\xc2", b"\xed\x9f", b"\xf4\x8f\xbf"])
def test_a_character_that_has_begun_must_end_with_its_message(begun: bytes):
    assert TextCheck().passes(begun, False)
    assert not TextCheck().passes(begun, True)
