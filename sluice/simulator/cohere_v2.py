"""Cohere's second chat: a list of messages, and a stream of server-sent events."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, ToolCall, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.cohere_v1 import billed, finish
from sluice.simulator.script import DONE, Part, Refused, Script, event, filled_script, stream_script
from sluice.simulator.words import Json, Schema

_OTHER_PART_TOKENS: Final = 85
_FORCED: Final = {"REQUIRED": "*", "NONE": "-"}


class _Part(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""

    @property
    def tokens(self) -> int:
        others = sum(not part.text for part in self.content) if isinstance(self.content, list) else 0
        return 4 + words.count(self.text) + others * _OTHER_PART_TOKENS


class _Function(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    parameters: dict[str, object] = {}


class _GivenTool(msgspec.Struct, frozen=True):
    function: _Function


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    json_schema: dict[str, object] | None = None
    schema: dict[str, object] | None = None


class SecondChat(msgspec.Struct, frozen=True):
    messages: list[_Message]
    stream: bool | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] = []
    tools: list[_GivenTool] = []
    tool_choice: str | None = None
    response_format: _Format | None = None


def chat_v2(call: Call, request: SecondChat) -> Script:
    """POST /v2/chat."""
    if not request.messages:
        raise Refused(400, "invalid request: messages must not be empty.")
    if not call.model:
        raise Refused(400, "invalid request: model is required.")
    made = answer(_question(request), call.faults)
    tools = sum(8 + words.count(one.function.description) for one in request.tools)
    used = spent(3 + sum(one.tokens for one in request.messages) + tools, [made], call.faults)
    ending: dict[str, Json] = {"finish_reason": "TOOL_CALL" if made.calls else finish(made)} | _usage(call, used)
    if request.stream:
        return stream_script(_events(call.body.sha256[:32], made, ending))
    reply: dict[str, Json] = {"id": call.body.sha256[:32], "message": _message(made)}
    return filled_script(reply | ending, FILLER, (call.faults.huge or 0) << 4)


def _question(request: SecondChat) -> Question:
    last, form = request.messages[-1], request.response_format
    tools = [Tool(one.function.name, one.function.parameters) for one in request.tools]
    forced = _FORCED.get(request.tool_choice or "", "-" if last.role == "tool" else "")
    schema: Schema | None = None
    if form is not None and form.type == "json_object":
        schema = form.json_schema or form.schema or {"properties": {"answer": {"type": "string"}}}
    return Question(last.text, tools, forced, schema, request.max_tokens, request.stop_sequences)


def _usage(call: Call, used: Spent) -> dict[str, Json]:
    if call.faults.no_usage:
        return {}
    tokens: Json = {"input_tokens": used.prompt, "output_tokens": used.completion}
    return {"usage": {"billed_units": billed(used), "tokens": tokens, "cached_tokens": used.cached}}


def _message(made: Answer) -> Json:
    if made.calls:
        plan: dict[str, Json] = {"role": "assistant", "tool_plan": _plan(made)}
        return plan | {"tool_calls": [_call(one, one.arguments) for one in made.calls]}
    return {"role": "assistant", "content": [{"type": "text", "text": made.filled}]}


def _plan(made: Answer) -> str:
    return "I will use " + " and ".join(one.name for one in made.calls) + "."


def _call(made: ToolCall, arguments: str) -> Json:
    return {"id": made.id, "type": "function", "function": {"name": made.name, "arguments": arguments}}


def _events(number: str, made: Answer, ending: dict[str, Json]) -> Iterator[Part]:
    opening: Json = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _say("message-start", {"id": number, "delta": {"message": opening}})
    yield from _calls(made) if made.calls else _text(made)
    yield Part(_say("message-end", {"id": number, "delta": ending}).data, tail=True)
    yield DONE


def _text(made: Answer) -> Iterator[Part]:
    yield _say("content-start", {"index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}})
    for piece in made.pieces():
        yield _say("content-delta", {"index": 0, "delta": {"message": {"content": {"text": piece}}}})
    yield _say("content-end", {"index": 0})


def _calls(made: Answer) -> Iterator[Part]:
    for piece in words.tokens(_plan(made)):
        yield _say("tool-plan-delta", {"delta": {"message": {"tool_plan": piece}}})
    for index, one in enumerate(made.calls):
        yield _say("tool-call-start", {"index": index, "delta": {"message": {"tool_calls": _call(one, "")}}})
        for piece in words.tokens(one.arguments):
            told: Json = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            yield _say("tool-call-delta", {"index": index, "delta": told})
        yield _say("tool-call-end", {"index": index})


def _say(name: str, said: dict[str, Json]) -> Part:
    kind: dict[str, Json] = {"type": name}
    return event(kind | said, name)
