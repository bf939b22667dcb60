"""A log entry: one recorded request as the store keeps it and the API shows it (contract 7.1)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

Scalar = str | int | float | bool

NANO: Final = 1_000_000_000
"""Money is counted in so many parts of a USD."""
MAX_METADATA_ENTRIES: Final = 5
MAX_METADATA_BYTES: Final = 16 * 1024


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What the provider says it read and wrote; None is unknown, never 0.

    `tokens_in` and `tokens_out` are all of it; the other counts are parts of them, priced apart where the list can.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    total: int | None = None
    reasoning: int | None = None
    cached_in: int | None = None
    cache_write: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None
    cache_write_1h: int | None = None
    """Of `cache_write`, what is kept for an hour."""
    audio_in_ms: int | None = None
    """How long the sound was that it heard, where that is what is sold; likewise the characters that it spoke."""
    characters_in: int | None = None
    cached_audio_in: int | None = None
    """Of `cached_in`, what is audio; it is part of `audio_in` too."""


class LogEntry(msgspec.Struct, frozen=True):
    """One log. Money is nano-USD (1e-9 USD), time is milliseconds."""

    id: str
    request_id: str
    event_id: str
    created_ms: int
    duration_ms: int
    latency_ms: int | None
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
    incomplete: bool
    """The stream ended before its end: broken, or abandoned by the client."""
    ending: str
    error: int
    step: int
    attempts: int
    usage: Usage
    cost_nano: int | None
    custom_cost: bool
    metadata: dict[str, Scalar]
    user_agent: str | None
    authentication: bool
    wholesale: bool
    byok: bool
    compat: bool
    payload: bool
    request_bytes: int
    response_bytes: int
    request_truncated: bool = False
    response_truncated: bool = False
    connection_id: str | None = None
    feedback: int | None = None
    score: float | None = None
    detail: str | None = None
    request_encoding: str | None = None
    """Its content-encoding: bodies are stored as they went over the wire. Likewise response_encoding."""
    response_encoding: str | None = None
    priced: str | None = None
    """The prices that made its cost, as JSON: which list, and per million tokens in nano-USD. None where none did."""


class Priced(NamedTuple):
    """What a log costs, and by which prices: see LogEntry."""

    cost_nano: int | None
    priced: str | None


Price = Callable[[LogEntry], Priced | None]
"""Prices a log; None where its cost is to stay what it is."""


class SideFile(NamedTuple):
    """A body too large for its frame, in a file beside the spool."""

    path: Path
    length: int


Blob = bytes | SideFile | None
"""A body on its way into the store; None where it is not kept."""


class NewLog(NamedTuple):
    """A log entry with its two bodies, ready to be stored."""

    entry: LogEntry
    request: Blob
    response: Blob


class Position(NamedTuple):
    """How far a spool has been read: every frame of file `seq` that ends at or below `offset`, and all before."""

    seq: int
    offset: int


class ShardKey(NamedTuple):
    """Which shard: the account's public id and the gateway's immutable id in 32 hex digits."""

    account: str
    gateway: str


def kept_metadata(entries: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What is stored of metadata (contract 7.5). Reserved keys go first, so that they take no place among the five.

    Raises OverflowError for an integer that is past the range of a float.
    """
    kept = [(key, _stored(value)) for key, value in entries.items() if not key.startswith("cf.")]
    return dict(kept[:MAX_METADATA_ENTRIES])


def _stored(value: Scalar) -> Scalar:
    """Integers past 64 bits become floats, as in JavaScript: no store has room for them."""
    return float(value) if type(value) is int and not -(2**63) <= value < 2**63 else value


class Imported(msgspec.Struct, frozen=True, array_like=True):
    """The meta of a frame with a log from elsewhere, msgpack in array form: new fields go to the end, defaulted."""

    id: str
    account: str
    entry: LogEntry
