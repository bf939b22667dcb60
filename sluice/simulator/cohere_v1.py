"""Cohere's first chat: a message and a history; its stream is a line of JSON for each event."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.script import Part, Refused, Script, filled_script, stream_script, to_json
from sluice.simulator.words import Json, Schema

_KINDS: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class _Turn(msgspec.Struct, frozen=True):
    role: str = ""
    message: str = ""


class _Parameter(msgspec.Struct, frozen=True):
    type: str = "str"


class _GivenTool(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    parameter_definitions: dict[str, _Parameter] = {}


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    schema: dict[str, object] | None = None


class FirstChat(msgspec.Struct, frozen=True):
    message: str
    chat_history: list[_Turn] = []
    preamble: str = ""
    stream: bool | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] = []
    tools: list[_GivenTool] = []
    tool_results: list[object] = []
    response_format: _Format | None = None


def chat_v1(call: Call, request: FirstChat) -> Script:
    """POST /v1/chat."""
    if not request.message and not request.tool_results:
        raise Refused(400, "invalid request: message must be at least 1 token long or tool results must be specified.")
    made = answer(_question(request), call.faults)
    said = (request.message, request.preamble, *(one.message for one in request.chat_history))
    used = spent(3 + sum(4 + words.count(one) for one in said if one), [made], call.faults)
    reply = _reply(call, made, used)
    if not request.stream:
        return filled_script(reply, FILLER, (call.faults.huge or 0) << 4)
    events = _events(made, reply)
    if "event-stream" in call.header(b"accept"):
        return stream_script(Part(b"data: %b\n\n" % to_json(said), last) for said, last in events)
    parts = (Part(to_json(said) + b"\n", last) for said, last in events)
    return Script(200, (("Content-Type", "application/stream+json"),), parts, stream=True)


def billed(used: Spent) -> dict[str, Json]:
    """Billed units are the tokens without what the simulator counts as the vendor's own."""
    return {"input_tokens": used.prompt - 3, "output_tokens": used.completion}


def finish(made: Answer) -> str:
    """Why a text ended, in Cohere's words."""
    if made.refused:
        return "ERROR_TOXIC"
    return "MAX_TOKENS" if made.cut_off else "COMPLETE" if made.stop is None else "STOP_SEQUENCE"


def _question(request: FirstChat) -> Question:
    tools = [Tool(one.name, _schema(one)) for one in request.tools]
    schema: Schema | None = None
    if request.response_format is not None and request.response_format.type == "json_object":
        schema = request.response_format.schema or {"properties": {"answer": {"type": "string"}}}
    forced = "-" if request.tool_results else ""
    return Question(request.message, tools, forced, schema, request.max_tokens, request.stop_sequences)


def _schema(tool: _GivenTool) -> Schema:
    named = tool.parameter_definitions.items()
    return {"properties": {name: {"type": _KINDS.get(one.type, "string")} for name, one in named}}


def _reply(call: Call, made: Answer, used: Spent) -> dict[str, Json]:
    number = call.body.sha256
    reply: dict[str, Json] = {
        "response_id": number[:32],
        "text": made.filled,
        "generation_id": number[32:],
        "finish_reason": "COMPLETE" if made.calls else finish(made),
    }
    if made.calls:
        calls = [{"name": one.name, "parameters": msgspec.json.decode(one.arguments)} for one in made.calls]
        reply["tool_calls"] = calls
    meta: dict[str, Json] = {"api_version": {"version": "1"}}
    if not call.faults.no_usage:
        tokens: Json = {"input_tokens": used.prompt, "output_tokens": used.completion}
        meta |= {"billed_units": billed(used), "tokens": tokens}
    return reply | {"meta": meta}


def _events(made: Answer, reply: dict[str, Json]) -> Iterator[tuple[Json, bool]]:
    """Each event, and whether it is the one that ends the stream. What is huge is told in pieces, and not again."""
    yield {"is_finished": False, "event_type": "stream-start", "generation_id": reply["generation_id"]}, False
    for piece in made.pieces():
        yield {"is_finished": False, "event_type": "text-generation", "text": piece}, False
    if made.calls:
        yield {"is_finished": False, "event_type": "tool-calls-generation", "tool_calls": reply["tool_calls"]}, False
    whole = reply | {"text": made.text}
    end: dict[str, Json] = {"is_finished": True, "event_type": "stream-end", "response": whole}
    yield end | {"finish_reason": reply["finish_reason"]}, True
