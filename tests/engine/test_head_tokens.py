import pytest

from sluice.engine.head_tokens import HEAD_TOKENS_IN, HEAD_TOKENS_OUT, head_tokens


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "told"),
    [
        (b"12", b"0", (12, 0)),
        (b"12", b"", None),
        (b"-1", b"2", None),
        (b"1" * 20, b"2", None),
        (b"\xb2", b"2", None),
    ],
)
def test_both_counts_are_read_or_none(tokens_in: bytes, tokens_out: bytes, told: tuple[int, int] | None):
    assert head_tokens({HEAD_TOKENS_IN: tokens_in, HEAD_TOKENS_OUT: tokens_out}) == told
