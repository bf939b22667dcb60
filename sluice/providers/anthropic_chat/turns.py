"""A conversation in OpenAI's messages to Anthropic's turns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from sluice.providers.anthropic_chat.chat import FunctionCall, Message, Part
from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.media import to_document, to_image
from sluice.providers.anthropic_chat.messages import Block, Document, Image, Text, ToolResult, ToolUse, Turn

_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NO_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""Not in Anthropic's ids; other vendors' calls, which a conversation may carry on, have dots and colons in theirs."""
_BETWEEN_SYSTEM_TURNS: Final = "\n\n"


@dataclass(slots=True)
class _OpenTurn:
    """A turn that more messages may join. Anthropic wants the results of tools before all else in it."""

    role: Literal["user", "assistant"]
    results: list[Block] = field(default_factory=list)
    others: list[Block] = field(default_factory=list)


def to_turns(messages: Sequence[Message]) -> tuple[str | None, list[Turn]]:
    """The system text and the turns.

    Messages of one side that follow each other become one turn. What is blank is left out, for Anthropic refuses
    it; where nothing but system text is left, that is asked as a user.
    """
    system: list[str] = []
    turns: list[_OpenTurn] = []
    legacy_id = ""
    for number, message in enumerate(messages):
        if message.role == "user":
            _turn(turns, "user").others += _blocks(message, number)
        elif message.role == "assistant":
            if message.function_call is not None:
                legacy_id = f"call_{number}"
            _turn(turns, "assistant").others += _said_and_called(message, number)
        elif message.role in ("system", "developer"):
            system += _texts(message, number)
        else:
            _turn(turns, "user").results.append(_result(message, number, legacy_id))
    filled = _filled(turns)
    if not filled and not system:
        raise refused("messages", "there is no text in them")
    text = _BETWEEN_SYSTEM_TURNS.join(system) or None
    return (text, filled) if filled or text is None else (None, [Turn("user", [Text(text)])])


def _turn(turns: list[_OpenTurn], role: Literal["user", "assistant"]) -> _OpenTurn:
    if not turns or turns[-1].role != role:
        turns.append(_OpenTurn(role))
    return turns[-1]


def _filled(turns: Sequence[_OpenTurn]) -> list[Turn]:
    """The turns that have something in them; where one has not, its neighbours become one."""
    filled: list[_OpenTurn] = []
    for turn in turns:
        if turn.results or turn.others:
            joined = _turn(filled, turn.role)
            joined.results += turn.results
            joined.others += turn.others
    return [Turn(turn.role, turn.results + turn.others) for turn in filled]


def _blocks(message: Message, number: int) -> list[Text | Image | Document]:
    content = message.content
    if isinstance(content, str):
        return [] if _blank(content) else [Text(content)]
    if content is None:
        return []
    blocks = [_block(part, number, place) for place, part in enumerate(content)]
    return [block for block in blocks if not (isinstance(block, Text) and _blank(block.text))]


def _block(part: Part, number: int, place: int) -> Text | Image | Document:
    if part.type == "text" and part.text is not None:
        return Text(part.text)
    where = f"messages[{number}].content[{place}]"
    if part.type == "image_url":
        return to_image(part, where)
    if part.type == "file":
        return to_document(part, where)
    if part.type == "refusal" and part.refusal is not None:
        return Text(part.refusal)
    if part.type in ("text", "refusal"):
        raise refused(f"{where}.{part.type}", "missing")
    if part.type == "input_audio":
        raise refused(f"{where}.input_audio", "this provider takes no audio")
    raise refused(f"{where}.type", f"{part.type[:40]!r} cannot be sent to this provider")


def _texts(message: Message, number: int) -> list[str]:
    texts = []
    for place, block in enumerate(_blocks(message, number)):
        if not isinstance(block, Text):
            raise refused(f"messages[{number}].content[{place}]", "a system message can only be text")
        texts.append(block.text)
    return texts


def _said_and_called(message: Message, number: int) -> list[Block]:
    if message.audio is not None:
        raise refused(f"messages[{number}].audio", "this provider takes no audio")
    blocks: list[Block] = [*_blocks(message, number)]
    if message.refusal and not _blank(message.refusal):
        blocks.append(Text(message.refusal))
    for place, call in enumerate(message.tool_calls or ()):
        where = f"messages[{number}].tool_calls[{place}]"
        if call.function is None:
            raise refused(f"{where}.function", "only calls of functions can be sent to this provider")
        blocks.append(_use(_fitting_id(call.id, f"{where}.id"), call.function, f"{where}.function"))
    if message.function_call is not None:
        blocks.append(_use(f"call_{number}", message.function_call, f"messages[{number}].function_call"))
    return blocks


def _use(call_id: str, call: FunctionCall, where: str) -> ToolUse:
    """The arguments go along as they are written, once it is sure that they are a JSON object."""
    text = call.arguments
    if _blank(text):
        return ToolUse(call_id, call.name, msgspec.Raw("{}"))
    try:
        _ARGUMENTS.decode(text)
    except (ValueError, RecursionError):
        raise refused(f"{where}.arguments", "not a JSON object") from None
    return ToolUse(call_id, call.name, msgspec.Raw(text))


def _result(message: Message, number: int, legacy_id: str) -> ToolResult:
    """A `tool` message, or a legacy `function` message, which answers the call before it."""
    if message.role == "tool":
        call_id = _fitting_id(message.tool_call_id or "", f"messages[{number}].tool_call_id")
    elif legacy_id:
        call_id = legacy_id
    else:
        raise refused(f"messages[{number}]", "no function was called before it")
    blocks = _blocks(message, number)
    if len(blocks) == 1 and isinstance(message.content, str):
        return ToolResult(call_id, message.content)
    return ToolResult(call_id, blocks or None)


def _fitting_id(call_id: str, where: str) -> str:
    if not call_id:
        raise refused(where, "missing")
    return _NO_ID.sub("_", call_id)


def _blank(text: str) -> bool:
    return not text or text.isspace()
