"""Converse's whole replies and errors to OpenAI's."""

from typing import Final, NamedTuple

import msgspec

from sluice.providers.anthropic_chat import chat
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.bedrock_chat import converse
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable

_REPLY: Final = msgspec.json.Decoder(converse.Reply)
_FINISH: Final = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""Words of OpenAI's for a status: Bedrock says the kind of an error in a header alone."""


class Heading(NamedTuple):
    """What OpenAI's replies say of themselves and Converse's do not."""

    id: str
    created_s: int
    model: str


class _Failure(msgspec.Struct):
    message: str | None = None
    capital: str | None = msgspec.field(default=None, name="Message")
    """So spelt where AWS refuses before Bedrock does."""


_FAILURE: Final = msgspec.json.Decoder(_Failure)


def from_reply(body: bytes, heading: Heading) -> bytes:
    """The chat completion that says what this reply says."""
    try:
        reply = _REPLY.decode(body.decode())
    except UNREADABLE as error:
        raise OutputUnreadable(f"not a reply of Converse: {error}") from None
    blocks = reply.output.message.content
    text = "".join(block.text or "" for block in blocks)
    calls = [_call(block.tool_use) for block in blocks if block.tool_use is not None]
    answer = chat.Answer(content=None if calls and not text else text, tool_calls=calls or msgspec.UNSET)
    choice = chat.Choice(answer, finish_reason(reply.stop_reason))
    usage = None if reply.usage is None else to_usage(reply.usage)
    return ENCODER.encode(
        chat.Completion(heading.id, "chat.completion", heading.created_s, heading.model, [choice], usage)
    )


def from_error(status: int, body: bytes) -> bytes:
    """The error that OpenAI's clients read; one that is not AWS's own is told by its status."""
    try:
        found = _FAILURE.decode(body)
        said = found.message or found.capital
    except UNREADABLE:
        said = None
    problem = chat.Problem(said or f"The provider answered with status {status}", _KINDS.get(status, "api_error"))
    return ENCODER.encode(chat.Failure(problem))


def finish_reason(stop_reason: str) -> str:
    """Why the answer ended, in OpenAI's words; whatever is not known there is a plain end."""
    return _FINISH.get(stop_reason, "stop")


def to_usage(usage: converse.Usage) -> chat.Usage:
    """Bedrock counts what was read from and written to its cache beside the input, OpenAI as part of it."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    tokens_in = usage.input_tokens + read + written
    details = chat.PromptDetails(read, written or None)
    return chat.Usage(tokens_in, usage.output_tokens, tokens_in + usage.output_tokens, details)


def _call(use: converse.ToolUse) -> chat.ToolCall:
    return chat.ToolCall(use.tool_use_id, "function", chat.FunctionCall(use.name, bytes(use.input).decode()))
