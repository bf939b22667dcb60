import pytest

from sluice.engine.head_tokens import HEAD_TOKENS_IN, HEAD_TOKENS_OUT, head_tokens


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "told"),
    [
        (b"12", b"0", (12, 0)),
        (b"12", b"", (12, None)),
        (b"-1", b"2", (None, 2)),
        (b"1" * 20, b"2", (None, 2)),
        (b"\xb2", b"", None),
    ],
)
def test_each_count_is_read_or_unknown(tokens_in: bytes, tokens_out: bytes, told: tuple[int, int] | None):
    assert head_tokens({HEAD_TOKENS_IN: tokens_in, HEAD_TOKENS_OUT: tokens_out}) == told
