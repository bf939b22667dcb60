"""What vendors say of tokens: a row for each shape. Usage that breaks its own schema is unknown, never guessed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Final

import msgspec

from sluice.formats.sse import Event
from sluice.values.log import Usage

MAX_COUNT: Final = 10**12
"""No reply has more tokens: a higher count is an error or an attack, and fits no integer column."""

Document = bytes | bytearray | mmap
Count = int | float | None
"""Some vendors write 12.0."""


@dataclass(frozen=True, slots=True)
class UsageFormat:
    """How one family of vendors tells usage. `document` reads a whole reply, `event` the data of a stream's event.

    Only an event that `marker` is found in can hold usage: most are never parsed. Where several do, what a later
    one says replaces what an earlier one said, field by field.
    """

    marker: bytes
    pattern: re.Pattern[bytes]
    document: Callable[[Document], Usage | None]
    event: Callable[[bytes], Usage | None]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class _OpenAIUsage(msgspec.Struct, gc=False):
    """Chat, completions and embeddings say prompt and completion; responses, images and audio input and output."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    """So spelt by audio transcriptions and realtime."""
    output_token_details: _Details | None = None


class _Reply(msgspec.Struct, gc=False):
    usage: _OpenAIUsage | None = None


class _StreamEvent(msgspec.Struct, gc=False):
    usage: _OpenAIUsage | None = None
    response: _Reply | None = None


_REPLY: Final = msgspec.json.Decoder(_Reply)
_STREAM_EVENT: Final = msgspec.json.Decoder(_StreamEvent)
UNREADABLE: Final = (ValueError, RecursionError)
"""All that msgspec raises on hostile JSON: its own errors and bad UTF-8 are ValueErrors, deep nesting is the other."""
_NO_DETAILS: Final = _Details()


def openai_usage(body: Document) -> Usage | None:
    """Usage in a whole reply of any OpenAI endpoint."""
    try:
        usage = _REPLY.decode(body).usage
    except UNREADABLE:
        return None
    return None if usage is None else _from_openai(usage)


def openai_stream_usage(data: bytes) -> Usage | None:
    """Usage in an event: chat's last chunk carries it, `response.completed` and its kin inside `response`."""
    try:
        event = _STREAM_EVENT.decode(data)
    except UNREADABLE:
        return None
    usage = event.usage
    if usage is None and event.response is not None:
        usage = event.response.usage
    return None if usage is None else _from_openai(usage)


def _from_openai(usage: _OpenAIUsage) -> Usage:
    read = usage.prompt_tokens_details or usage.input_tokens_details or usage.input_token_details or _NO_DETAILS
    wrote = usage.completion_tokens_details or usage.output_tokens_details or usage.output_token_details or _NO_DETAILS
    tokens_in = usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    tokens_out = usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens
    return Usage(
        _count(tokens_in),
        _count(tokens_out),
        _count(usage.total_tokens),
        _count(wrote.reasoning_tokens),
        _count(read.cached_tokens),
        _count(read.cache_write_tokens),
        _count(read.audio_tokens),
        _count(wrote.audio_tokens),
        _count(read.image_tokens),
        _count(wrote.image_tokens),
    )


def _count(value: Count) -> int | None:
    if value is None or not 0 <= value <= MAX_COUNT or value != int(value):
        return None
    return int(value)


def merged(earlier: Usage | None, later: Usage) -> Usage:
    """What both say together, the later one where both speak."""
    if earlier is None:
        return later
    told = {field: value for field in Usage.__struct_fields__ if (value := getattr(later, field)) is not None}
    return msgspec.structs.replace(earlier, **told)


OPENAI: Final = UsageFormat(
    marker=b'"usage"',
    pattern=re.compile(rb'"usage"\s*:(?!\s*null)'),  # with include_usage every other chunk says "usage":null
    document=openai_usage,
    event=openai_stream_usage,
)
_FORMATS: Final[dict[str, UsageFormat]] = {}
"""Providers that do not speak OpenAI's shapes, by slug."""


def usage_format(provider: str) -> UsageFormat:
    """How this provider tells usage."""
    return _FORMATS.get(provider, OPENAI)


class _Named(msgspec.Struct, gc=False):
    model: str | None = None


class _NamedEvent(msgspec.Struct, gc=False):
    model: str | None = None
    response: _Named | None = None


_NAMED: Final = msgspec.json.Decoder(_Named)
_NAMED_EVENT: Final = msgspec.json.Decoder(_NamedEvent)


def named_model(document: Document) -> str | None:
    """The `model` of a JSON request or reply."""
    try:
        return _NAMED.decode(document).model
    except UNREADABLE:
        return None


def named_model_of_event(data: bytes) -> str | None:
    """The `model` that an event of a stream names."""
    try:
        event = _NAMED_EVENT.decode(data)
    except UNREADABLE:
        return None
    return event.model or (event.response.model if event.response else None)


_TERMINAL: Final = re.compile(rb"\[DONE\]|message_stop|response\.(?:completed|incomplete|failed)")
_TERMINAL_NAMES: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "message_stop"})


class _Typed(msgspec.Struct, gc=False):
    type: str = ""


_TYPED: Final = msgspec.json.Decoder(_Typed)


def may_end_stream(block: bytes) -> bool:
    """Whether it is worth parsing this block to ask whether it ends its stream."""
    return _TERMINAL.search(block) is not None


def ends_stream(event: Event) -> bool:
    """Whether this is the last event a vendor sends; clients may hang up at it."""
    if event.data == b"[DONE]" or event.name in _TERMINAL_NAMES:
        return True
    if event.name != "message":
        return False
    try:
        return _TYPED.decode(event.data).type in _TERMINAL_NAMES
    except UNREADABLE:
        return False
