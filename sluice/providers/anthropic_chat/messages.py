"""Anthropic's messages as far as they are translated."""

from typing import Literal

import msgspec


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    url: str


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    media_type: str
    data: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    source: UrlSource | Base64Source


class Document(msgspec.Struct, frozen=True, tag="document", omit_defaults=True):
    source: UrlSource | Base64Source
    title: str | None = None


class ToolUse(msgspec.Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    tool_use_id: str
    content: str | list[Text | Image | Document] | None = None


class Thinking(msgspec.Struct, frozen=True, tag="thinking"):
    """Left out of what is translated: no other vendor can read it."""


class RedactedThinking(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Left out likewise."""


Block = Text | Image | Document | ToolUse | ToolResult | Thinking | RedactedThinking


class Turn(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    input_schema: dict[str, msgspec.Raw]
    description: str | None = None


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Format(msgspec.Struct, frozen=True, tag="json_schema"):
    schema: dict[str, object]


class OutputConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    format: Format | None = None


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    user_id: str | None = None


class MessagesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    max_tokens: int
    messages: list[Turn]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    thinking: dict[str, msgspec.Raw] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
    stream: bool | None = None


class OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """In a stream its first event tells some counts and its last others, which are sums so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class AnswerBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block of a reply, of any type: those that no other vendor has are left out, not refused."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Head(msgspec.Struct, frozen=True):
    """What the first event of a stream tells of the reply."""

    id: str
    model: str
    usage: Usage | None = None


class Message(msgspec.Struct, frozen=True):
    """A whole reply."""

    id: str
    type: Literal["message"]
    model: str
    content: list[AnswerBlock]
    role: str = "assistant"
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None


class Problem(msgspec.Struct, frozen=True):
    type: str
    message: str


class Failure(msgspec.Struct, frozen=True):
    error: Problem
