"""OpenAI's chat completions and legacy completions."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Tool, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.openai_dialects import UsageTold, dialect_of
from sluice.simulator.script import DONE, Part, Script, event, filled_script, stream_script
from sluice.simulator.words import Json, Schema

CREATED: Final = 1_735_689_600
"""When the simulator's clock stands still."""

_MOST_CHOICES: Final = 128
_OTHER_PART_TOKENS: Final = 85


class _Part(msgspec.Struct, frozen=True):
    type: str
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
    name: str = ""
    description: str | None = None
    parameters: dict[str, object] | None = None


class _Tool(msgspec.Struct, frozen=True):
    type: str
    function: _Function = _Function()


class _ToolChoice(msgspec.Struct, frozen=True):
    function: _Function = _Function()


class _NamedSchema(msgspec.Struct, frozen=True):
    schema: dict[str, object] = {}


class _Format(msgspec.Struct, frozen=True):
    type: str
    json_schema: _NamedSchema = _NamedSchema()


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None


class CompletionRequest(msgspec.Struct, frozen=True):
    prompt: str | list[str] = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None


def chat(call: Call, request: ChatRequest) -> Script:
    """POST /v1/chat/completions. A message costs its text's tokens and 4, any part that is no text 85."""
    question, dialect = _question(request), dialect_of(call.slug)
    answers = [answer(question, call.faults, number) for number in range(_choices(request.n))]
    prompt = 3 + sum(one.tokens for one in request.messages)
    prompt += sum(8 + words.count(one.function.description or "") for one in request.tools or ())
    used = spent(prompt, answers, call.faults, call.model, request.reasoning_effort)
    frame: dict[str, Json] = {
        "id": "chatcmpl-" + call.body.sha256[:29],
        "object": "chat.completion.chunk" if request.stream else "chat.completion",
        "created": CREATED,
        "model": base_model(call.model),
        "service_tier": "default",
        "system_fingerprint": "fp_sluice",
        **dialect.also,
    }
    usage: dict[str, Json] = {} if call.faults.no_usage else {"usage": dialect.usage(used)}
    if request.stream:
        asked = request.stream_options is not None and request.stream_options.include_usage
        return stream_script(_chat_events(frame, answers, _Told(usage, dialect.told, asked)))
    choices: list[Json] = [_choice(number, one) for number, one in enumerate(answers)]
    return filled_script(frame | {"choices": choices} | usage, FILLER, (call.faults.huge or 0) << 4)


def complete(call: Call, request: CompletionRequest) -> Script:
    """POST /v1/completions."""
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    most = 16 if request.max_tokens is None else request.max_tokens
    answers = [
        answer(Question(prompt, most_tokens=most), call.faults, number)
        for prompt in prompts
        for number in range(_choices(request.n))
    ][:_MOST_CHOICES]
    used = spent(sum(words.count(one) for one in prompts), answers, call.faults, call.model)
    frame: dict[str, Json] = {
        "id": "cmpl-" + call.body.sha256[:29],
        "object": "text_completion",
        "created": CREATED,
        "model": base_model(call.model),
    }
    usage: dict[str, Json] = {} if call.faults.no_usage else {"usage": dialect_of(call.slug).usage(used)}
    if request.stream:
        asked = request.stream_options is not None and request.stream_options.include_usage
        return stream_script(_text_events(frame, answers, usage if asked else None))
    choices: list[Json] = [
        {"text": one.filled, "index": number, "logprobs": None, "finish_reason": _finish(one)}
        for number, one in enumerate(answers)
    ]
    return filled_script(frame | {"choices": choices} | usage, FILLER, (call.faults.huge or 0) << 4)


def _question(request: ChatRequest) -> Question:
    last = request.messages[-1] if request.messages else _Message("user")
    tools = [Tool(one.function.name, one.function.parameters or {}) for one in request.tools or () if one.function.name]
    forced = ""
    if isinstance(request.tool_choice, _ToolChoice):
        forced = request.tool_choice.function.name
    elif request.tool_choice in ("required", "none"):
        forced = "*" if request.tool_choice == "required" else "-"
    elif last.role == "tool":
        forced = "-"
    schema: Schema | None = None
    if request.response_format is not None and request.response_format.type == "json_object":
        schema = {"properties": {"answer": {"type": "string"}}}
    elif request.response_format is not None and request.response_format.type == "json_schema":
        schema = request.response_format.json_schema.schema
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    return Question(last.text, tools, forced, schema, request.max_completion_tokens or request.max_tokens, stops)


def _choices(asked: int | None) -> int:
    return max(1, min(asked or 1, _MOST_CHOICES))


def _finish(one: Answer) -> str:
    if one.refused:
        return "content_filter"
    return "tool_calls" if one.calls else "length" if one.cut_off else "stop"


def _choice(number: int, one: Answer) -> Json:
    message: dict[str, Json] = {"role": "assistant", "content": None if one.calls else one.filled, "refusal": None}
    if one.calls:
        message["tool_calls"] = [
            {"id": made.id, "type": "function", "function": {"name": made.name, "arguments": made.arguments}}
            for made in one.calls
        ]
    message["annotations"] = []
    return {"index": number, "message": message, "logprobs": None, "finish_reason": _finish(one)}


class _Told(NamedTuple):
    """What a stream is to tell of the usage: `usage` is empty where it is to be left out."""

    usage: dict[str, Json]
    how: UsageTold
    asked: bool


def _chat_events(frame: dict[str, Json], answers: Sequence[Answer], told: _Told) -> Iterator[Part]:
    """The chunks of a chat stream; where a chunk of usage will come, all before it have it null."""
    apart = told.asked and told.how != "last"
    blank: dict[str, Json] = {"usage": None} if apart else {}

    def chunk(number: int, delta: dict[str, Json], finish: str | None = None, more: dict[str, Json] = blank) -> Part:
        choice: Json = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(frame | {"choices": [choice]} | more)

    for number, one in enumerate(answers):
        opening: dict[str, Json] = {"role": "assistant", "content": None if one.calls else "", "refusal": None}
        yield chunk(number, opening)
        for piece in one.pieces():
            yield chunk(number, {"content": piece})
        for place, made in enumerate(one.calls):
            head: Json = {"name": made.name, "arguments": ""}
            yield chunk(number, {"tool_calls": [{"index": place, "id": made.id, "type": "function", "function": head}]})
            for piece in words.tokens(made.arguments):
                yield chunk(number, {"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
        last = number == len(answers) - 1
        yield chunk(number, {}, _finish(one), blank | (_with_last(frame, told) if last else {}))
    if apart:
        yield event(frame | {"choices": []} | told.usage)
    yield DONE


def _with_last(frame: dict[str, Json], told: _Told) -> dict[str, Json]:
    """What the last chunk of a choice tells of the usage."""
    if told.how == "x_groq":
        return {"x_groq": {"id": frame["id"]} | told.usage}
    return told.usage if told.how == "last" else {}


def _text_events(frame: dict[str, Json], answers: Sequence[Answer], usage: dict[str, Json] | None) -> Iterator[Part]:
    for number, one in enumerate(answers):
        for piece in one.pieces():
            choice: Json = {"text": piece, "index": number, "logprobs": None, "finish_reason": None}
            yield event(frame | {"choices": [choice]})
        yield event(
            frame | {"choices": [{"text": "", "index": number, "logprobs": None, "finish_reason": _finish(one)}]}
        )
    if usage is not None:
        yield event(frame | {"choices": []} | usage)
    yield DONE
