"""Anthropic's whole replies and errors to OpenAI's."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat import chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable

_MESSAGE: Final = msgspec.json.Decoder(messages.Message)
_FAILURE: Final = msgspec.json.Decoder(messages.Failure)
_FINISH: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def from_message(body: bytes, created_s: int) -> bytes:
    """The chat completion that says what this message says."""
    message = read_message(body)
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [_call(block) for block in message.content if block.type == "tool_use"]
    answer = chat.Answer(content=None if calls and not text else text, tool_calls=calls or msgspec.UNSET)
    choice = chat.Choice(answer, finish_reason(message.stop_reason))
    usage = None if message.usage is None else to_usage(message.usage)
    return ENCODER.encode(chat.Completion(message.id, "chat.completion", created_s, message.model, [choice], usage))


def read_message(body: bytes) -> messages.Message:
    """A whole reply. Its text is looked at first, for the decoder does not look at what it skips."""
    try:
        return _MESSAGE.decode(body.decode())
    except UNREADABLE as error:
        raise OutputUnreadable(f"not a message of Anthropic: {error}") from None


def from_error(status: int, body: bytes) -> bytes:
    """The error that OpenAI's clients read; one that is not Anthropic's own is told by its status."""
    try:
        found = _FAILURE.decode(body).error
        problem = chat.Problem(found.message, found.type)
    except UNREADABLE:
        problem = chat.Problem(f"The provider answered with status {status}", "api_error")
    return ENCODER.encode(chat.Failure(problem))


def input_of(block: messages.AnswerBlock) -> str:
    """The input of a call as the text of its JSON, which no decoder may have looked at."""
    try:
        return "{}" if block.input is msgspec.UNSET else bytes(block.input).decode()
    except UnicodeDecodeError as error:
        raise OutputUnreadable(f"the input of a call cannot be read: {error}") from None


def finish_reason(stop_reason: str | None) -> str:
    """Why the answer ended, in OpenAI's words; whatever is not known there is a plain end."""
    return _FINISH.get(stop_reason or "", "stop")


def to_usage(usage: messages.Usage) -> chat.Usage:
    """Anthropic counts what was read from and written to its cache beside the input, OpenAI as part of it."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    tokens_in = (usage.input_tokens or 0) + read + written
    tokens_out = usage.output_tokens or 0
    thought = None if usage.output_tokens_details is None else usage.output_tokens_details.thinking_tokens
    return chat.Usage(
        tokens_in,
        tokens_out,
        tokens_in + tokens_out,
        chat.PromptDetails(read, written or None),
        None if thought is None else chat.CompletionDetails(thought),
    )


def _call(block: messages.AnswerBlock) -> chat.ToolCall:
    return chat.ToolCall(block.id, "function", chat.FunctionCall(block.name, input_of(block)))
