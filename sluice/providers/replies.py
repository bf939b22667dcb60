"""What a reply says of itself beside its usage: the model that made it, and that a stream is over."""

import re
from typing import Final

import msgspec

from sluice.formats.arrays import is_array, read_elements
from sluice.formats.sse import Event
from sluice.providers.usage import UNREADABLE, Document


class _Named(msgspec.Struct, gc=False):
    model: str | None = None


class _NamedEvent(msgspec.Struct, gc=False):
    model: str | None = None
    response: msgspec.Raw = msgspec.Raw(b"")
    """OpenAI's responses have it in here,"""
    message: msgspec.Raw = msgspec.Raw(b"")
    """Anthropic here. Others have other things there."""
    session: msgspec.Raw = msgspec.Raw(b"")
    """OpenAI's realtime events here,"""
    setup: msgspec.Raw = msgspec.Raw(b"")
    """and what a client says first to Gemini's live API here."""


_NAMED: Final = msgspec.json.Decoder(_Named)
_NAMED_EVENT: Final = msgspec.json.Decoder(_NamedEvent)


def named_model(document: Document) -> str | None:
    """The `model` of a JSON request or reply."""
    try:
        return _NAMED.decode(document).model
    except UNREADABLE:
        return None


class _Spoken(msgspec.Struct, gc=False):
    input: str | None = None


_SPOKEN: Final = msgspec.json.Decoder(_Spoken)


def spoken_characters(document: Document) -> int | None:
    """How many characters a request has spoken."""
    try:
        text = _SPOKEN.decode(document).input
    except UNREADABLE:
        return None
    return None if text is None else len(text)


def named_model_of_event(data: bytes) -> str | None:
    """The `model` that an event of a stream names."""
    try:
        event = _NAMED_EVENT.decode(data)
    except UNREADABLE:
        return None
    inner = (event.response, event.message, event.session, event.setup)
    return event.model or next((model for one in inner if (model := named_model(bytes(one)))), None)


_TERMINAL: Final = re.compile(
    rb"\[DONE\]|message_stop|message-end|stream-end|response\.(?:completed|incomplete|failed)"
    rb'|"finishReason"|"generated_text"\s*:\s*"|"latencyMs"|"amazon-bedrock-invocationMetrics"'
)
_TERMINAL_NAMES: Final = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "message_stop",  # Anthropic
        "message-end",  # Cohere v2
        "stream-end",  # Cohere v1
    }
)


class _Candidate(msgspec.Struct, gc=False):
    finish_reason: str | None = msgspec.field(default=None, name="finishReason")


class _Metrics(msgspec.Struct, gc=False):
    latency_ms: float | None = msgspec.field(default=None, name="latencyMs")


class _Ending(msgspec.Struct, gc=False):
    type: str = ""
    event_type: str = ""
    """Cohere's, in v1."""
    candidates: list[_Candidate] | None = None
    """Google's."""
    generated_text: str | None = None
    """Hugging Face's: the whole answer, with the last token."""
    metrics: _Metrics | None = None
    """Bedrock's, behind all else that Converse says; likewise the next, behind what a model says itself."""
    invocation: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="amazon-bedrock-invocationMetrics")


_ENDING: Final = msgspec.json.Decoder(_Ending)


class _Part(msgspec.Struct, gc=False):
    candidates: list[_Candidate] | None = None


_PARTS: Final = msgspec.json.Decoder(list[_Part])


def ends_array(document: Document) -> bool:
    """Whether a stream of Google's that is written as an array, and may be cut, ends in its last element."""
    if not is_array(document):
        return False
    try:
        parts = read_elements(document, _PARTS)
    except UNREADABLE:
        return False
    return bool(parts) and _are_finished(parts[-1].candidates)


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
        ending = _ENDING.decode(event.data)
    except UNREADABLE:
        return False
    if {ending.type, ending.event_type} & _TERMINAL_NAMES or ending.generated_text is not None:
        return True
    if (ending.metrics is not None and ending.metrics.latency_ms is not None) or bytes(ending.invocation):
        return True
    return _are_finished(ending.candidates)


def _are_finished(candidates: list[_Candidate] | None) -> bool:
    return bool(candidates) and all(one.finish_reason for one in candidates or ())
