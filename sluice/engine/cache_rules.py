"""Which replies may be kept, and which requests ask for one that may be. Pure."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Final

import msgspec

from sluice.formats.encodings import coding_of, decoded
from sluice.providers.endpoints import is_billed, makes_something
from sluice.values.request import Step

LARGEST_BYTES: Final = 25 * 1024 * 1024
"""Of a request and of a reply (contract 14)."""
CHECKED_BYTES: Final = 256 * 1024
"""JSON up to this long is looked at for an error that a 200 tells."""
UNFOLDED_BYTES: Final = 1024 * 1024
"""A compressed stream that is longer is not looked at, and so not kept; nor is any that has the word of an error."""

_NO_REPLY: Final = frozenset((202, 204, 205, 206))
_TEXTS: Final = frozenset((b"application/json", b"application/xml", b"application/x-ndjson", b"application/javascript"))
_STREAMS: Final = frozenset(
    (
        b"text/event-stream",
        b"application/x-ndjson",
        b"application/stream+json",
        b"application/jsonl",
        b"application/vnd.amazon.eventstream",
    )
)
_LINES: Final = _STREAMS - {b"text/event-stream", b"application/vnd.amazon.eventstream"}
_KINDS: Final = (b"text/", b"image/", b"audio/")
_ERROR_EVENT: Final = re.compile(
    rb'^event:[ \t]*(?:error|response\.failed)[ \t]*\r?$|(?<!\\)"error"[ \t]*:[ \t]*(?!null|false|""|[ \t])',
    re.MULTILINE,
)
"""Also one within other fields of an event; in a text that the event tells, its quotes would be escaped."""
_LAST_EVENT: Final = re.compile(
    rb"^(?:data:[ \t]*\[DONE\]"
    rb"|event:[ \t]*(?:message_stop|message-end|done|response\.(?:completed|incomplete)))[ \t]*\r?$"
    rb'|(?<!\\)"finishReason"[ \t]*:[ \t]*"',
    re.MULTILINE,
)
"""What only the end of a stream has: in OpenAI's shape, Anthropic's, Cohere's, Replicate's, of Responses, Google's."""
ENDING_BYTES: Final = 256 * 1024
"""So much of a stream is looked at for its last event, which may repeat all that was said."""
_EXCEPTION: Final = b":exception-type"
"""The header by which a message of Amazon's event streams is an error."""
_UNFINISHED: Final = frozenset(
    (
        *("queued", "in_queue", "in_progress", "starting", "processing", "pending", "running", "generating"),
        *("validating", "validating_files", "finalizing", "canceling", "cancelling"),
        *("created", "submitted", "scheduled", "notstarted", "notrunning"),
    )
)
"""How what is made in the background says that it is not there yet, in lower case: Responses, batches, fine-tuning,
predictions of Replicate, fal's queue, Azure's operations."""
_LAST_LINE: Final = re.compile(rb'"(?:done|is_finished)"[ \t]*:[ \t]*true')
"""What only the last line of JSON has: Ollama's, Cohere's."""
_LAST_MESSAGE: Final = b"messageStop"
"""Of Bedrock's Converse; in other streams of Amazon's it is hidden in base64."""
_STREAM_IN_PATH: Final = re.compile(rb"stream", re.IGNORECASE)


class _Asked(msgspec.Struct, frozen=True):
    stream: object = False


class _Document(msgspec.Struct, frozen=True):
    error: object = None
    success: object = True
    status: object = None
    processing_status: object = None
    done: object = True


_asked: Final = msgspec.json.Decoder(_Asked).decode
_document: Final = msgspec.json.Decoder(_Document).decode
_documents: Final = msgspec.json.Decoder(list[_Document]).decode


def may_ask(step: Step, endpoint: str) -> bool:
    """Whether a reply to this step may be given again.

    What only reads is asked again as often as its client asks, and what makes something makes another: those are kept
    only where the request itself says so.
    """
    wanted = step.options.cache_ttl_s is not None or step.options.cache_key != b""
    if step.method == b"POST":
        return is_billed("POST", endpoint) and (wanted or not makes_something(endpoint))
    return step.method == b"GET" and wanted


def asks_for_stream(step: Step, body: bytes) -> bool:
    """Whether the reply is to come as a stream, as far as path and body tell."""
    if _STREAM_IN_PATH.search(step.endpoint):
        return True
    if b'"stream"' not in body:
        return False
    try:
        return _asked(body).stream is True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def media_type(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def is_stream(content_type: bytes) -> bool:
    return media_type(content_type) in _STREAMS


def may_share(status: int, fields: Mapping[bytes, bytes], streams: bool) -> bool:
    """Whether a reply may go to several who asked the same, once it is whole: an error too, which is not kept."""
    if status >= 400:
        return not is_stream(fields.get(b"content-type", b""))
    kind = media_type(fields.get(b"content-type", b""))
    if status < 200 or status >= 300 or status in _NO_REPLY or b"content-range" in fields:
        return False
    if b"content-length" not in fields and b"transfer-encoding" not in fields:
        return False  # only the end of the connection would tell that it is whole, and that may be an accident
    if kind in _STREAMS:
        return streams
    return kind in _TEXTS or kind.endswith(b"+json") or kind.startswith(_KINDS)


def is_good(content_type: bytes, encoding: bytes, body: bytes) -> bool:
    """Whether a whole reply with a good status is one in truth: some vendors tell errors so, and end streams early."""
    kind = media_type(content_type)
    if encoding and encoding.lower() != b"identity":
        plain = _unfolded(body, encoding)
        if len(plain) > UNFOLDED_BYTES:
            return not is_stream(content_type)
        return is_good(content_type, b"", plain) if plain else not (is_stream(content_type) or _is_json(kind))
    if kind == b"application/vnd.amazon.eventstream":
        return _LAST_MESSAGE in body[-ENDING_BYTES:] and _EXCEPTION not in body
    if kind in _LINES:
        return _LAST_LINE.search(body[-ENDING_BYTES:]) is not None and not _tells_error(body)
    if kind == b"text/event-stream":
        return _LAST_EVENT.search(body[-ENDING_BYTES:]) is not None and not _tells_error(body)
    if _is_json(kind) and len(body) <= CHECKED_BYTES:
        return _tells_no_error(body)
    return True


def _is_json(kind: bytes) -> bool:
    return kind == b"application/json" or kind.endswith(b"+json")


def _unfolded(body: bytes, encoding: bytes) -> bytes:
    """A compressed body as far as it is looked at, and a byte more; empty where it is not what it is said to be."""
    pieces = decoded(BytesIO(body), coding_of(encoding), UNFOLDED_BYTES + 1)
    return b"" if pieces is None else b"".join(pieces)


def _tells_error(stream: bytes) -> bool:
    """Whether a stream tells an error, or has the words of one and is too long for the event loop to be looked at.

    Most have none of the words: to look for them takes a hundredth of what the expression takes.
    """
    if b"error" not in stream and b"response.failed" not in stream:
        return False
    return len(stream) > UNFOLDED_BYTES or _ERROR_EVENT.search(stream) is not None


def _tells_no_error(body: bytes) -> bool:
    """Of an object, or of several, as Google tells streams; neither may it tell that the reply is still to be made."""
    try:
        told = _documents(body) if body.lstrip()[:1] == b"[" else (_document(body),)
    except msgspec.ValidationError:
        return True  # no objects
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not any(one.error or one.success is False or one.done is False or _is_unfinished(one) for one in told)


def _is_unfinished(told: _Document) -> bool:
    return any(isinstance(said, str) and said.lower() in _UNFINISHED for said in (told.status, told.processing_status))
