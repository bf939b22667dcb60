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
    _refuse_what_changes_the_answer(request)
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
        top_p=_top_p(request),
        top_k=request.top_k,
        stop_sequences=_stop_sequences(request),
        metadata=Metadata(request.user) if request.user else None,
        stream=request.stream or None,
    )
    options = request.stream_options
    return Translated(ENCODER.encode(translated), bool(request.stream), bool(options and options.include_usage))


def _refuse_what_changes_the_answer(request: ChatRequest) -> None:
    """Hints that Anthropic does not know are dropped; what would bring another kind of answer is not."""
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


def _top_p(request: ChatRequest) -> float | None:
    """Models since Claude 4.1 refuse it beside a temperature; one that says nothing is left out then."""
    return None if request.top_p == 1 and request.temperature is not None else request.top_p


def _stop_sequences(request: ChatRequest) -> list[str] | None:
    """Anthropic refuses blank ones."""
    given = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return [text for text in given if text and not text.isspace()] or None


def _output_config(request: ChatRequest) -> OutputConfig | None:
    wanted = request.response_format
    if wanted is None or wanted.type in ("text", "json_object"):
        return None
    if wanted.type != "json_schema":
        raise refused("response_format.type", f"{wanted.type[:40]!r} cannot be sent to this provider")
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise refused("response_format.json_schema.schema", "missing")
    return OutputConfig(Format(fitted(wanted.json_schema.schema, "response_format.json_schema.schema")))
