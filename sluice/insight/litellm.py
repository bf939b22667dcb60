"""LiteLLM's spend logs as logs: a row of its table LiteLLM_SpendLogs (litellm/proxy/schema.prisma) as JSON."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from sluice.insight.portable import WrongLine
from sluice.values.ids import text_of
from sluice.values.log import NANO, LogEntry, NewLog, Scalar, Usage, kept_metadata

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure-openai",
    "bedrock": "aws-bedrock",
    "gemini": "google-ai-studio",
    "perplexity": "perplexity-ai",
    "vertex_ai": "google-vertex-ai",
    "xai": "grok",
}
"""Names that it has for vendors, where ours differ."""
_CALLS: Final[Mapping[str, tuple[str, str]]] = {
    "completion": ("v1/chat/completions", "Text Generation"),
    "embedding": ("v1/embeddings", "Text Embeddings"),
    "responses": ("v1/responses", "Text Generation"),
    "anthropic_messages": ("v1/messages", "Text Generation"),
    "image_generation": ("v1/images/generations", "Text-to-Image"),
}
"""Path and kind of model by the call's type, which an `a` may stand before."""
_MOST_MS: Final = (1 << 42) - 1


class SpendLog(msgspec.Struct, frozen=True):
    """What we take of a row. `api_key`, a hash, stays behind."""

    request_id: str
    call_type: str
    startTime: str
    endTime: str
    spend: float = 0.0
    total_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_duration_ms: int | None = None
    completionStartTime: str | None = None
    model: str | None = ""
    custom_llm_provider: str | None = ""
    user: str | None = ""
    end_user: str | None = None
    team_id: str | None = None
    metadata: Any = None
    request_tags: Any = None
    cache_hit: str | None = ""
    messages: Any = None
    response: Any = None
    proxy_server_request: Any = None
    status: str | None = None


_decode: Final = msgspec.json.Decoder(SpendLog).decode


def read(line: bytes) -> NewLog:
    """Raises WrongLine. The same row is the same log, with the same id, each time."""
    try:
        row = _decode(line.decode())
        started_ms, ended_ms = _time_ms(row.startTime), _time_ms(row.endTime)
        first_ms = _time_ms(row.completionStartTime) if row.completionStartTime else None
    except msgspec.ValidationError as error:
        raise WrongLine(f"no spend log: {error}") from None
    except (ValueError, RecursionError, OverflowError):
        raise WrongLine("no JSON, or a time that is none") from None
    return NewLog(_entry(row, started_ms, ended_ms, first_ms), _request(row), _json(row.response))


def _entry(row: SpendLog, started_ms: int, ended_ms: int, first_ms: int | None) -> LogEntry:
    log_id = _id(started_ms, row.request_id)
    path, kind = _CALLS.get(row.call_type.removeprefix("a"), _CALLS.get(row.call_type, (row.call_type, "")))
    vendor = row.custom_llm_provider or ""
    failed = row.status == "failure"
    duration_ms = ended_ms - started_ms if row.request_duration_ms is None else row.request_duration_ms
    request, response = _request(row), _json(row.response)
    return LogEntry(
        id=log_id,
        request_id=log_id,
        event_id=row.request_id[:1024] or log_id,
        created_ms=started_ms,
        duration_ms=max(duration_ms, 0),
        latency_ms=None if first_ms is None else max(first_ms - started_ms, 0),
        provider=_PROVIDERS.get(vendor, vendor) or "unknown",
        model=(row.model or "").removeprefix(f"{vendor}/")[:256],
        model_type=kind or None,
        path=path,
        request_type="provider",
        request_content_type="application/json",
        response_content_type="application/json",
        status_code=_status(row.metadata) if failed else 200,
        success=not failed,
        cached=(row.cache_hit or "").lower() == "true",
        incomplete=False,
        ending="complete",
        error=0,
        step=0,
        attempts=1,
        usage=Usage(row.prompt_tokens, row.completion_tokens, row.total_tokens) if not failed else Usage(),
        cost_nano=round(row.spend * NANO) if math.isfinite(row.spend) and abs(row.spend) < 1e9 else None,
        custom_cost=False,
        metadata=_metadata(row),
        user_agent=None,
        authentication=True,
        wholesale=False,
        byok=False,
        compat=True,
        payload=request is not None or response is not None,
        request_bytes=len(request or b""),
        response_bytes=len(response or b""),
    )


def _id(started_ms: int, request_id: str) -> str:
    tail = int.from_bytes(blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=10).digest(), "big")
    return text_of(started_ms << 80 | tail)


def _time_ms(text: str) -> int:
    """ISO 8601; without a zone it is UTC, as the table keeps it."""
    moment = datetime.fromisoformat(text)
    found = math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= found <= _MOST_MS:
        raise ValueError("out of range")
    return found


def _status(metadata: Any) -> int:
    """What the vendor answered a call that failed, where the row tells."""
    told = metadata.get("error_information") if isinstance(metadata, dict) else None
    code = str(told.get("error_code", "")) if isinstance(told, dict) else ""
    return int(code) if code.isdecimal() and 400 <= int(code) <= 599 else 500


def _metadata(row: SpendLog) -> dict[str, Scalar]:
    tags = row.request_tags if isinstance(row.request_tags, list) else []
    found = {
        "user": row.end_user or row.user,
        "team": row.team_id,
        "tags": ",".join(tag for tag in tags if isinstance(tag, str)),
    }
    return kept_metadata({key: text[:1024] for key, text in found.items() if text})


def _request(row: SpendLog) -> bytes | None:
    if sent := _json(row.proxy_server_request):
        return sent
    return msgspec.json.encode({"model": row.model, "messages": row.messages}) if row.messages else None


def _json(value: Any) -> bytes | None:
    """Rows without bodies have empty ones."""
    return msgspec.json.encode(value) if value else None
