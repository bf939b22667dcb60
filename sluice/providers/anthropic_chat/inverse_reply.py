"""OpenAI's whole chat completions to Anthropic's messages."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat import inverse_chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.inverse_chat import decode_completion, said
from sluice.providers.usage import UNREADABLE, counted, told_by_reply
from sluice.values.errors import OutputUnreadable
from sluice.values.log import Usage

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
    completion = decode_completion(body)
    if not completion.choices:
        raise OutputUnreadable("a chat completion without a choice")
    choice = completion.choices[0]
    usage = counted(told_by_reply(body))
    message = messages.Message(
        completion.id or "",
        "message",
        completion.model or "",
        _blocks(choice.message),
        stop_reason=stop_reason(choice.finish_reason, bool(choice.message.tool_calls)),
        usage=None if usage is None else to_usage(usage),
    )
    return ENCODER.encode(message)


def stop_reason(finish_reason: str | None, called: bool) -> str:
    """Why the answer ended, in Anthropic's words; for its calls, if it has any, though Google says `stop` (2026-11)."""
    reason = _STOP.get(finish_reason or "", "end_turn")
    return "tool_use" if called and reason == "end_turn" else reason


def to_usage(usage: Usage) -> messages.Usage:
    """What the log counts; there what concerns the cache is part of the input, with Anthropic it is beside it."""
    read, written = usage.cached_in or 0, usage.cache_write or 0
    tokens_in = max(0, (usage.tokens_in or 0) - read - written)
    return messages.Usage(tokens_in, usage.tokens_out or 0, written, read)


def _blocks(answer: inverse_chat.Answer) -> list[messages.AnswerBlock]:
    texts = said(answer.content), said(answer.refusal)
    blocks = [messages.AnswerBlock("text", text) for text in texts if text]
    return blocks + [_use(call) for call in answer.tool_calls or ()]


def _use(call: inverse_chat.Call) -> messages.AnswerBlock:
    if call.function is None or call.function.name is None:
        raise OutputUnreadable("a call of something that is no function")
    arguments = call.function.arguments or "{}"
    try:
        _ARGUMENTS.decode(arguments)
    except UNREADABLE as error:
        raise OutputUnreadable(f"the arguments of a call are no JSON object: {error}") from None
    return messages.AnswerBlock("tool_use", id=call.id, name=call.function.name, input=msgspec.Raw(arguments))
