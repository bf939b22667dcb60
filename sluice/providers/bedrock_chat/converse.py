"""Bedrock's Converse as far as it is translated. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

import msgspec

Json = dict[str, msgspec.Raw]


class Source(msgspec.Struct, frozen=True):
    bytes: str


class Image(msgspec.Struct, frozen=True):
    format: str
    source: Source


class Document(msgspec.Struct, frozen=True):
    format: str
    name: str
    source: Source


class ToolUse(msgspec.Struct, frozen=True, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block of what a tool has answered: one field is filled."""

    text: str | None = None
    image: Image | None = None
    document: Document | None = None


class ToolResult(msgspec.Struct, frozen=True, rename="camel"):
    tool_use_id: str
    content: list[Shown]


class Block(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A block of a message: one field is filled, and none of these where it is of a kind that no other vendor has."""

    text: str | None = None
    image: Image | None = None
    document: Document | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None


class Message(msgspec.Struct, frozen=True):
    role: str
    content: list[Block]


class System(msgspec.Struct, frozen=True):
    text: str


class Inference(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class InputSchema(msgspec.Struct, frozen=True):
    json: Json


class ToolSpec(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    input_schema: InputSchema
    description: str | None = None


class Tool(msgspec.Struct, frozen=True, rename="camel"):
    tool_spec: ToolSpec


class Named(msgspec.Struct, frozen=True):
    name: str


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field is filled."""

    auto: dict[str, str] | None = None
    any: dict[str, str] | None = None
    tool: Named | None = None


class ToolConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    tools: list[Tool]
    tool_choice: ToolChoice | None = None


class Schema(msgspec.Struct, frozen=True):
    schema: str
    """As the text of its JSON."""
    name: str


class Structure(msgspec.Struct, frozen=True, rename="camel"):
    json_schema: Schema


class TextFormat(msgspec.Struct, frozen=True, tag="json_schema"):
    structure: Structure


class OutputConfig(msgspec.Struct, frozen=True, rename="camel"):
    text_format: TextFormat


class Request(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    messages: list[Message]
    system: list[System] | None = None
    inference_config: Inference | None = None
    tool_config: ToolConfig | None = None
    output_config: OutputConfig | None = None
    additional_model_request_fields: dict[str, object] | None = None


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class Output(msgspec.Struct, frozen=True):
    message: Message


class Reply(msgspec.Struct, frozen=True, rename="camel"):
    output: Output
    stop_reason: str = ""
    usage: Usage | None = None


class Begun(msgspec.Struct, frozen=True, rename="camel"):
    """What a block of a stream begins with."""

    tool_use: ToolUse | None = None


class CallDelta(msgspec.Struct, frozen=True):
    input: str = ""


class Delta(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    tool_use: CallDelta | None = None


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """Any event of a stream; which fields are filled depends on its type, which is in a header."""

    content_block_index: int = 0
    start: Begun | None = None
    delta: Delta | None = None
    stop_reason: str = ""
    usage: Usage | None = None
    message: str = ""
    """Of an exception."""
