"""Tokens that the head of a reply tells: Amazon Bedrock's, whose models have bodies of their own (contract A.2)."""

from typing import Final

HEAD_TOKENS_IN: Final = b"x-amzn-bedrock-input-token-count"
HEAD_TOKENS_OUT: Final = b"x-amzn-bedrock-output-token-count"
LONGEST: Final = 12
"""Digits, of more tokens than any reply has."""


def head_tokens(fields: dict[bytes, bytes]) -> tuple[int, int] | None:
    """Tokens in and out; None where they are not both told."""
    told = (fields.get(HEAD_TOKENS_IN, b""), fields.get(HEAD_TOKENS_OUT, b""))
    if not all(count.isdigit() and len(count) <= LONGEST for count in told):
        return None
    return int(told[0]), int(told[1])
