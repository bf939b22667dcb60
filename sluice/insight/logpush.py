"""Logs as lines of Cloudflare's Logpush: its dataset `ai_gateway_events`, what clients said sealed for one reader.

The names are those of https://developers.cloudflare.com/logs/logpush/logpush-job/datasets/account/ai_gateway_events/
(read 2026-11). A body or the metadata is sealed as `{"type": "encrypted", "key", "iv", "data"}`: an AES-256 key of the
log's own, itself encrypted by RSA-OAEP with SHA-256, and AES-GCM's text with its tag (contract 7.7).
"""

import base64
import binascii
import math
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from msgspec import Meta

from sluice.insight.portable import WrongLine
from sluice.values.ids import key_of, text_of
from sluice.values.log import NANO, LogEntry, NewLog, Scalar, Usage, kept_metadata

MOST_BYTES: Final = 1_000_000
"""Of a log's bodies together; longer ones are left out of its line."""
_IV_BYTES: Final = 12
_LEAST_KEY_BITS: Final = 2048
_MOST_MS: Final = (1 << 42) - 1
_RATE_LIMITED: Final = 429


class WrongKey(ValueError):
    """A text that is no such key; the message says so, and is shown to whoever gave it."""


class Sealed(msgspec.Struct, frozen=True):
    """Base64 each."""

    key: str
    iv: str
    data: str
    type: Literal["encrypted"] = "encrypted"


Count = Annotated[int, Meta(ge=0, le=2**53)]


class Metering(msgspec.Struct, frozen=True, omit_defaults=True):
    """`cost` is USD; the tokens are ours."""

    cost: float | None = None
    durationMs: Annotated[float, Meta(ge=0, le=2**53)] | None = None
    tokensIn: Count | None = None
    tokensOut: Count | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `LogID` and what follows it are ours."""

    Timestamp: str | int
    Gateway: str = ""
    Provider: Annotated[str, Meta(max_length=256)] = ""
    Model: str = ""
    Endpoint: Annotated[str, Meta(max_length=8192)] = ""
    StatusCode: Annotated[int, Meta(ge=0, le=999)] = 0
    Cached: bool = False
    RateLimited: bool = False
    Metrics: Metering | None = None
    Metadata: Any = None
    RequestBody: Any = None
    ResponseBody: Any = None
    LogID: str = ""
    EventID: str = ""
    Step: Annotated[int, Meta(ge=0, le=2**31)] = 0
    BodiesOmitted: bool = False
    """They were longer than a line may be."""


_decode: Final = msgspec.json.Decoder(Event).decode
_encode: Final = msgspec.json.Encoder().encode


class Sealer:
    """Seals for whoever has the private key."""

    def __init__(self, public_key: str) -> None:
        """Raises WrongKey for what is no PEM of an RSA public key of 2,048 bits or more."""
        try:
            key = load_pem_public_key(public_key.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise WrongKey("no public key in PEM") from error
        if not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_KEY_BITS:
            raise WrongKey(f"an RSA key of at least {_LEAST_KEY_BITS} bits is needed")
        try:
            key.encrypt(b"", _padding())
        except ValueError as error:  # some are read without complaint
            raise WrongKey("a key that cannot encrypt") from error
        self._key = key

    def one_log(self) -> Callable[[bytes], Sealed]:
        """Seals parts of one log: with one key, which is encrypted once."""
        key = secrets.token_bytes(32)
        cipher = AESGCM(key)
        told = base64.b64encode(self._key.encrypt(key, _padding())).decode()

        def seal(plain: bytes) -> Sealed:
            iv = secrets.token_bytes(_IV_BYTES)
            data = cipher.encrypt(iv, plain, None)
            return Sealed(told, base64.b64encode(iv).decode(), base64.b64encode(data).decode())

        return seal


class Opener:
    """Opens what was sealed."""

    def __init__(self, private_key: bytes) -> None:
        """Raises WrongKey for what is no PEM of an RSA private key without a password."""
        try:
            key = load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise WrongKey("no private key in PEM, or one with a password") from error
        if not isinstance(key, RSAPrivateKey):
            raise WrongKey("no RSA key")
        self._key = key

    def open(self, sealed: Sealed) -> bytes:
        """Raises WrongLine."""
        try:
            key, iv, data = (base64.b64decode(text, validate=True) for text in (sealed.key, sealed.iv, sealed.data))
            return AESGCM(self._key.decrypt(key, _padding())).decrypt(iv, data, None)
        except (binascii.Error, ValueError, InvalidTag):
            raise WrongLine("sealed for another key, or damaged") from None


def _padding() -> OAEP:
    return OAEP(mgf=MGF1(algorithm=SHA256()), algorithm=SHA256(), label=None)


def written(entry: LogEntry, gateway: str, bodies: tuple[bytes | None, bytes | None], sealer: Sealer | None) -> bytes:
    """The line, with its line feed. Without a sealer it has neither bodies nor metadata."""
    request, response = bodies
    omitted = sealer is not None and entry.request_bytes + entry.response_bytes > MOST_BYTES
    seal = sealer.one_log() if sealer else None
    event = Event(
        Timestamp=datetime.fromtimestamp(entry.created_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        Gateway=gateway,
        Provider=entry.provider,
        Model=entry.model,
        Endpoint=entry.path,
        StatusCode=entry.status_code,
        Cached=entry.cached,
        RateLimited=entry.status_code == _RATE_LIMITED,
        Metrics=_metrics(entry),
        Metadata=seal(_encode(entry.metadata)) if seal and entry.metadata else None,
        RequestBody=seal(request) if seal and request is not None and not omitted else None,
        ResponseBody=seal(response) if seal and response is not None and not omitted else None,
        LogID=entry.id,
        EventID="" if entry.event_id == entry.id else entry.event_id,
        Step=entry.step,
        BodiesOmitted=omitted,
    )
    return _encode(event) + b"\n"


def _metrics(entry: LogEntry) -> Metering:
    cost = None if entry.cost_nano is None else entry.cost_nano / NANO
    return Metering(cost, entry.duration_ms, entry.usage.tokens_in, entry.usage.tokens_out)


def reader(opener: Opener | None) -> Callable[[bytes], NewLog]:
    """Reads lines, ours or Cloudflare's, or raises WrongLine; without an opener what is sealed is left out."""

    def read(line: bytes) -> NewLog:
        try:
            event = _decode(line.decode())
            created_ms = _time_ms(event.Timestamp)
            log_id = _id(event, created_ms, line)
        except msgspec.ValidationError as error:
            raise WrongLine(f"no line of Logpush: {error}") from None
        except (ValueError, RecursionError, OverflowError):
            raise WrongLine("no JSON, or a time or an id that is none") from None
        request, response = _opened(event.RequestBody, opener), _opened(event.ResponseBody, opener)
        return NewLog(
            _entry(event, log_id, created_ms, _metadata(event, opener), (request, response)), request, response
        )

    return read


def _id(event: Event, created_ms: int, line: bytes) -> str:
    """A line without one gets the same each time."""
    if event.LogID:
        if key_of(event.LogID) >> 21 > _MOST_MS:
            raise ValueError("out of range")
        return event.LogID
    return text_of(created_ms << 80 | int.from_bytes(blake2b(line.strip(), digest_size=10).digest(), "big"))


def _time_ms(told: str | int) -> int:
    """RFC 3339, or Unix seconds, milliseconds or nanoseconds, as a job may be told to write it."""
    if isinstance(told, str):
        moment = datetime.fromisoformat(told)
        found = math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    else:
        found = told * 1000 if told < 10**11 else told if told < 10**14 else told // 10**6
    if not 0 <= found <= _MOST_MS:
        raise ValueError("out of range")
    return found


def _opened(value: object, opener: Opener | None) -> bytes | None:
    """A body as it was; one that was not sealed is text, or a JSON value."""
    if value is None:
        return None
    if isinstance(value, dict) and (value.get("type") == "encrypted" or value.keys() >= {"key", "iv", "data"}):
        try:
            sealed = msgspec.convert(value, Sealed)
        except msgspec.ValidationError as error:
            raise WrongLine(f"a sealed part is none: {error}") from None
        return opener.open(sealed) if opener else None
    return value.encode("utf-8", "replace") if isinstance(value, str) else _encode(value)


def _metadata(event: Event, opener: Opener | None) -> dict[str, Scalar]:
    plain = _opened(event.Metadata, opener)
    if not plain:
        return {}
    try:
        return kept_metadata(msgspec.json.decode(plain, type=dict[str, Scalar]))
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
        raise WrongLine("its metadata is no flat object") from None


def _kind(body: bytes | None) -> str | None:
    """No line tells: a stream of events looks like one, all else is JSON, mostly."""
    if not body:
        return None
    return "text/event-stream" if body.startswith((b"data:", b"event:")) else "application/json"


def _entry(
    event: Event,
    log_id: str,
    created_ms: int,
    metadata: dict[str, Scalar],
    bodies: tuple[bytes | None, bytes | None],
) -> LogEntry:
    told = event.Metrics or Metering()
    request, response = bodies
    cost = told.cost
    return LogEntry(
        id=log_id,
        request_id=log_id,
        event_id=event.EventID[:1024] or log_id,
        created_ms=created_ms,
        duration_ms=max(round(told.durationMs or 0), 0),
        latency_ms=None,
        provider=event.Provider or "unknown",
        model=event.Model[:256],
        model_type=None,
        path=event.Endpoint,
        request_type="provider",
        request_content_type="application/json" if request else None,
        response_content_type=_kind(response),
        status_code=event.StatusCode,
        success=200 <= event.StatusCode < 400,
        cached=event.Cached,
        incomplete=False,
        ending="complete",
        error=0,
        step=event.Step,
        attempts=1,
        usage=Usage(told.tokensIn, told.tokensOut),
        cost_nano=round(cost * NANO) if cost is not None and math.isfinite(cost) and abs(cost) < 1e9 else None,
        custom_cost=False,
        metadata=metadata,
        user_agent=None,
        authentication=True,
        wholesale=False,
        byok=False,
        compat=False,
        payload=request is not None or response is not None,
        request_bytes=len(request or b""),
        response_bytes=len(response or b""),
    )
