"""An OpenAI chat request to one of Converse. docs/compat-bedrock.md is the table of it."""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.providers.anthropic_chat import messages
from sluice.providers.anthropic_chat.chat import ChatRequest
from sluice.providers.anthropic_chat.decoding import ENCODER, Translated, decode_request, refused
from sluice.providers.anthropic_chat.request import refuse_what_changes_the_answer
from sluice.providers.anthropic_chat.schema import fitted
from sluice.providers.anthropic_chat.tools import to_tools
from sluice.providers.anthropic_chat.turns import to_turns
from sluice.providers.bedrock_chat import converse

_REQUEST: Final = msgspec.json.Decoder(ChatRequest)
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9()\[\]-]+")
_LONGEST_NAME: Final = 100


def to_converse(body: bytes, model: str) -> Translated:
    """The body for Converse; MalformedRequest names the field that cannot be translated."""
    request = decode_request(body, _REQUEST)
    refuse_what_changes_the_answer(request)
    system, turns = to_turns(request.messages)
    told = _Conversation().told(turns)
    translated = converse.Request(
        told,
        system=None if system is None else [converse.System(system)],
        inference_config=_inference(request),
        tool_config=_tool_config(request, told),
        output_config=_output_config(request),
        additional_model_request_fields=_of_the_model(request, model) or None,
    )
    options = request.stream_options
    return Translated(ENCODER.encode(translated), bool(request.stream), bool(options and options.include_usage))


def endpoint_of(model: str, stream: bool) -> bytes:
    """Where Converse has this model; the region is the credential's to say."""
    return f"bedrock-runtime/model/{quote(model, safe='')}/converse{'-stream' if stream else ''}".encode()


class _Conversation:
    """Anthropic's turns to Converse's messages: they have the same blocks, otherwise written."""

    def __init__(self) -> None:
        self._documents = 0

    def told(self, turns: Iterable[messages.Turn]) -> list[converse.Message]:
        return [converse.Message(turn.role, [*map(self._block, turn.content)]) for turn in turns if turn.content]

    def _block(self, block: str | messages.Block) -> converse.Block:
        if isinstance(block, messages.ToolUse):
            return converse.Block(tool_use=converse.ToolUse(block.id, block.name, block.input))
        if isinstance(block, messages.ToolResult):
            return converse.Block(tool_result=self._result(block))
        shown = self._shown(block)
        return converse.Block(shown.text, shown.image, shown.document)

    def _result(self, result: messages.ToolResult) -> converse.ToolResult:
        content = result.content
        blocks: Sequence[str | messages.Block] = [content] if isinstance(content, str) else content or []
        return converse.ToolResult(result.tool_use_id, [self._shown(block) for block in blocks])

    def _shown(self, block: str | messages.Block) -> converse.Shown:
        if isinstance(block, messages.Image):
            media_type, source = _at_hand(block.source)
            return converse.Shown(image=converse.Image(media_type.partition("/")[2], source))
        if isinstance(block, messages.Document):
            media_type, source = _at_hand(block.source)
            name = self._name(block.title)
            return converse.Shown(document=converse.Document(media_type.partition("/")[2], name, source))
        assert isinstance(block, str | messages.Text)
        return converse.Shown(block if isinstance(block, str) else block.text)

    def _name(self, title: str | None) -> str:
        """Bedrock wants a name for each document, another for every one, in few characters."""
        self._documents += 1
        name = _NOT_IN_NAME.sub("-", title or "document")[:_LONGEST_NAME]
        return name if self._documents == 1 else f"{name}-{self._documents}"


def _at_hand(source: messages.UrlSource | messages.Base64Source) -> tuple[str, converse.Source]:
    if isinstance(source, messages.UrlSource):
        raise refused("messages", "this provider fetches no images: send them as data URLs")
    return source.media_type, converse.Source(source.data)


def _inference(request: ChatRequest) -> converse.Inference | None:
    most = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    given = [request.stop] if isinstance(request.stop, str) else request.stop or []
    wanted = converse.Inference(
        most,
        None if request.temperature is None else min(request.temperature, 1),
        None if request.top_p == 1 and request.temperature is not None else request.top_p,
        [text for text in given if text and not text.isspace()] or None,
    )
    return None if wanted == converse.Inference() else wanted


def _tool_config(request: ChatRequest, told: Iterable[converse.Message]) -> converse.ToolConfig | None:
    """Converse has no choice of none: then the tools are left out, unless the conversation has calls of them."""
    tools, choice = to_tools(request)
    called = any(block.tool_use or block.tool_result for message in told for block in message.content)
    if not tools or (choice is not None and choice.type == "none" and not called):
        return None
    specs = [converse.ToolSpec(one.name, converse.InputSchema(one.input_schema), one.description) for one in tools]
    return converse.ToolConfig([converse.Tool(spec) for spec in specs], _choice(choice))


def _choice(choice: messages.ToolChoice | None) -> converse.ToolChoice | None:
    if choice is None or choice.type in ("auto", "none"):
        return None
    if choice.type == "any":
        return converse.ToolChoice(any={})
    return converse.ToolChoice(tool=converse.Named(choice.name or ""))


def _output_config(request: ChatRequest) -> converse.OutputConfig | None:
    wanted = request.response_format
    if wanted is None or wanted.type in ("text", "json_object"):
        return None
    if wanted.type != "json_schema":
        raise refused("response_format.type", f"{wanted.type[:40]!r} cannot be sent to this provider")
    place = "response_format.json_schema.schema"
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise refused(place, "missing")
    schema = ENCODER.encode(fitted(wanted.json_schema.schema, place)).decode()
    return converse.OutputConfig(
        converse.TextFormat(converse.Structure(converse.Schema(schema, wanted.json_schema.name)))
    )


def _of_the_model(request: ChatRequest, model: str) -> dict[str, object]:
    """What Converse has no field for, and some models take in their own."""
    own: dict[str, object] = {}
    if "anthropic." in model:
        own |= {} if request.top_k is None else {"top_k": request.top_k}
        own |= {} if request.thinking is None else {"thinking": request.thinking}
    elif "amazon.nova" in model and request.top_k is not None:
        own["inferenceConfig"] = {"topK": request.top_k}
    return own
