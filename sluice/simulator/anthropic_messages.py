"""Anthropic's messages: what a request may hold, and the reply whole and as a stream of events."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, ToolCall, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.script import Part, Script, event, filled_script, stream_script
from sluice.simulator.words import Json, Schema

_OTHER_BLOCK_TOKENS: Final = 85
_FORCED: Final = {"any": "*", "none": "-"}


class Source(msgspec.Struct, frozen=True):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Block(msgspec.Struct, frozen=True):
    """A block of a message or of the system prompt; `content` is what a tool's result has."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, object] = {}
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    source: Source | None = None
    cache_control: dict[str, object] | None = None

    @property
    def said(self) -> str:
        return _text(self.content) if self.type == "tool_result" else self.text

    @property
    def tokens(self) -> int:
        inner = self.content if self.type == "tool_result" and isinstance(self.content, list) else [self]
        others = sum(one.type in ("image", "document") for one in inner)
        return words.count(self.said) + others * _OTHER_BLOCK_TOKENS


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        return [Block("text", self.content)] if isinstance(self.content, str) else self.content


class ToolGiven(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    input_schema: dict[str, object] | None = None
    type: str | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    type: str
    name: str = ""


class _Format(msgspec.Struct, frozen=True):
    type: str
    schema: dict[str, object] = {}


class _OutputConfig(msgspec.Struct, frozen=True):
    format: _Format | None = None


class MessageRequest(msgspec.Struct, frozen=True):
    messages: list[Message]
    model: str = ""
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    tools: list[ToolGiven] | None = None
    tool_choice: ToolChoice | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None


def send(call: Call, request: MessageRequest) -> Script:
    """POST /v1/messages, of a request that has been checked."""
    made = answer(_question(request), call.faults)
    caches = b"cache_control" in (call.body.whole or b"")
    reply = _Reply(call, made, spent(prompt_tokens(request), [made], call.faults, caches=caches))
    if request.stream:
        return stream_script(_events(reply))
    return filled_script(reply.render(), FILLER, (call.faults.huge or 0) << 4)


def prompt_tokens(request: MessageRequest) -> int:
    """A message costs its text's tokens and 4, an image or document 85, a tool its description's and 8."""
    tools = sum(8 + words.count(one.description or "") for one in request.tools or ())
    said = sum(4 + sum(block.tokens for block in one.blocks) for one in request.messages)
    return 3 + said + tools + (4 + words.count(_text(request.system)) if request.system else 0)


def _text(content: str | list[Block] | None) -> str:
    if isinstance(content, list):
        return "\n".join(one.text for one in content if one.text)
    return content or ""


def _question(request: MessageRequest) -> Question:
    last = request.messages[-1].blocks
    tools = [Tool(one.name, one.input_schema or {}) for one in request.tools or ()]
    forced = ""
    if request.tool_choice is not None:
        forced = request.tool_choice.name or _FORCED.get(request.tool_choice.type, "")
    if not forced and any(one.type == "tool_result" for one in last):
        forced = "-"
    form = request.output_format or (request.output_config.format if request.output_config else None)
    schema: Schema | None = form.schema if form is not None else None
    prompt = "\n".join(one.said for one in last if one.said)
    return Question(prompt, tools, forced, schema, request.max_tokens, request.stop_sequences or ())


class _Reply:
    """One message, rendered as it stands when its stream begins, or when all is said."""

    def __init__(self, call: Call, made: Answer, used: Spent) -> None:
        self.answer = made
        self._call, self._used = call, used

    def render(self) -> dict[str, Json]:
        return self._message(self.content(), self.ending, self.usage(self._used.completion))

    def opened(self) -> Json:
        return self._message([], {"stop_reason": None, "stop_sequence": None}, self.usage(1))

    @property
    def ending(self) -> dict[str, Json]:
        return {"stop_reason": self._stop_reason(), "stop_sequence": self.answer.stop}

    def content(self) -> list[Json]:
        if self.answer.calls:
            return [tool_use(made, msgspec.json.decode(made.arguments)) for made in self.answer.calls]
        return [{"type": "text", "text": self.answer.filled}] if self.answer.filled else []

    def usage(self, told: int) -> dict[str, Json]:
        """The usage with so many tokens said; what the cache had a part in is not in the input's."""
        if self._call.faults.no_usage:
            return {}
        used = self._used
        return {
            "usage": {
                "input_tokens": used.prompt - used.cached - used.written,
                "cache_creation_input_tokens": used.written,
                "cache_read_input_tokens": used.cached,
                "cache_creation": {"ephemeral_5m_input_tokens": used.written, "ephemeral_1h_input_tokens": 0},
                "output_tokens": told,
                "service_tier": "standard",
            }
        }

    def total_usage(self) -> dict[str, Json]:
        """What a stream's last event but one tells of it: the counts alone."""
        if self._call.faults.no_usage:
            return {}
        used = self._used
        return {
            "usage": {
                "input_tokens": used.prompt - used.cached - used.written,
                "cache_creation_input_tokens": used.written,
                "cache_read_input_tokens": used.cached,
                "output_tokens": used.completion,
            }
        }

    def _message(self, content: list[Json], ending: dict[str, Json], usage: dict[str, Json]) -> dict[str, Json]:
        return {
            "id": "msg_" + self._call.body.sha256[:24],
            "type": "message",
            "role": "assistant",
            "model": base_model(self._call.model),
            "content": content,
            **ending,
            **usage,
        }

    def _stop_reason(self) -> str:
        made = self.answer
        if made.refused:
            return "refusal"
        if made.calls:
            return "tool_use"
        return "max_tokens" if made.cut_off else "end_turn" if made.stop is None else "stop_sequence"


def tool_use(made: ToolCall, given: Json) -> Json:
    return {"type": "tool_use", "id": made.id.replace("call_", "toolu_"), "name": made.name, "input": given}


def _events(reply: _Reply) -> Iterator[Part]:
    """The whole stream, with a ping behind the start of the first block."""
    yield _say("message_start", {"message": reply.opened()})
    for index, (opening, deltas) in enumerate(_blocks(reply.answer)):
        yield _say("content_block_start", {"index": index, "content_block": opening})
        if index == 0:
            yield _say("ping", {})
        for delta in deltas:
            yield _say("content_block_delta", {"index": index, "delta": delta})
        yield _say("content_block_stop", {"index": index})
    yield _say("message_delta", {"delta": reply.ending} | reply.total_usage())
    yield Part(_say("message_stop", {}).data, tail=True)


def _blocks(made: Answer) -> Iterator[tuple[Json, Iterator[Json]]]:
    """Each block as it is opened, and the deltas that fill it."""
    if made.filled:
        yield {"type": "text", "text": ""}, ({"type": "text_delta", "text": one} for one in made.pieces())
    for one in made.calls:
        yield tool_use(one, {}), _partial_json(one.arguments)


def _partial_json(arguments: str) -> Iterator[Json]:
    pieces: Sequence[str] = ("", *words.tokens(arguments))
    for piece in pieces:
        yield {"type": "input_json_delta", "partial_json": piece}


def _say(name: str, said: dict[str, Json]) -> Part:
    kind: dict[str, Json] = {"type": name}
    return event(kind | said, name)
