"""Log ids as text and as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.values.ids import Mint, key_of, number_of, text_of


@given(st.integers(0, (1 << 128) - 1))
def test_every_number_has_one_text_which_reads_back_in_either_case(number: int) -> None:
    text = text_of(number)
    assert (number_of(text), number_of(text.lower())) == (number, number)
    assert key_of(text) == number >> 59


def test_the_key_of_a_minted_id_is_the_last_key_of_its_mint() -> None:
    mint = Mint(5, clock_ms=lambda: 1_700_000_000_000)
    assert [key_of(mint.mint()) for _ in range(3)][-1] == mint.last_key == 1_700_000_000_000 << 21 | 5 << 14 | 2


@pytest.mark.parametrize(
    "text",
    ["", "0" * 25, "0" * 27, "I" * 26, "l" * 26, "O" * 26, "U" * 26, "8" + "0" * 25, " " * 26, "0_" * 13, "²" * 26],
)
def test_what_is_no_ulid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ULID"):
        number_of(text)
