"""OpenAI's whole chat completions to Anthropic's messages."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat import chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable

_COMPLETION: Final = msgspec.json.Decoder(chat.Completion)
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STOP: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def from_chat(body: bytes) -> bytes:
    """The message that says what the first choice of this chat completion says."""
    try:
        completion = _COMPLETION.decode(body.decode())
    except UNREADABLE as error:
        raise OutputUnreadable(f"not a chat completion: {error}") from None
    if not completion.choices:
        raise OutputUnreadable("a chat completion without a choice")
    choice = completion.choices[0]
    message = messages.Message(
        completion.id,
        "message",
        completion.model,
        _blocks(choice.message),
        stop_reason=stop_reason(choice.finish_reason),
        usage=None if completion.usage is None else to_usage(completion.usage),
    )
    return ENCODER.encode(message)


def stop_reason(finish_reason: str | None) -> str:
    """Why the answer ended, in Anthropic's words."""
    return _STOP.get(finish_reason or "", "end_turn")


def to_usage(usage: chat.Usage) -> messages.Usage:
    """OpenAI counts what concerns the cache as part of the prompt, Anthropic beside the input."""
    details = usage.prompt_tokens_details or chat.PromptDetails()
    read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    tokens_in = max(0, usage.prompt_tokens - read - written)
    return messages.Usage(tokens_in, usage.completion_tokens, written, read)


def _blocks(answer: chat.Answer) -> list[messages.AnswerBlock]:
    blocks = [messages.AnswerBlock("text", text) for text in (answer.content, answer.refusal) if text]
    return blocks + [_use(call) for call in answer.tool_calls or ()]


def _use(call: chat.ToolCall) -> messages.AnswerBlock:
    if call.function is None:
        raise OutputUnreadable("a call of something that is no function")
    arguments = call.function.arguments or "{}"
    try:
        _ARGUMENTS.decode(arguments)
    except UNREADABLE as error:
        raise OutputUnreadable(f"the arguments of a call are no JSON object: {error}") from None
    return messages.AnswerBlock("tool_use", id=call.id, name=call.function.name, input=msgspec.Raw(arguments))
