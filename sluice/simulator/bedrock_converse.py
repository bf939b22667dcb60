"""Bedrock's Converse: what a request may hold, and the reply whole and as AWS's messages."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sluice.formats.eventstream import MEDIA_TYPE, encode
from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, answer, spent
from sluice.simulator.bodies import read_body
from sluice.simulator.call import Call
from sluice.simulator.script import Part, Refused, Script, filled_script, to_json
from sluice.simulator.words import Json, Schema

_OTHER_BLOCK_TOKENS: Final = 85
_TOOLS_MISSING: Final = "The toolConfig field must be defined when using toolUse and toolResult content blocks."


class _Given(msgspec.Struct, frozen=True, rename="camel"):
    """What a tool gave back."""

    content: "list[_Block]" = []


class _Block(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    json: object = None
    image: dict[str, object] | None = None
    document: dict[str, object] | None = None
    tool_use: dict[str, object] | None = None
    tool_result: _Given | None = None

    @property
    def said(self) -> str:
        if self.tool_result is not None:
            return "\n".join(block.said for block in self.tool_result.content)
        return self.text or (msgspec.json.encode(self.json).decode() if self.json is not None else "")

    @property
    def tokens(self) -> int:
        inner = [self] if self.tool_result is None else self.tool_result.content
        others = sum(block.image is not None or block.document is not None for block in inner)
        return words.count(self.said) + others * _OTHER_BLOCK_TOKENS


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Block]

    @property
    def blocks(self) -> list[_Block]:
        return [_Block(self.content)] if isinstance(self.content, str) else self.content


class _InputSchema(msgspec.Struct, frozen=True):
    json: dict[str, object] = {}


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    input_schema: _InputSchema
    description: str = ""


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    tool_spec: _Spec


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Choice(msgspec.Struct, frozen=True):
    auto: dict[str, object] | None = None
    any: dict[str, object] | None = None
    tool: _Named | None = None


class _ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    tools: list[_Tool]
    tool_choice: _Choice = _Choice()


class _JsonSchema(msgspec.Struct, frozen=True):
    schema: str


class _Structure(msgspec.Struct, frozen=True, rename="camel"):
    json_schema: _JsonSchema


class _TextFormat(msgspec.Struct, frozen=True):
    structure: _Structure


class _OutputConfig(msgspec.Struct, frozen=True, rename="camel"):
    text_format: _TextFormat | None = None


class _Inference(msgspec.Struct, frozen=True, rename="camel"):
    max_tokens: int | None = None
    stop_sequences: list[str] = []


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    messages: list[_Message]
    system: list[_Block] = []
    inference_config: _Inference = _Inference()
    tool_config: _ToolConfig | None = None
    output_config: _OutputConfig = _OutputConfig()


def converse(call: Call, stream: bool) -> Script:
    """POST model/{id}/converse or converse-stream."""
    request = read_body(call, _Request)
    _check(request)
    made = answer(_question(request), call.faults)
    caches = b"cachePoint" in (call.body.whole or b"")
    used = spent(_prompt_tokens(request), [made], call.faults, caches=caches)
    usage: dict[str, Json] = {} if call.faults.no_usage else {"usage": _usage(used)}
    if stream:
        return Script(200, (("Content-Type", MEDIA_TYPE),), _messages(made, usage), stream=True)
    told: dict[str, Json] = {
        "metrics": {"latencyMs": 100},
        "output": {"message": {"content": _content(made), "role": "assistant"}},
        "stopReason": _stop_reason(made),
    }
    return filled_script(told | usage, FILLER, (call.faults.huge or 0) << 4)


def message(kind: str, payload: Json, tail: bool = False) -> Part:
    """One message of a stream."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return Part(encode(headers, to_json(payload)), tail)


def _check(request: _Request) -> None:
    if not request.messages or request.messages[0].role != "user":
        raise Refused(400, "A conversation must start with a user message. Try again with a conversation that does.")
    blocks = [block for one in request.messages for block in one.blocks]
    if request.tool_config is None and any(block.tool_use or block.tool_result for block in blocks):
        raise Refused(400, _TOOLS_MISSING)
    if any(not one.blocks for one in request.messages):
        raise Refused(400, "The content field in the Message object is empty.")


def _question(request: _Request) -> Question:
    last, config = request.messages[-1].blocks, request.tool_config
    tools = [] if config is None else [_tool(one.tool_spec) for one in config.tools]
    forced = ""
    if config is not None:
        choice = config.tool_choice
        forced = choice.tool.name if choice.tool is not None else "*" if choice.any is not None else ""
    if not forced and any(block.tool_result for block in last):
        forced = "-"
    form = request.output_config.text_format
    schema: Schema | None = None
    if form is not None:
        schema = msgspec.json.decode(form.structure.json_schema.schema, type=dict[str, object])
    inference = request.inference_config
    prompt = "\n".join(block.said for block in last if block.said)
    return Question(prompt, tools, forced, schema, inference.max_tokens, inference.stop_sequences)


def _tool(spec: _Spec) -> Tool:
    return Tool(spec.name, spec.input_schema.json)


def _prompt_tokens(request: _Request) -> int:
    """A message costs its text's tokens and 4, an image or document 85, a tool its description's and 8."""
    tools = () if request.tool_config is None else request.tool_config.tools
    said = sum(4 + sum(block.tokens for block in one.blocks) for one in request.messages)
    told = 4 + words.count("\n".join(block.said for block in request.system)) if request.system else 0
    return 3 + said + told + sum(8 + words.count(one.tool_spec.description) for one in tools)


def _usage(used: Spent) -> Json:
    """What the cache had a part in is not in the input's count, and is in the total."""
    counts: dict[str, Json] = {
        "inputTokens": used.prompt - used.cached - used.written,
        "outputTokens": used.completion,
        "totalTokens": used.total,
    }
    if used.cached or used.written:
        counts |= {"cacheReadInputTokens": used.cached, "cacheWriteInputTokens": used.written}
    return counts


def _content(made: Answer) -> list[Json]:
    if made.calls:
        return [
            {"toolUse": {"toolUseId": _id(one.id), "name": one.name, "input": msgspec.json.decode(one.arguments)}}
            for one in made.calls
        ]
    return [{"text": made.filled}]


def _messages(made: Answer, usage: dict[str, Json]) -> Iterator[Part]:
    """The whole stream. As AWS pads its messages, so do these."""
    yield message("messageStart", {"p": "ab", "role": "assistant"})
    for index, one in enumerate(made.calls):
        start: Json = {"toolUse": {"name": one.name, "toolUseId": _id(one.id)}}
        yield message("contentBlockStart", {"contentBlockIndex": index, "p": "abc", "start": start})
        for piece in words.tokens(one.arguments):
            delta: Json = {"toolUse": {"input": piece}}
            yield message("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcd"})
        yield message("contentBlockStop", {"contentBlockIndex": index, "p": "a"})
    if not made.calls:
        for piece in made.pieces():
            yield message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcdef"})
        yield message("contentBlockStop", {"contentBlockIndex": 0, "p": "a"})
    yield message("messageStop", {"p": "abcde", "stopReason": _stop_reason(made)}, tail=True)
    metrics: dict[str, Json] = {"metrics": {"latencyMs": 100}, "p": "abc"}
    yield message("metadata", metrics | usage, tail=True)


def _id(call_id: str) -> str:
    return call_id.replace("call_", "tooluse_")


def _stop_reason(made: Answer) -> str:
    if made.refused:
        return "content_filtered"
    if made.calls:
        return "tool_use"
    return "max_tokens" if made.cut_off else "end_turn" if made.stop is None else "stop_sequence"
