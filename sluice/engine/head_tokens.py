"""Tokens that the head of a reply tells: Amazon Bedrock's, whose models have bodies of their own (contract A.2)."""

from typing import Final

HEAD_TOKENS_IN: Final = b"x-amzn-bedrock-input-token-count"
HEAD_TOKENS_OUT: Final = b"x-amzn-bedrock-output-token-count"
LONGEST: Final = 12
"""Digits, of more tokens than any reply has."""


def head_tokens(fields: dict[bytes, bytes]) -> tuple[int | None, int | None] | None:
    """Tokens in and out, either None where it is not told, as embeddings have none out; None where neither is."""
    told = (_count(fields.get(HEAD_TOKENS_IN, b"")), _count(fields.get(HEAD_TOKENS_OUT, b"")))
    return None if told == (None, None) else told


def _count(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= LONGEST else None
