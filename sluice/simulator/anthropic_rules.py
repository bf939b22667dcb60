"""What Anthropic refuses in a request for a message, so that a wrong translation into its shape is noticed."""

import re
from collections.abc import Iterator
from typing import Final

from sluice.simulator.anthropic_messages import Block, Message, MessageRequest, Source
from sluice.simulator.script import Refused

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def check(request: MessageRequest) -> None:
    """Raises Refused, with the first thing that is wrong."""
    for fault in _faults(request):
        raise Refused(400, fault)


def _faults(request: MessageRequest) -> Iterator[str]:
    if not request.model:
        yield "model: Field required"
    if request.max_tokens is None:
        yield "max_tokens: Field required"
    elif request.max_tokens < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    if request.temperature is not None and not 0 <= request.temperature <= 1:
        yield "temperature: range: 0..1"
    if not request.messages:
        yield "messages: at least one message is required"
    yield from _tool_faults(request)
    for place, message in enumerate(request.messages):
        yield from _message_faults(place, message, last=place == len(request.messages) - 1)
    yield from _pairing_faults(request.messages)


def _tool_faults(request: MessageRequest) -> Iterator[str]:
    tools = request.tools or []
    for place, tool in enumerate(tools):
        if not _NAME.fullmatch(tool.name):
            yield f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if tool.type in (None, "custom") and tool.input_schema is None:
            yield f"tools.{place}.custom.input_schema: Field required"
    choice = request.tool_choice
    if choice is None:
        return
    if not tools:
        yield "tool_choice: may only be specified while providing tools"
    if choice.type not in ("auto", "any", "tool", "none"):
        yield f"tool_choice: Input tag '{choice.type}' found using 'type' does not match any of the expected tags"
    if choice.type == "tool" and choice.name not in {tool.name for tool in tools}:
        yield f"tool_choice: Tool '{choice.name}' not found in provided tools"


def _message_faults(place: int, message: Message, last: bool) -> Iterator[str]:
    if message.role not in ("user", "assistant"):
        yield f"messages.{place}.role: Input should be 'user' or 'assistant'"
    if not message.content and not (last and message.role == "assistant"):
        yield f"messages.{place}: all messages must have non-empty content"
    for number, block in enumerate(message.blocks):
        where = f"messages.{place}.content.{number}"
        if block.type == "text" and not block.text and isinstance(message.content, list):
            yield f"{where}: text content blocks must be non-empty"
        if block.type in ("image", "document"):
            yield from _source_faults(where, block)
        if block.type == "tool_use" and not (block.id and block.name):
            yield f"{where}.tool_use.id: Field required"
        if (block.type == "tool_use") != (message.role == "assistant") and block.type in ("tool_use", "tool_result"):
            yield f"{where}: `{block.type}` blocks can not be in a message of the {message.role}"


def _source_faults(where: str, block: Block) -> Iterator[str]:
    source = block.source or Source("")
    if source.type not in ("base64", "url", "file", "text", "content"):
        yield f"{where}.{block.type}.source: Input tag '{source.type}' does not match any of the expected tags"
    if source.type == "base64" and block.type == "image" and source.media_type not in _IMAGE_TYPES:
        wanted = "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        yield f"{where}.image.source.base64.media_type: Input should be {wanted}"
    if source.type == "url" and not source.url.startswith(("https://", "http://")):
        yield f"{where}.{block.type}.source.url: Only HTTPS URLs are supported."


def _pairing_faults(messages: list[Message]) -> Iterator[str]:
    """Each tool's use is answered in the very next message, and nothing else is."""
    asked: set[str] = set()
    for place, message in enumerate(messages):
        answered = {one.tool_use_id for one in message.blocks if one.type == "tool_result"}
        if missing := sorted(asked - answered):
            yield (
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                + ", ".join(missing)
            )
        if surplus := sorted(answered - asked):
            yield (
                f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(surplus)}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        asked = {one.id for one in message.blocks if one.type == "tool_use"}
    if asked:
        yield f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after"
