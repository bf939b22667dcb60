"""OpenAI's chat completions and legacy completions."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import Faults, base_model
from sluice.simulator.script import DONE, FILL, Part, Script, event, filled_script, stream_script
from sluice.simulator.words import Json, Schema

CREATED: Final = 1_735_689_600
"""The simulator's clock stands still, so that the same request has the same reply to the byte."""

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
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None


class CompletionRequest(msgspec.Struct, frozen=True):
    model: str
    prompt: str | list[str] = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None


def chat(call: Call, request: ChatRequest) -> Script:
    """POST /v1/chat/completions. A message costs its text's tokens and 4, any part that is no text 85."""
    question = _question(request)
    answers = [answer(question, call.faults, number) for number in range(_choices(request.n))]
    prompt = 3 + sum(one.tokens for one in request.messages)
    prompt += sum(8 + words.count(one.function.description or "") for one in request.tools or ())
    used = spent(prompt, answers, request.model, request.reasoning_effort, call.faults)
    frame: dict[str, Json] = {
        "id": "chatcmpl-" + call.body.sha256[:29],
        "object": "chat.completion.chunk" if request.stream else "chat.completion",
        "created": CREATED,
        "model": base_model(request.model),
        "service_tier": "default",
        "system_fingerprint": "fp_sluice",
    }
    if request.stream:
        usage = request.stream_options is not None and request.stream_options.include_usage
        return stream_script(_chat_events(frame, answers, used if usage else None, call.faults))
    choices: list[Json] = [_choice(number, one) for number, one in enumerate(answers)]
    return filled_script(frame | {"choices": choices} | _usage(used, call.faults), FILLER, (call.faults.huge or 0) << 4)


def complete(call: Call, request: CompletionRequest) -> Script:
    """POST /v1/completions."""
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    most = 16 if request.max_tokens is None else request.max_tokens
    answers = [
        answer(Question(prompt, most_tokens=most), call.faults, number)
        for prompt in prompts
        for number in range(_choices(request.n))
    ][:_MOST_CHOICES]
    used = spent(sum(words.count(one) for one in prompts), answers, request.model, None, call.faults)
    frame: dict[str, Json] = {
        "id": "cmpl-" + call.body.sha256[:29],
        "object": "text_completion",
        "created": CREATED,
        "model": base_model(request.model),
    }
    if request.stream:
        usage = request.stream_options is not None and request.stream_options.include_usage
        return stream_script(_text_events(frame, answers, used if usage else None, call.faults))
    choices: list[Json] = [
        {"text": one.text + FILL * bool(one.blocks), "index": number, "logprobs": None, "finish_reason": _finish(one)}
        for number, one in enumerate(answers)
    ]
    return filled_script(frame | {"choices": choices} | _usage(used, call.faults), FILLER, (call.faults.huge or 0) << 4)


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
    return Question(last.text, tools, forced, schema, request.max_completion_tokens or request.max_tokens)


def _choices(asked: int | None) -> int:
    return max(1, min(asked or 1, _MOST_CHOICES))


def _finish(one: Answer) -> str:
    return "tool_calls" if one.calls else "length" if one.cut_off else "stop"


def _choice(number: int, one: Answer) -> Json:
    message: dict[str, Json] = {"role": "assistant", "content": None if one.calls else one.text, "refusal": None}
    if one.blocks:
        message["content"] = one.text + FILL
    if one.calls:
        message["tool_calls"] = [
            {"id": made.id, "type": "function", "function": {"name": made.name, "arguments": made.arguments}}
            for made in one.calls
        ]
    message["annotations"] = []
    return {"index": number, "message": message, "logprobs": None, "finish_reason": _finish(one)}


def _usage(used: Spent, faults: Faults) -> dict[str, Json]:
    if faults.no_usage:
        return {}
    return {
        "usage": {
            "prompt_tokens": used.prompt,
            "completion_tokens": used.completion,
            "total_tokens": used.total,
            "prompt_tokens_details": {"cached_tokens": used.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": used.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
    }


def _chat_events(
    frame: dict[str, Json], answers: Sequence[Answer], used: Spent | None, faults: Faults
) -> Iterator[Part]:
    """The chunks of a chat stream; where usage was asked for, all but the last have it null."""
    usage: dict[str, Json] = {} if used is None else {"usage": None}

    def chunk(number: int, delta: dict[str, Json], finish: str | None = None) -> Part:
        choice: Json = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(frame | {"choices": [choice]} | usage)

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
        yield chunk(number, {}, _finish(one))
    if used is not None:
        yield event(frame | {"choices": []} | _usage(used, faults))
    yield DONE


def _text_events(
    frame: dict[str, Json], answers: Sequence[Answer], used: Spent | None, faults: Faults
) -> Iterator[Part]:
    for number, one in enumerate(answers):
        for piece in one.pieces():
            choice: Json = {"text": piece, "index": number, "logprobs": None, "finish_reason": None}
            yield event(frame | {"choices": [choice]})
        yield event(
            frame | {"choices": [{"text": "", "index": number, "logprobs": None, "finish_reason": _finish(one)}]}
        )
    if used is not None:
        yield event(frame | {"choices": []} | _usage(used, faults))
    yield DONE
