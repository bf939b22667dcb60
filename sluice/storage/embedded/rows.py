"""A log entry as the rows of a segment, and back."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from sluice.storage.embedded.packs import Place
from sluice.values.ids import number_of, text_of
from sluice.values.log import LogEntry, Scalar, Usage

Value = int | float | str | bytes | None

PROVIDER, MODEL, MODEL_TYPE, REQUEST_TYPE, CONTENT_TYPE, ENCODING, USER_AGENT, PATH, METADATA_KEY, PRICES = range(1, 11)
"""Kinds of names."""

_SUCCESS, _CACHED, _CUSTOM_COST, _AUTHENTICATION, _WHOLESALE, _BYOK, _COMPAT, _PAYLOAD, _INCOMPLETE = (
    1 << bit for bit in range(9)
)
_REQUEST_TRUNCATED, _RESPONSE_TRUNCATED = 512, 1024

_LARGEST_KEY: Final = (1 << 63) - 1 - 64  # room for the keys that a log may be moved up
_write_json: Final = msgspec.json.Encoder().encode


class Rows(NamedTuple):
    """What one log writes."""

    key: int
    id: bytes
    log: tuple[Value, ...]
    det: tuple[Value, ...]
    terms: list[int]
    entry: LogEntry
    """For the roll-ups, should the log be new."""

    def at(self, key: int) -> "Rows":
        """The same log under another key."""
        return self._replace(key=key, log=(key, *self.log[1:]), det=(key, *self.det[1:]))


class _Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fields that rarely differ from their defaults."""

    ending: str = "complete"
    error: int = 0
    attempts: int = 1
    connection_id: str | None = None
    detail: str | None = None
    priced: int | None = None
    """A name."""
    parts: dict[str, int] | None = None
    """Of the usage, what no column has."""


_PARTS: Final = (
    "audio_in",
    "audio_out",
    "image_in",
    "image_out",
    "cache_write_1h",
    "audio_in_ms",
    "characters_in",
    "cached_audio_in",
)
_read_extra: Final = msgspec.json.Decoder(_Extra).decode
_read_metadata: Final = msgspec.json.Decoder(dict[str, Scalar]).decode

LOG_COLUMNS: Final = (
    "k, provider, model, status, flags, duration, tin, tout, cost, feedback, ua, mtype, rtype, rqct, rsct"
)
DET_COLUMNS: Final = (
    "k, id, event_id, request_id, path, step, latency, skew, score, total, reasoning, cached_in, cache_write,"
    " meta, extra, rqce, rsce, req_bytes, res_bytes,"
    " req_pack, req_off, req_z, req_len, res_pack, res_off, res_z, res_len"
)

NameId = Callable[[int, str], int]
"""The number of a name of a kind, given a new one where it is not known yet."""


def rows_of(entry: LogEntry, request: Place, response: Place, name: NameId) -> Rows:
    """Raises ValueError for an entry whose id is no ULID or lies past the year 2109."""
    number = number_of(entry.id)
    key = number >> 59
    if key > _LARGEST_KEY:
        raise ValueError(f"log id {entry.id} lies too far in the future")
    usage = entry.usage
    event_id = None if entry.event_id == entry.id else entry.event_id
    request_id = None if entry.request_id == entry.id else entry.request_id
    log = (
        key,
        name(PROVIDER, entry.provider),
        name(MODEL, entry.model),
        entry.status_code,
        _flags(entry),
        entry.duration_ms,
        usage.tokens_in,
        usage.tokens_out,
        entry.cost_nano,
        entry.feedback,
        _optional(name, USER_AGENT, entry.user_agent),
        _optional(name, MODEL_TYPE, entry.model_type),
        name(REQUEST_TYPE, entry.request_type),
        _optional(name, CONTENT_TYPE, entry.request_content_type),
        _optional(name, CONTENT_TYPE, entry.response_content_type),
    )
    det = (
        key,
        blob := number.to_bytes(16, "big"),
        event_id,
        request_id,
        name(PATH, entry.path),
        entry.step,
        entry.latency_ms,
        entry.created_ms - (key >> 21),
        entry.score,
        usage.total,
        usage.reasoning,
        usage.cached_in,
        usage.cache_write,
        metadata_text(entry.metadata),
        extra_text(entry, name),
        _optional(name, ENCODING, entry.request_encoding),
        _optional(name, ENCODING, entry.response_encoding),
        entry.request_bytes,
        entry.response_bytes,
        *request,
        *response,
    )
    for key_text in entry.metadata:
        name(METADATA_KEY, key_text)
    return Rows(key, blob, log, det, terms_of(entry.metadata, event_id, request_id), entry)


def term(kind: str, text: str) -> int:
    """40 bits for an event id, a request id or a metadata value."""
    return int.from_bytes(blake2b(f"{kind}\0{text}".encode(), digest_size=5).digest(), "big")


def scalar_text(value: Scalar) -> str:
    """A metadata value as filters name it."""
    return value if isinstance(value, str) else _write_json(value).decode()


def terms_of(metadata: Mapping[str, Scalar], event_id: str | None, request_id: str | None) -> list[int]:
    """All terms of a log. Its own id is none of them."""
    terms = value_terms(metadata)
    if event_id:
        terms.append(term("event", event_id))
    if request_id:
        terms.append(term("request", request_id))
    return terms


def value_terms(metadata: Mapping[str, Scalar]) -> list[int]:
    return [term("value", scalar_text(value)) for value in metadata.values()]


def metadata_text(metadata: Mapping[str, Scalar]) -> str | None:
    """Metadata as it is stored; none is NULL."""
    return _write_json(metadata).decode() if metadata else None


def metadata_of(text: str | None) -> dict[str, Scalar]:
    """Metadata as it was before it was stored."""
    return {} if text is None else _read_metadata(text)


def _optional(name: NameId, kind: int, text: str | None) -> int | None:
    return None if text is None else name(kind, text)


def _flags(entry: LogEntry) -> int:
    return (
        _SUCCESS * entry.success
        | _CACHED * entry.cached
        | _CUSTOM_COST * entry.custom_cost
        | _AUTHENTICATION * entry.authentication
        | _WHOLESALE * entry.wholesale
        | _BYOK * entry.byok
        | _COMPAT * entry.compat
        | _PAYLOAD * entry.payload
        | _INCOMPLETE * entry.incomplete
        | _REQUEST_TRUNCATED * entry.request_truncated
        | _RESPONSE_TRUNCATED * entry.response_truncated
    )


def extra_text(entry: LogEntry, name: NameId) -> str | None:
    """What of a log has no column of its own; NULL where all of that is as with most."""
    priced, parts = _optional(name, PRICES, entry.priced), _parts(entry.usage)
    extra = _Extra(entry.ending, entry.error, entry.attempts, entry.connection_id, entry.detail, priced, parts)
    return None if extra == _PLAIN else _write_json(extra).decode()


def _parts(usage: Usage) -> dict[str, int] | None:
    parts = {part: count for part in _PARTS if (count := getattr(usage, part)) is not None}
    return parts or None


_PLAIN: Final = _Extra()


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A row of SELECT_ENTRY, in its order."""

    id: bytes
    event_id: str | None
    request_id: str | None
    skew: int
    duration: int
    latency: int | None
    provider: str
    model: str
    model_type: str | None
    path: str
    request_type: str
    request_content_type: str | None
    response_content_type: str | None
    request_encoding: str | None
    response_encoding: str | None
    user_agent: str | None
    status: int
    flags: int
    step: int
    tokens_in: int | None
    tokens_out: int | None
    total: int | None
    reasoning: int | None
    cached_in: int | None
    cache_write: int | None
    cost: int | None
    feedback: int | None
    score: float | None
    metadata: str | None
    extra: str | None
    request_bytes: int
    response_bytes: int
    priced: str | None


def _word(column: str) -> str:
    return f"(SELECT v FROM name WHERE id = {column})"


SELECT_ENTRY: Final = (
    "SELECT det.id, event_id, request_id, skew, duration, latency, "
    + ", ".join(map(_word, ("provider", "model", "mtype", "path", "rtype", "rqct", "rsct", "rqce", "rsce", "ua")))
    + ", status, flags, step, tin, tout, total, reasoning, cached_in, cache_write, cost, feedback, score, meta, extra,"
    " req_bytes, res_bytes, " + _word("json_extract(extra, '$.priced')")
)
"""To be followed by FROM with log and det in it."""


def entry_of(row: tuple[Value, ...]) -> LogEntry:
    """The entry in a row of SELECT_ENTRY, field for field what was stored."""
    stored = msgspec.convert(row, _Stored)
    number = int.from_bytes(stored.id, "big")
    log_id, flags = text_of(number), stored.flags
    extra = _PLAIN if stored.extra is None else _read_extra(stored.extra)
    return LogEntry(
        id=log_id,
        request_id=log_id if stored.request_id is None else stored.request_id,
        event_id=log_id if stored.event_id is None else stored.event_id,
        created_ms=(number >> 80) + stored.skew,
        duration_ms=stored.duration,
        latency_ms=stored.latency,
        provider=stored.provider,
        model=stored.model,
        model_type=stored.model_type,
        path=stored.path,
        request_type=stored.request_type,
        request_content_type=stored.request_content_type,
        response_content_type=stored.response_content_type,
        status_code=stored.status,
        success=bool(flags & _SUCCESS),
        cached=bool(flags & _CACHED),
        incomplete=bool(flags & _INCOMPLETE),
        ending=extra.ending,
        error=extra.error,
        step=stored.step,
        attempts=extra.attempts,
        usage=Usage(
            stored.tokens_in,
            stored.tokens_out,
            stored.total,
            stored.reasoning,
            stored.cached_in,
            stored.cache_write,
            **_known(extra.parts),
        ),
        cost_nano=stored.cost,
        custom_cost=bool(flags & _CUSTOM_COST),
        metadata=metadata_of(stored.metadata),
        user_agent=stored.user_agent,
        authentication=bool(flags & _AUTHENTICATION),
        wholesale=bool(flags & _WHOLESALE),
        byok=bool(flags & _BYOK),
        compat=bool(flags & _COMPAT),
        payload=bool(flags & _PAYLOAD),
        request_bytes=stored.request_bytes,
        response_bytes=stored.response_bytes,
        request_truncated=bool(flags & _REQUEST_TRUNCATED),
        response_truncated=bool(flags & _RESPONSE_TRUNCATED),
        connection_id=extra.connection_id,
        feedback=stored.feedback,
        score=stored.score,
        detail=extra.detail,
        request_encoding=stored.request_encoding,
        response_encoding=stored.response_encoding,
        priced=stored.priced,
    )


def _known(parts: dict[str, int] | None) -> dict[str, int]:
    """Those of the parts that this version knows."""
    return {part: count for part, count in parts.items() if part in _PARTS} if parts else {}
