"""An Anthropic request to an OpenAI chat request: for Anthropic's clients before a vendor of OpenAI's shape."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from sluice.providers.anthropic_chat import chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER, Translated, decode_request, refused
from sluice.providers.provider import MostTokens

_REQUEST: Final = msgspec.json.Decoder(messages.MessagesRequest)
_WORDS: Final = {"auto": "auto", "any": "required", "none": "none"}
_Told = messages.Text | messages.Image | messages.Document


def to_chat(body: bytes, model: str, most_tokens: MostTokens = "max_completion_tokens") -> Translated:
    """The body for `/v1/chat/completions`; MalformedRequest names the field that cannot be translated.

    `most_tokens` is what the vendor calls the bound of its answer, by default as OpenAI itself does.
    Usage is asked for in a stream, for Anthropic's streams always tell it. Thinking and `top_k` are left out.
    """
    request = decode_request(body, _REQUEST)
    stream = bool(request.stream)
    translated = chat.ChatRequest(
        model=model,
        messages=[*_system(request.system), *_messages(request.messages)],
        stream=stream or None,
        stream_options=chat.StreamOptions(True) if stream else None,
        max_completion_tokens=request.max_tokens if most_tokens == "max_completion_tokens" else None,
        max_tokens=request.max_tokens if most_tokens == "max_tokens" else None,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=request.stop_sequences,
        tools=[_tool(tool) for tool in request.tools] if request.tools else None,
        tool_choice=_choice(request.tool_choice),
        parallel_tool_calls=_parallel(request.tool_choice),
        response_format=_format(request.output_config),
        user=None if request.metadata is None else request.metadata.user_id,
    )
    return Translated(ENCODER.encode(translated), stream, stream)


def _system(system: str | Sequence[messages.Text] | None) -> Iterator[chat.Message]:
    if not isinstance(system, str):
        system = "\n\n".join(block.text for block in system or ())
    if system:
        yield chat.Message("system", system)


def _messages(turns: Sequence[messages.Turn]) -> Iterator[chat.Message]:
    for number, turn in enumerate(turns):
        blocks = [messages.Text(turn.content)] if isinstance(turn.content, str) else turn.content
        if turn.role == "assistant":
            yield _assistant(blocks, f"messages[{number}]")
        else:
            yield from _user(blocks, f"messages[{number}]")


def _assistant(blocks: Sequence[messages.Block], where: str) -> chat.Message:
    text: list[str] = []
    calls: list[chat.ToolCall] = []
    for place, block in enumerate(blocks):
        if isinstance(block, messages.Text):
            text.append(block.text)
        elif isinstance(block, messages.ToolUse):
            call = chat.FunctionCall(block.name, bytes(block.input).decode())
            calls.append(chat.ToolCall(block.id, "function", call))
        elif not isinstance(block, messages.Thinking | messages.RedactedThinking):
            raise refused(f"{where}.content[{place}]", "an assistant can only say text and call tools")
    return chat.Message("assistant", "".join(text) or None, calls or None)


def _user(blocks: Sequence[messages.Block], where: str) -> Iterator[chat.Message]:
    """Results of tools are messages of their own there, before what the user says with them."""
    told: list[_Told] = []
    for place, block in enumerate(blocks):
        if isinstance(block, messages.ToolResult):
            given = block.content or ""
            content = given if isinstance(given, str) else [_part(inner) for inner in given]
            yield chat.Message("tool", content, tool_call_id=block.tool_use_id)
        elif isinstance(block, messages.Text | messages.Image | messages.Document):
            told.append(block)
        else:
            raise refused(f"{where}.content[{place}]", "a user can only say text, show media and give results")
    if told:
        yield chat.Message("user", _content(told))


def _content(told: Sequence[_Told]) -> str | list[chat.Part]:
    if len(told) == 1 and isinstance(told[0], messages.Text):
        return told[0].text
    return [_part(block) for block in told]


def _part(block: _Told) -> chat.Part:
    if isinstance(block, messages.Text):
        return chat.Part("text", text=block.text)
    source = block.source
    url = source.url if isinstance(source, messages.UrlSource) else f"data:{source.media_type};base64,{source.data}"
    if isinstance(block, messages.Image):
        return chat.Part("image_url", image_url=chat.ImageUrl(url))
    return chat.Part("file", file=chat.File(url, filename=block.title))


def _tool(tool: messages.Tool) -> chat.Tool:
    return chat.Tool("function", chat.Function(tool.name, tool.description, tool.input_schema))


def _choice(choice: messages.ToolChoice | None) -> str | chat.ToolChoice | None:
    if choice is None:
        return None
    if choice.type != "tool":
        return _WORDS[choice.type]
    if choice.name is None:
        raise refused("tool_choice.name", "missing")
    return chat.ToolChoice("function", chat.FunctionName(choice.name))


def _parallel(choice: messages.ToolChoice | None) -> bool | None:
    return False if choice is not None and choice.disable_parallel_tool_use else None


def _format(wanted: messages.OutputConfig | None) -> chat.ResponseFormat | None:
    if wanted is None or wanted.format is None:
        return None
    return chat.ResponseFormat("json_schema", chat.JsonSchema(schema=wanted.format.schema))
