"""OpenAI's chat completions as vendors of its shape send them, who leave out or set to null what OpenAI always has."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable

Written = str | int | float | None
"""Workers AI streams tokens of digits as numbers (2026-11)."""


class Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: Written = None


Content = Written | list[Block]
"""Mistral's reasoning models send blocks, their thoughts among them (https://docs.mistral.ai/capabilities/reasoning)."""


class Function(msgspec.Struct, frozen=True):
    """What is called, or in a stream a piece of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, frozen=True):
    id: str
    function: Function | None = None


class Answer(msgspec.Struct, frozen=True):
    content: Content = None
    refusal: Content = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct, frozen=True):
    message: Answer
    finish_reason: str | None = None


class Completion(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None


class CallDelta(msgspec.Struct, frozen=True):
    index: int | None = None
    """Google leaves it out (2026-11)."""
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, frozen=True):
    content: Content = None
    refusal: Content = None
    tool_calls: list[CallDelta] | None = None


class ChoiceDelta(msgspec.Struct, frozen=True):
    index: int | None = 0
    delta: Delta | None = None
    finish_reason: str | None = None


class Problem(msgspec.Struct, frozen=True):
    message: str = "the stream ended with an error"
    type: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    choices: list[ChoiceDelta] | None = None
    error: Problem | None = None


_COMPLETION: Final = msgspec.json.Decoder(Completion)
_CHUNK: Final = msgspec.json.Decoder(Chunk)


def decode_completion(body: bytes) -> Completion:
    """A whole reply. Raises OutputUnreadable."""
    try:
        return _COMPLETION.decode(body.decode())
    except UNREADABLE as error:
        raise OutputUnreadable(f"not a chat completion: {error}") from None


def decode_chunk(data: bytes) -> Chunk:
    """A piece of a streamed one. Raises OutputUnreadable."""
    try:
        return _CHUNK.decode(data)
    except UNREADABLE as error:
        raise OutputUnreadable(f"a chunk of the stream cannot be read: {error}") from None


def said(content: Content) -> str:
    """The text of it, without thoughts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(said(block.text) for block in content if block.type == "text")
    return "" if content is None else ENCODER.encode(content).decode()
