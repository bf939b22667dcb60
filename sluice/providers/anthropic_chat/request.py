"""An OpenAI chat request to an Anthropic one. Start reading here; docs/compat-anthropic.md is the table of it."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat.chat import ChatRequest
from sluice.providers.anthropic_chat.decoding import ENCODER, Translated, decode_request, refused
from sluice.providers.anthropic_chat.messages import Format, MessagesRequest, Metadata, OutputConfig
from sluice.providers.anthropic_chat.schema import fitted
from sluice.providers.anthropic_chat.tools import to_tools
from sluice.providers.anthropic_chat.turns import to_turns

DEFAULT_MAX_TOKENS: Final = 4096
"""Anthropic must be told a bound, OpenAI need not (contract A.1)."""

_REQUEST: Final = msgspec.json.Decoder(ChatRequest)


def to_messages(body: bytes, model: str) -> Translated:
    """The body for `/v1/messages`; MalformedRequest names the field that cannot be translated."""
    request = decode_request(body, _REQUEST)
    refuse_what_changes_the_answer(request)
    system, turns = to_turns(request.messages)
    tools, choice = to_tools(request)
    translated = MessagesRequest(
        model=model,
        max_tokens=_max_tokens(request),
        messages=turns,
        system=system,
        tools=tools,
        tool_choice=choice,
        output_config=_output_config(request),
        thinking=request.thinking,
        temperature=None if request.temperature is None else min(request.temperature, 1),
        top_p=fitting_top_p(request.top_p, request.temperature),
        top_k=request.top_k,
        stop_sequences=_stop_sequences(request),
        metadata=Metadata(request.user) if request.user else None,
        stream=request.stream or None,
    )
    options = request.stream_options
    return Translated(ENCODER.encode(translated), bool(request.stream), bool(options and options.include_usage))


def refuse_what_changes_the_answer(request: ChatRequest) -> None:
    """Hints that a vendor does not know are dropped; what would bring another kind of answer is not.

    Raises MalformedRequest.
    """
    if request.n not in (None, 1):
        raise refused("n", "this provider gives one answer to a request")
    if request.audio is not None:
        raise refused("audio", "this provider gives no audio")
    if request.modalities is not None and request.modalities != ["text"]:
        raise refused("modalities", "this provider gives text only")


def _max_tokens(request: ChatRequest) -> int:
    if request.max_completion_tokens is not None:
        return request.max_completion_tokens
    return DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens


def fitting_top_p(top_p: float | None, temperature: float | None) -> float | None:
    """Models since Claude 4.1 refuse it beside a temperature; one that says nothing is left out then."""
    return None if top_p == 1 and temperature is not None else top_p


def to_output_config(kind: str, schema: dict[str, object] | None, place: str, schema_place: str) -> OutputConfig | None:
    """The wanted format of the answer, where Anthropic has it and more than words can tell it."""
    if kind in ("text", "json_object"):
        return None
    if kind != "json_schema":
        raise refused(f"{place}.type", f"{kind[:40]!r} cannot be sent to this provider")
    if schema is None:
        raise refused(schema_place, "missing")
    return OutputConfig(Format(fitted(schema, schema_place)))


def _stop_sequences(request: ChatRequest) -> list[str] | None:
    """Anthropic refuses blank ones."""
    given = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return [text for text in given if text and not text.isspace()] or None


def _output_config(request: ChatRequest) -> OutputConfig | None:
    wanted = request.response_format
    if wanted is None:
        return None
    schema = None if wanted.json_schema is None else wanted.json_schema.schema
    return to_output_config(wanted.type, schema, "response_format", "response_format.json_schema.schema")
