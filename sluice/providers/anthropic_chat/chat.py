"""OpenAI's chat completions as far as they are translated; fields that are not named here are ignored."""

from typing import Literal

import msgspec

Role = Literal["developer", "system", "user", "assistant", "tool", "function"]


class ImageUrl(msgspec.Struct, frozen=True):
    url: str


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a message; which field is filled depends on its type."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    file: File | None = None


class FunctionCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    type: str = "function"
    function: FunctionCall | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Role
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    refusal: str | None = None
    audio: object = None


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class Tool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: Function | None = None


class FunctionName(msgspec.Struct, frozen=True):
    name: str


class AllowedTool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: FunctionName | None = None


class AllowedTools(msgspec.Struct, frozen=True):
    mode: Literal["auto", "required"]
    tools: list[AllowedTool]


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(msgspec.Struct, frozen=True):
    name: str = "answer"
    schema: dict[str, object] | None = None


class ResponseFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    messages: list[Message]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """Not OpenAI's: several vendors of its shape have it, and Anthropic too."""
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | FunctionName | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    audio: object = None
    user: str | None = None
    thinking: dict[str, msgspec.Raw] | None = None
    """Anthropic's own field, as its own layer for OpenAI's SDK takes it."""


class PromptDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Answer(msgspec.Struct, frozen=True):
    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | msgspec.UnsetType | None = msgspec.UNSET


class Choice(msgspec.Struct, frozen=True):
    message: Answer
    finish_reason: str | None = None
    index: int = 0
    logprobs: object = None


class Completion(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Problem(msgspec.Struct, frozen=True):
    message: str
    type: str
    code: str | None = None
    param: str | None = None


class Failure(msgspec.Struct, frozen=True):
    error: Problem
