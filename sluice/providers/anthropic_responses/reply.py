"""Anthropic's whole replies to OpenAI's responses."""

from collections.abc import Sequence
from typing import Final

from sluice.providers.anthropic_chat import messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.reply import finish_reason, input_of, read_message, to_usage
from sluice.providers.anthropic_responses.responses import (
    CallItem,
    Incomplete,
    InputDetails,
    OutputDetails,
    OutputItem,
    OutputText,
    Response,
    SaidItem,
    Status,
    Usage,
)

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def from_message(body: bytes, created_s: int) -> bytes:
    """The response that says what this message says: an item for each of its texts and calls."""
    message = read_message(body)
    output: list[OutputItem] = []
    for block in message.content:
        if block.type == "text" and block.text:
            output.append(said_item(message.id, len(output), block.text))
        elif block.type == "tool_use":
            output.append(call_item(block, input_of(block)))
    return ENCODER.encode(to_response(message, output, message.stop_reason, message.usage, created_s))


def said_item(message_id: str, number: int, text: str | None) -> SaidItem:
    """A text of the answer; one that is only opened has none."""
    status: Status = "in_progress" if text is None else "completed"
    return SaidItem(f"{message_id}_{number}", status, [] if text is None else [OutputText(text)])


def call_item(block: messages.AnswerBlock, arguments: str | None) -> CallItem:
    """A call; one that is only opened has no arguments."""
    status: Status = "in_progress" if arguments is None else "completed"
    return CallItem(f"fc_{block.id}", status, block.id, block.name, arguments or "")


def to_response(
    head: messages.Head | messages.Message,
    output: Sequence[OutputItem],
    stop_reason: str | None,
    usage: messages.Usage | None,
    created_s: int,
) -> Response:
    """The response at its end."""
    reason = _INCOMPLETE.get(finish_reason(stop_reason))
    return Response(
        head.id,
        created_s,
        head.model,
        "completed" if reason is None else "incomplete",
        [*output],
        None if usage is None else _usage(usage),
        None if reason is None else Incomplete(reason),
    )


def _usage(usage: messages.Usage) -> Usage:
    counted = to_usage(usage)
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    thought = counted.completion_tokens_details
    return Usage(
        counted.prompt_tokens,
        InputDetails(read, written),
        counted.completion_tokens,
        OutputDetails(0 if thought is None else thought.reasoning_tokens or 0),
        counted.total_tokens,
    )
