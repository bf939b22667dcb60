"""OpenAI's responses as far as they are translated; fields that are not named here are ignored."""

from typing import Final, Literal

import msgspec


class Part(msgspec.Struct, frozen=True):
    """A piece of a message or of a tool's output; which field is filled depends on its type."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class Item(msgspec.Struct, frozen=True):
    """An item of the input; a message need not say that it is one."""

    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class Tool(msgspec.Struct, frozen=True):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class NamedTool(msgspec.Struct, frozen=True):
    type: str
    name: str = ""


class ToolChoice(msgspec.Struct, frozen=True):
    type: str
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] | None = None


class Format(msgspec.Struct, frozen=True):
    type: str = "text"
    schema: dict[str, object] | None = None


class TextConfig(msgspec.Struct, frozen=True):
    format: Format | None = None


class ResponseRequest(msgspec.Struct, frozen=True):
    input: str | list[Item]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    user: str | None = None
    previous_response_id: str | None = None
    conversation: object = None
    prompt: object = None
    background: bool | None = None
    thinking: dict[str, msgspec.Raw] | None = None
    """Anthropic's own field."""


Status = Literal["in_progress", "completed", "incomplete"]
_NOTHING: Final[list[str]] = []


class OutputText(msgspec.Struct, frozen=True, tag="output_text"):
    text: str
    annotations: list[str] = _NOTHING
    logprobs: list[str] = _NOTHING


class SaidItem(msgspec.Struct, frozen=True, tag="message"):
    id: str
    status: Status
    content: list[OutputText]
    role: str = "assistant"


class CallItem(msgspec.Struct, frozen=True, tag="function_call"):
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str


OutputItem = SaidItem | CallItem


class InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Incomplete(msgspec.Struct, frozen=True):
    reason: str


class PlainFormat(msgspec.Struct, frozen=True, tag="text"):
    """The format of an answer that need have none."""


class PlainText(msgspec.Struct, frozen=True):
    format: PlainFormat = PlainFormat()


class Response(msgspec.Struct, frozen=True):
    """A response. What a reply of Anthropic cannot tell, such as the tools that were offered, is at its default."""

    id: str
    created_at: int
    model: str
    status: Status
    output: list[OutputItem]
    usage: Usage | None = None
    incomplete_details: Incomplete | None = None
    object: str = "response"
    background: bool = False
    error: None = None
    instructions: None = None
    max_output_tokens: None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    store: bool = False
    temperature: None = None
    text: PlainText = PlainText()
    tool_choice: str = "auto"
    tools: list[str] = _NOTHING
    top_p: None = None
    truncation: str = "disabled"
