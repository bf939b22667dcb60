"""An OpenAI responses request to an Anthropic one. Start reading here; docs/compat-anthropic.md is the table of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from sluice.providers.anthropic_chat.conversation import Conversation, Shown, fitting_id, plain, to_result, to_use
from sluice.providers.anthropic_chat.decoding import ENCODER, Translated, decode_request, refused
from sluice.providers.anthropic_chat.media import is_web, to_document, to_image
from sluice.providers.anthropic_chat.messages import (
    Document,
    MessagesRequest,
    Metadata,
    OutputConfig,
    Turn,
    UrlSource,
)
from sluice.providers.anthropic_chat.request import DEFAULT_MAX_TOKENS, fitting_top_p, to_output_config
from sluice.providers.anthropic_responses.responses import Item, Part, ResponseRequest
from sluice.providers.anthropic_responses.tools import to_tools

_REQUEST: Final = msgspec.json.Decoder(ResponseRequest)


def to_messages(body: bytes, model: str) -> Translated:
    """The body for `/v1/messages`; MalformedRequest names the field that cannot be translated."""
    request = decode_request(body, _REQUEST)
    _refuse_what_is_kept_elsewhere(request)
    system, turns = _turns(request)
    tools, choice = to_tools(request)
    stream = bool(request.stream)
    translated = MessagesRequest(
        model=model,
        max_tokens=DEFAULT_MAX_TOKENS if request.max_output_tokens is None else request.max_output_tokens,
        messages=turns,
        system=system,
        tools=tools,
        tool_choice=choice,
        output_config=_output_config(request),
        thinking=request.thinking,
        temperature=None if request.temperature is None else min(request.temperature, 1),
        top_p=fitting_top_p(request.top_p, request.temperature),
        metadata=Metadata(request.user) if request.user else None,
        stream=stream or None,
    )
    return Translated(ENCODER.encode(translated), stream, stream)


def _refuse_what_is_kept_elsewhere(request: ResponseRequest) -> None:
    """Anthropic keeps nothing between requests, and neither does this gateway."""
    for field in ("previous_response_id", "conversation", "prompt"):
        if getattr(request, field) is not None:
            raise refused(field, "this provider keeps nothing that it could refer to")
    if request.background:
        raise refused("background", "this provider answers while the client waits")


def _turns(request: ResponseRequest) -> tuple[str | None, list[Turn]]:
    conversation = Conversation()
    conversation.instruct(plain(request.instructions), "instructions")
    if isinstance(request.input, str):
        conversation.say("user", plain(request.input))
    else:
        for number, item in enumerate(request.input):
            _add(conversation, item, f"input[{number}]")
    return conversation.finished("input")


def _add(conversation: Conversation, item: Item, where: str) -> None:
    if item.type == "message":
        _add_message(conversation, item, where)
    elif item.type == "function_call":
        if item.name is None:
            raise refused(f"{where}.name", "missing")
        call_id = fitting_id(item.call_id, f"{where}.call_id")
        conversation.say("assistant", [to_use(call_id, item.name, item.arguments or "", f"{where}.arguments")])
    elif item.type == "function_call_output":
        call_id = fitting_id(item.call_id, f"{where}.call_id")
        conversation.give(to_result(call_id, item.output, _shown(item.output, f"{where}.output")))
    elif item.type != "reasoning":  # another vendor's thinking, which none can read but its own models
        raise refused(f"{where}.type", f"{item.type[:40]!r} cannot be sent to this provider")


def _add_message(conversation: Conversation, item: Item, where: str) -> None:
    shown = _shown(item.content, f"{where}.content")
    if item.role is None:
        raise refused(f"{where}.role", "missing")
    if item.role in ("user", "assistant"):
        conversation.say("user" if item.role == "user" else "assistant", shown)
    else:
        conversation.instruct(shown, f"{where}.content")


def _shown(content: str | Sequence[Part] | None, where: str) -> list[Shown]:
    if content is None or isinstance(content, str):
        return [*plain(content)]
    return [block for place, part in enumerate(content) for block in _blocks(part, f"{where}[{place}]")]


def _blocks(part: Part, where: str) -> Sequence[Shown]:
    if part.type in ("input_text", "output_text") and part.text is not None:
        return plain(part.text)
    if part.type == "refusal" and part.refusal is not None:
        return plain(part.refusal)
    if part.type == "input_image":
        if part.image_url is None:
            raise refused(f"{where}.image_url", "only this can be sent to this provider, no uploaded file")
        return [to_image(part.image_url, f"{where}.image_url")]
    if part.type == "input_file":
        return [_document(part, where)]
    if part.type in ("input_text", "output_text", "refusal"):
        raise refused(f"{where}.{part.type.removeprefix('input_').removeprefix('output_')}", "missing")
    raise refused(f"{where}.type", f"{part.type[:40]!r} cannot be sent to this provider")


def _document(part: Part, where: str) -> Document:
    if part.file_url is not None:
        if not is_web(part.file_url):
            raise refused(f"{where}.file_url", "not http(s)")
        return Document(UrlSource(part.file_url), part.filename)
    if part.file_data is None:
        raise refused(f"{where}.file_data", "only this or file_url can be sent to this provider, no uploaded file")
    return to_document(part.file_data, part.filename, f"{where}.file_data")


def _output_config(request: ResponseRequest) -> OutputConfig | None:
    wanted = None if request.text is None else request.text.format
    return None if wanted is None else to_output_config(wanted.type, wanted.schema, "text.format", "text.format.schema")
