"""OpenAI's responses: whole, and as the stream of events that builds one up."""

from collections.abc import Iterator
from itertools import count
from typing import Literal

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import FILLER, Answer, Question, Spent, Tool, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import Faults, base_model
from sluice.simulator.openai_chat import CREATED
from sluice.simulator.script import FILL, Part, Script, event, filled_script, stream_script
from sluice.simulator.words import Json, Schema


class _Content(msgspec.Struct, frozen=True):
    type: str
    text: str = ""


class _Item(msgspec.Struct, frozen=True):
    """An item of the input: a message, a call, or a call's output."""

    type: str = "message"
    content: str | list[_Content] | None = None
    output: str | list[_Content] | None = None

    @property
    def text(self) -> str:
        said = self.output if self.type == "function_call_output" else self.content
        return "\n".join(part.text for part in said if part.text) if isinstance(said, list) else said or ""


class _Tool(msgspec.Struct, frozen=True):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, object] | None = None


class _ToolChoice(msgspec.Struct, frozen=True):
    name: str = ""


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    schema: dict[str, object] = {}


class _Text(msgspec.Struct, frozen=True):
    format: _Format | None = None


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None


class ResponseRequest(msgspec.Struct, frozen=True):
    model: str
    input: str | list[_Item] = ""
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None


def respond(call: Call, request: ResponseRequest) -> Script:
    """POST /v1/responses. An item of the input costs its text's tokens and 4."""
    items = [_Item(content=request.input)] if isinstance(request.input, str) else request.input
    made = answer(_question(request, items), call.faults)
    prompt = 3 + sum(4 + words.count(item.text) for item in items)
    prompt += words.count(request.instructions or "")
    prompt += sum(8 + words.count(tool.description or "") for tool in request.tools or ())
    effort = None if request.reasoning is None else request.reasoning.effort
    used = spent(prompt, [made], call.faults, request.model, effort)
    response = _Response(call.body.sha256[:40], request, made, used, call.faults)
    if request.stream:
        return stream_script(_events(response))
    return filled_script(response.render("completed"), FILLER, (call.faults.huge or 0) << 4)


def _question(request: ResponseRequest, items: list[_Item]) -> Question:
    last = items[-1] if items else _Item()
    tools = [Tool(one.name, one.parameters or {}) for one in request.tools or () if one.name]
    forced = ""
    if isinstance(request.tool_choice, _ToolChoice):
        forced = request.tool_choice.name
    elif request.tool_choice in ("required", "none"):
        forced = "*" if request.tool_choice == "required" else "-"
    elif last.type == "function_call_output":
        forced = "-"
    form = None if request.text is None else request.text.format
    schema: Schema | None = None
    if form is not None and form.type == "json_schema":
        schema = form.schema
    elif form is not None and form.type == "json_object":
        schema = {"properties": {"answer": {"type": "string"}}}
    return Question(last.text, tools, forced, schema, request.max_output_tokens)


class _Response:
    """One response, rendered as it stands at any point of its stream."""

    def __init__(self, number: str, request: ResponseRequest, made: Answer, used: Spent, faults: Faults) -> None:
        self.answer = made
        self._number, self._request, self._used, self._faults = number, request, used, faults
        self.message_id = "msg_" + number

    def render(self, status: Literal["in_progress", "completed"]) -> dict[str, Json]:
        done = status == "completed"
        cut_off = done and self.answer.cut_off
        return {
            "id": "resp_" + self._number,
            "object": "response",
            "created_at": CREATED,
            "status": "incomplete" if cut_off else status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut_off else None,
            "instructions": self._request.instructions,
            "max_output_tokens": self._request.max_output_tokens,
            "model": base_model(self._request.model),
            "output": self.output() if done else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self._usage() if done and not self._faults.no_usage else None,
            "user": None,
            "metadata": {},
        }

    def output(self) -> list[Json]:
        if self.answer.calls:
            return [self.call(place, "completed") for place in range(len(self.answer.calls))]
        filled = self.answer.blocks and not self._request.stream  # a stream has told it in its deltas
        return [self.message("completed", [self.part(self.answer.text + (FILL if filled else ""))])]

    def message(self, status: str, content: list[Json]) -> Json:
        return {"id": self.message_id, "type": "message", "status": status, "content": content, "role": "assistant"}

    def part(self, text: str) -> Json:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def call(self, place: int, status: str) -> Json:
        made = self.answer.calls[place]
        return {
            "id": self.call_id(place),
            "type": "function_call",
            "status": status,
            "arguments": made.arguments if status == "completed" else "",
            "call_id": made.id,
            "name": made.name,
        }

    def call_id(self, place: int) -> str:
        return "fc_" + self.answer.calls[place].id.removeprefix("call_")

    def _usage(self) -> Json:
        return {
            "input_tokens": self._used.prompt,
            "input_tokens_details": {"cached_tokens": self._used.cached},
            "output_tokens": self._used.completion,
            "output_tokens_details": {"reasoning_tokens": self._used.reasoning},
            "total_tokens": self._used.total,
        }


def _events(response: _Response) -> Iterator[Part]:
    """The whole stream; its terminal event carries the usage. What is huge is told in deltas, and not again."""
    numbers = count()

    def say(name: str, said: dict[str, Json], tail: bool = False) -> Part:
        numbered: dict[str, Json] = {"type": name, "sequence_number": next(numbers)}
        return Part(event(numbered | said, name).data, tail)

    yield say("response.created", {"response": response.render("in_progress")})
    yield say("response.in_progress", {"response": response.render("in_progress")})
    told = _calls(response) if response.answer.calls else _message(response)
    for name, said in told:
        yield say(name, said)
    end = "response.incomplete" if response.answer.cut_off else "response.completed"
    yield say(end, {"response": response.render("completed")}, tail=True)


def _message(response: _Response) -> Iterator[tuple[str, dict[str, Json]]]:
    item: dict[str, Json] = {"output_index": 0, "item_id": response.message_id, "content_index": 0}
    text = response.answer.text
    yield "response.output_item.added", {"output_index": 0, "item": response.message("in_progress", [])}
    yield "response.content_part.added", item | {"part": response.part("")}
    for piece in response.answer.pieces():
        yield "response.output_text.delta", item | {"delta": piece, "logprobs": []}
    yield "response.output_text.done", item | {"text": text, "logprobs": []}
    yield "response.content_part.done", item | {"part": response.part(text)}
    yield (
        "response.output_item.done",
        {"output_index": 0, "item": response.message("completed", [response.part(text)])},
    )


def _calls(response: _Response) -> Iterator[tuple[str, dict[str, Json]]]:
    for place, made in enumerate(response.answer.calls):
        item: dict[str, Json] = {"output_index": place, "item_id": response.call_id(place)}
        yield "response.output_item.added", {"output_index": place, "item": response.call(place, "in_progress")}
        for piece in words.tokens(made.arguments):
            yield "response.function_call_arguments.delta", item | {"delta": piece}
        yield "response.function_call_arguments.done", item | {"name": made.name, "arguments": made.arguments}
        yield "response.output_item.done", {"output_index": place, "item": response.call(place, "completed")}
