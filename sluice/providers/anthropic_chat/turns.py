"""A conversation in OpenAI's messages to Anthropic's turns."""

from collections.abc import Sequence

from sluice.providers.anthropic_chat.chat import Message, Part
from sluice.providers.anthropic_chat.conversation import Conversation, Shown, fitting_id, plain, to_result, to_use
from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.media import to_document, to_image
from sluice.providers.anthropic_chat.messages import Block, ToolResult, Turn


def to_turns(messages: Sequence[Message]) -> tuple[str | None, list[Turn]]:
    """The system text and the turns."""
    conversation = Conversation()
    legacy_id = ""
    for number, message in enumerate(messages):
        if message.role == "user":
            conversation.say("user", _blocks(message, number))
        elif message.role == "assistant":
            if message.function_call is not None:
                legacy_id = f"call_{number}"
            conversation.say("assistant", _said_and_called(message, number))
        elif message.role in ("system", "developer"):
            conversation.instruct(_blocks(message, number), f"messages[{number}].content")
        else:
            conversation.give(_result(message, number, legacy_id))
    return conversation.finished("messages")


def _blocks(message: Message, number: int) -> list[Shown]:
    content = message.content
    if content is None or isinstance(content, str):
        return [*plain(content)]
    return [block for place, part in enumerate(content) for block in _shown(part, number, place)]


def _shown(part: Part, number: int, place: int) -> Sequence[Shown]:
    if part.type == "text" and part.text is not None:
        return plain(part.text)
    where = f"messages[{number}].content[{place}]"
    if part.type == "image_url":
        if part.image_url is None:
            raise refused(f"{where}.image_url", "missing")
        return [to_image(part.image_url.url, f"{where}.image_url.url")]
    if part.type == "file":
        if part.file is None or part.file.file_data is None:
            raise refused(f"{where}.file", "only file_data can be sent to this provider, no uploaded file")
        return [to_document(part.file.file_data, part.file.filename, f"{where}.file.file_data")]
    if part.type == "refusal" and part.refusal is not None:
        return plain(part.refusal)
    raise _unsendable(part, where)


def _unsendable(part: Part, where: str) -> Exception:
    if part.type in ("text", "refusal"):
        return refused(f"{where}.{part.type}", "missing")
    if part.type == "input_audio":
        return refused(f"{where}.input_audio", "this provider takes no audio")
    return refused(f"{where}.type", f"{part.type[:40]!r} cannot be sent to this provider")


def _said_and_called(message: Message, number: int) -> list[Block]:
    if message.audio is not None:
        raise refused(f"messages[{number}].audio", "this provider takes no audio")
    blocks: list[Block] = [*_blocks(message, number), *plain(message.refusal)]
    for place, call in enumerate(message.tool_calls or ()):
        where = f"messages[{number}].tool_calls[{place}]"
        if call.function is None:
            raise refused(f"{where}.function", "only calls of functions can be sent to this provider")
        call_id = fitting_id(call.id, f"{where}.id")
        blocks.append(to_use(call_id, call.function.name, call.function.arguments, f"{where}.function.arguments"))
    if (legacy := message.function_call) is not None:
        where = f"messages[{number}].function_call.arguments"
        blocks.append(to_use(f"call_{number}", legacy.name, legacy.arguments, where))
    return blocks


def _result(message: Message, number: int, legacy_id: str) -> ToolResult:
    """A `tool` message, or a legacy `function` message, which answers the call before it."""
    if message.role == "tool":
        call_id = fitting_id(message.tool_call_id, f"messages[{number}].tool_call_id")
    elif legacy_id:
        call_id = legacy_id
    else:
        raise refused(f"messages[{number}]", "no function was called before it")
    return to_result(call_id, message.content, _blocks(message, number))
