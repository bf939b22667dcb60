"""Gemini's generateContent: what a request may hold, and the reply whole and in parts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, ToolCall, answer, spent
from sluice.simulator.bodies import read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.script import Part, Refused, Script, filled_script, stream_script, to_json
from sluice.simulator.words import Json, Schema

_OTHER_PART_TOKENS: Final = 258
_MOST_CANDIDATES: Final = 8
_OF_THE_CLIENT: Final = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema",
                                   "responseJsonSchema"})  # fmt: skip
"""Values whose names are the client's own."""


class _Blob(msgspec.Struct, frozen=True, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _FunctionCall(msgspec.Struct, frozen=True):
    name: str
    args: dict[str, object] = {}


class _FunctionResponse(msgspec.Struct, frozen=True):
    name: str
    response: dict[str, object] = {}


class GooglePart(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    inline_data: _Blob | None = None
    file_data: dict[str, object] | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None


class Content(msgspec.Struct, frozen=True):
    parts: list[GooglePart] = []
    role: str = "user"

    @property
    def text(self) -> str:
        """What the content says: its texts, and what functions gave back."""
        return "\n".join(said for part in self.parts if (said := _said(part)))

    @property
    def tokens(self) -> int:
        others = sum(part.inline_data is not None or part.file_data is not None for part in self.parts)
        return words.count(self.text) + others * _OTHER_PART_TOKENS


class _Declaration(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None
    parameters_json_schema: dict[str, object] | None = None


class _GoogleTool(msgspec.Struct, frozen=True, rename="camel"):
    function_declarations: list[_Declaration] = []


class _CallingConfig(msgspec.Struct, frozen=True, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class _ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    function_calling_config: _CallingConfig = _CallingConfig()


class _Generation(msgspec.Struct, frozen=True, rename="camel"):
    max_output_tokens: int | None = None
    stop_sequences: list[str] = []
    candidate_count: int | None = None
    response_mime_type: str = ""
    response_schema: dict[str, object] | None = None
    response_json_schema: dict[str, object] | None = None


class GenerateRequest(msgspec.Struct, frozen=True, rename="camel"):
    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[_GoogleTool] = []
    tool_config: _ToolConfig = _ToolConfig()
    generation_config: _Generation = _Generation()

    @property
    def declared(self) -> list[_Declaration]:
        return [one for tool in self.tools for one in tool.function_declarations]


def camel(value: object) -> object:
    """The value with its names in camel case, but for those of the client's own."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = ((_camel_name(str(name)), one) for name, one in value.items())
    return {name: one if name in _OF_THE_CLIENT else camel(one) for name, one in named}


def generate(call: Call) -> Script:
    """POST models/{model}:generateContent."""
    reply = _Reply(call, _read(call))
    return filled_script(reply.whole(), FILLER, (call.faults.huge or 0) << 4)


def stream_generate(call: Call) -> Script:
    """POST models/{model}:streamGenerateContent: events, or without `alt=sse` the elements of one array."""
    reply = _Reply(call, _read(call))
    if call.query.get("alt") == "sse":
        return stream_script((Part(google_event(one).data, last) for one, last in _with_last(reply.chunks())))
    headers = (("Content-Type", "application/json; charset=UTF-8"),)
    return Script(200, headers, _array(reply.chunks()), stream=True)


def google_event(value: Json) -> Part:
    """One server-sent event, with the line ends of Google's."""
    return Part(b"data: %b\r\n\r\n" % to_json(value))


def prompt_tokens(request: GenerateRequest) -> int:
    """A content costs its text's tokens and 4, any part that is no text 258, a function its description's and 8."""
    said = sum(4 + one.tokens for one in request.contents)
    told = 4 + request.system_instruction.tokens if request.system_instruction else 0
    return 3 + said + told + sum(8 + words.count(one.description or "") for one in request.declared)


def counted(name: str, tokens: int) -> list[Json]:
    """Tokens by modality; the simulator tells only of text."""
    return [{"modality": name, "tokenCount": tokens}]


def _read(call: Call) -> GenerateRequest:
    """The request, checked; Google takes each name in camel case and in snake case."""
    given = camel(read_body(call, dict[str, object]))
    try:
        request = msgspec.convert(given, GenerateRequest)
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid JSON payload received. {error}.") from error
    if not request.contents:
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified\n")
    for content in request.contents:
        if content.role not in ("user", "model", "function"):
            raise Refused(400, "Please use a valid role: user, model.")
        if not content.parts:
            raise Refused(400, "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.\n")
    return request


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest) if first else name


def _said(part: GooglePart) -> str:
    if part.function_response is not None:
        return _told_back(part.function_response.response)
    return part.text or ""


def _told_back(response: Mapping[str, object]) -> str:
    """What a function gave back: its one text, or all of it as JSON."""
    values = list(response.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return msgspec.json.encode(response).decode()


def _question(request: GenerateRequest) -> Question:
    last, config = request.contents[-1], request.generation_config
    tools = [Tool(one.name, one.parameters or one.parameters_json_schema or {}) for one in request.declared]
    calling = request.tool_config.function_calling_config
    allowed = calling.allowed_function_names
    forced = {"ANY": allowed[0] if allowed else "*", "NONE": "-"}.get(calling.mode.upper(), "")
    if not forced and any(part.function_response for part in last.parts):
        forced = "-"
    schema: Schema | None = config.response_schema or config.response_json_schema
    if schema is None and config.response_mime_type == "application/json":
        schema = {"properties": {"answer": {"type": "string"}}}
    return Question(last.text, tools, forced, schema, config.max_output_tokens, config.stop_sequences)


class _Reply:
    """What Gemini answers, rendered at once or in parts."""

    def __init__(self, call: Call, request: GenerateRequest) -> None:
        question = _question(request)
        many = max(1, min(request.generation_config.candidate_count or 1, _MOST_CANDIDATES))
        self._answers = [answer(question, call.faults, number) for number in range(many)]
        self._used: Spent = spent(prompt_tokens(request), self._answers, call.faults)
        self._call = call

    def whole(self) -> dict[str, Json]:
        candidates: list[Json] = [
            {"content": {"parts": _parts(one), "role": "model"}, "finishReason": _finish(one), "index": number}
            for number, one in enumerate(self._answers)
        ]
        return {"candidates": candidates} | self._usage(self._used.completion) | self._frame()

    def chunks(self) -> Iterator[dict[str, Json]]:
        """Each a reply of its own; the last of a candidate has its reason to finish, and the last of all the usage."""
        for number, one in enumerate(self._answers):
            for parts in _pieces(one):
                yield self._chunk({"content": {"parts": parts, "role": "model"}, "index": number}, 0)
            said: dict[str, Json] = {
                "content": {"parts": [{"text": ""}], "role": "model"},
                "finishReason": _finish(one),
            }
            last = number == len(self._answers) - 1
            yield self._chunk({**said, "index": number}, self._used.completion if last else 0)

    def _chunk(self, candidate: Json, told: int) -> dict[str, Json]:
        return {"candidates": [candidate]} | self._usage(told) | self._frame()

    def _frame(self) -> dict[str, Json]:
        model, number = base_model(self._call.model), self._call.body.sha256[:22]
        return {"modelVersion": model, "responseId": number}

    def _usage(self, told: int) -> dict[str, Json]:
        """The usage so far: before the end of a stream nothing but the prompt. Thoughts are counted apart."""
        if self._call.faults.no_usage:
            return {}
        used = self._used
        thoughts = min(used.reasoning, told)
        counts: dict[str, Json] = {"promptTokenCount": used.prompt}
        if told:
            counts["candidatesTokenCount"] = told - thoughts
        counts["totalTokenCount"] = used.total if told else used.prompt
        if used.cached:
            counts["cachedContentTokenCount"] = used.cached
        counts["promptTokensDetails"] = counted("TEXT", used.prompt)
        if thoughts:
            counts["thoughtsTokenCount"] = thoughts
        return {"usageMetadata": counts}


def _parts(one: Answer) -> list[Json]:
    return [_call(made) for made in one.calls] if one.calls else [{"text": one.filled}]


def _pieces(one: Answer) -> Iterator[list[Json]]:
    for made in one.calls:
        yield [_call(made)]
    for piece in one.pieces():
        yield [{"text": piece}]


def _call(made: ToolCall) -> Json:
    return {"functionCall": {"name": made.name, "args": msgspec.json.decode(made.arguments)}}


def _finish(one: Answer) -> str:
    return "SAFETY" if one.refused else "MAX_TOKENS" if one.cut_off else "STOP"


def _with_last(chunks: Iterable[dict[str, Json]]) -> Iterator[tuple[dict[str, Json], bool]]:
    """Each chunk, and whether it is the last: where the simulator's streams end for Google's clients."""
    before: dict[str, Json] | None = None
    for chunk in chunks:
        if before is not None:
            yield before, False
        before = chunk
    if before is not None:
        yield before, True


def _array(chunks: Iterable[dict[str, Json]]) -> Iterator[Part]:
    opening = b"["
    for chunk in chunks:
        yield Part(opening + msgspec.json.format(to_json(chunk), indent=2))
        opening = b",\r\n"
    yield Part(b"]", tail=True)
