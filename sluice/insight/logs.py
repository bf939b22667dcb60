"""Log entries as the management API and the CLI show them (contract 7.1, sample B.4)."""

import codecs
import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final, TypedDict

from sluice.formats.encodings import coding_of, decoded
from sluice.values.log import NANO, LogEntry, Scalar, Usage

HEAD_BYTES: Final = 64 * 1024
"""How much of each body the detail of a log shows."""


class Timings(TypedDict):
    """Milliseconds; `latency` is to the first byte of the reply, null where none came."""

    total: int
    latency: int | None


class LogRow(TypedDict):
    """A log as lists show it."""

    id: str
    created_at: str
    provider: str
    model: str
    model_type: str | None
    path: str
    request_type: str
    request_content_type: str | None
    response_content_type: str | None
    status_code: int
    success: bool
    cached: bool
    duration: int
    timings: Timings
    tokens_in: int | None
    tokens_out: int | None
    usage_metadata: dict[str, int] | None
    cost: float | None
    custom_cost: bool
    metadata: dict[str, Scalar]
    step: int
    event_id: str
    request_id: str
    connection_id: str | None
    feedback: int | None
    score: float | None
    user_agent: str | None
    authentication: bool
    wholesale: bool
    byok: bool
    compatibilityMode: bool
    dlp_action: None
    ending: str
    attempts: int
    error_code: int | None
    error_message: str | None


class LogDetail(LogRow):
    """A log in full, with the beginnings of its bodies."""

    request_head: str
    request_head_complete: bool
    request_size: int
    request_truncated: bool
    response_head: str
    response_head_complete: bool
    response_size: int
    response_truncated: bool
    pricing: dict[str, Any] | None


def log_row(entry: LogEntry) -> LogRow:
    """A log as lists show it."""
    return {
        "id": entry.id,
        "created_at": _rfc3339(entry.created_ms),
        "provider": entry.provider,
        "model": entry.model,
        "model_type": entry.model_type,
        "path": entry.path,
        "request_type": entry.request_type,
        "request_content_type": entry.request_content_type,
        "response_content_type": entry.response_content_type,
        "status_code": entry.status_code,
        "success": entry.success,
        "cached": entry.cached,
        "duration": entry.duration_ms,
        "timings": {"total": entry.duration_ms, "latency": entry.latency_ms},
        "tokens_in": entry.usage.tokens_in,
        "tokens_out": entry.usage.tokens_out,
        "usage_metadata": _usage(entry.usage),
        "cost": None if entry.cost_nano is None else entry.cost_nano / NANO,
        "custom_cost": entry.custom_cost,
        "metadata": entry.metadata,
        "step": entry.step,
        "event_id": entry.event_id,
        "request_id": entry.request_id,
        "connection_id": entry.connection_id,
        "feedback": entry.feedback,
        "score": entry.score,
        "user_agent": entry.user_agent,
        "authentication": entry.authentication,
        "wholesale": entry.wholesale,
        "byok": entry.byok,
        "compatibilityMode": entry.compat,
        "dlp_action": None,
        "ending": entry.ending,
        "attempts": entry.attempts,
        "error_code": entry.error or None,
        "error_message": entry.detail,
    }


def log_detail(entry: LogEntry, request_head: bytes | None, response_head: bytes | None) -> LogDetail:
    """A log in full, with the beginnings of its bodies as the store's `head` gives them (HEAD_BYTES each)."""
    request = _head(request_head, entry.request_encoding, entry.request_bytes)
    response = _head(response_head, entry.response_encoding, entry.response_bytes)
    return {
        **log_row(entry),
        "request_head": request[0],
        "request_head_complete": request[1],
        "request_size": entry.request_bytes,
        "request_truncated": entry.request_truncated,
        "response_head": response[0],
        "response_head_complete": response[1],
        "response_size": entry.response_bytes,
        "response_truncated": entry.response_truncated,
        "pricing": None if entry.priced is None else json.loads(entry.priced),
    }


def _rfc3339(unix_ms: int) -> str:
    seconds, ms = divmod(unix_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def _usage(usage: Usage) -> dict[str, int] | None:
    counts = {
        "input_tokens": usage.tokens_in,
        "output_tokens": usage.tokens_out,
        "total_tokens": usage.total,
        "output_reasoning_tokens": usage.reasoning,
        "input_cached_tokens": usage.cached_in,
        "input_cache_write_tokens": usage.cache_write,
        "input_cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_ms": usage.audio_in_ms,
        "input_characters": usage.characters_in,
    }
    return {name: count for name, count in counts.items() if count is not None} or None


def _head(head: bytes | None, encoding: str | None, size: int) -> tuple[str, bool]:
    """The text of a body's beginning, decoded where it was sent encoded, and whether that is all of it."""
    if head is None:  # not kept, or lost
        return "", size == 0
    pieces = decoded(BytesIO(head), coding_of((encoding or "").encode("latin-1", "replace")), HEAD_BYTES + 1)
    if pieces is None:
        return "", False
    plain = b"".join(pieces)
    complete = len(head) >= size and len(plain) <= HEAD_BYTES
    # A character cut in two at the end is left out; one that never was UTF-8 is shown as U+FFFD.
    return codecs.getincrementaldecoder("utf-8")("replace").decode(plain[:HEAD_BYTES], final=complete), complete
