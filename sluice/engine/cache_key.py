"""What makes two requests the same to the cache (contract 5). Pure."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from sluice.providers.registry import PROVIDERS, row
from sluice.values.request import Header, Step

CANONICAL_BYTES: Final = 256 * 1024
"""JSON up to this long is the same whatever its white space and the order of its keys."""
SHORT_BYTES: Final = 16 * 1024
"""The key of a longer body is computed by a thread: JSON of 64 KB takes up to a millisecond."""

Part = Literal["nothing", "everything", "credential"]

CREDENTIALS: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"xi-api-key")).union(
    *(provider.key_headers for provider in PROVIDERS.values())
)
"""Header fields that say on whose account a provider is called."""
CREDENTIAL_PARAMETERS: Final = frozenset(
    (b"key", b"api_key", b"api-key", b"access_token", b"token", b"x-amz-credential")
).union(*(map(bytes.lower, provider.key_parameters) for provider in PROVIDERS.values()))
"""The same of a query, in lower case."""
_LIKE_CREDENTIALS: Final = re.compile(rb"auth|credential|key|passw|secret|signature|token")
"""In names of fields that may say the same to a provider that nobody here knows."""
REPRESENTATION: Final = frozenset((b"accept", b"accept-encoding"))
"""What the bytes of a reply depend on, whatever was asked: a key of the client's own does not stand for it."""
_SIGNED: Final = CREDENTIALS - {b"cookie"}
"""What a stored key takes the place of."""
IGNORED: Final = frozenset(
    (
        b"user-agent",
        b"date",
        b"host",
        b"content-length",
        b"origin",
        b"referer",
        b"priority",
        b"dnt",
        b"cache-control",
        b"pragma",
        b"via",
        b"forwarded",
        b"x-real-ip",
        b"true-client-ip",
        b"cdn-loop",
        b"idempotency-key",
        b"x-idempotency-key",
        b"request-id",
        b"x-request-id",
        b"x-client-request-id",
        b"x-correlation-id",
        b"x-goog-api-client",
        b"amz-sdk-invocation-id",
        b"amz-sdk-request",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"sentry-trace",
        b"b3",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
        b"newrelic",
    )
)
"""Header fields that name a call or its caller and change nothing of the reply. All that is not known counts."""
IGNORED_PREFIXES: Final = (b"x-stainless-", b"sec-", b"x-b3-", b"x-datadog-", b"cf-")
MOST_NAMES: Final = 4096
LONGEST_NAME: Final = 64

_decode: Final = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode
"""Numbers with a fraction stay the text that they are: no digit of them is lost."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Parts(dict[bytes, Part]):
    """Remembers of each header name what depends on it; clients send the same few over and over."""

    def __missing__(self, name: bytes) -> Part:
        part = _part_of(name)
        if len(self) < MOST_NAMES and len(name) <= LONGEST_NAME:
            self[name] = part
        return part


def _part_of(name: bytes) -> Part:
    if name in CREDENTIALS or name in REPRESENTATION:
        return "credential"
    if name in IGNORED or name.startswith(IGNORED_PREFIXES):
        return "nothing"
    return "credential" if _LIKE_CREDENTIALS.search(name) else "everything"


_PARTS: Final = Parts()


def key_of(gateway: bytes, epoch: int, step: Step, where: bytes, body: bytes) -> bytes:
    """The key of a step's reply, 32 bytes. `where` is the address of the provider's endpoint, host and path.

    Gateways and provider credentials never share; a key of the client's own stands for all but that.
    """
    own, others = _lines(step.headers)
    partition = (gateway, b"%d" % epoch, step.provider.encode(), *credential_of(step, own))
    if step.options.cache_key:
        return _digest((b"named", *partition, step.options.cache_key))
    query = _sorted_query(step.query) if step.query else b""
    form, content = canonical(body, step.content_encoding)
    return _digest((b"computed", *partition, step.method, where, query, b"\n".join(others), form, content))


def credential_of(step: Step, lines: Sequence[bytes]) -> tuple[bytes, ...]:
    """The credential that goes upstream, as far as a key depends on it; `lines` are the client's own such headers."""
    if step.credential is not None:  # it is in the headers too, and a rotation changes it there
        others = row(step.provider).other_headers
        kept = [line for line in lines if (name := line.partition(b":")[0]) not in _SIGNED or name in others]
        return b"\n".join(kept), b"stored %b" % step.credential.id.encode()
    secrets = [
        pair for pair in step.query.split(b"&") if unquote_to_bytes(_name_of(pair)).lower() in CREDENTIAL_PARAMETERS
    ]
    return b"\n".join(lines), b"&".join(sorted(secrets))


def canonical(body: bytes, encoding: bytes) -> tuple[bytes, bytes]:
    """How a body is compared, and what of it is: JSON without what means nothing, else the bytes.

    Where reading it would lose something, as keys that come twice, it is the bytes too.
    """
    if encoding or len(body) > CANONICAL_BYTES or body[:1] not in (b"{", b"["):
        return b"raw", body
    try:
        sorted_json = _encode(_decode(body))
        bare = msgspec.json.format(body, indent=-1)
    except (msgspec.MsgspecError, UnicodeError, ValueError, OverflowError, RecursionError):
        return b"raw", body
    return (b"json", sorted_json) if len(sorted_json) == len(bare) else (b"bare", bare)


def _lines(headers: list[Header]) -> tuple[list[bytes], list[bytes]]:
    """Credential and representation, then all else that the reply may depend on, in an order of their own."""
    own: list[bytes] = []
    others: list[bytes] = []
    for name, _, value in headers:
        part = _PARTS[name]
        if part == "credential":
            own.append(b"%b:%b" % (name, value))
        elif part == "everything":
            others.append(b"%b:%b" % (name, value))
    own.sort()
    others.sort()
    return own, others


def _sorted_query(query: bytes) -> bytes:
    """By name; parameters that come twice keep their order, for it may mean something."""
    named = sorted((_name_of(parameter), number, parameter) for number, parameter in enumerate(query.split(b"&")))
    return b"&".join([parameter for _, _, parameter in named])


def _name_of(parameter: bytes) -> bytes:
    return parameter.partition(b"=")[0]


def _digest(pieces: tuple[bytes, ...]) -> bytes:
    """Of the pieces with their lengths: no two rows of pieces give the same bytes."""
    return sha256(b"".join([b"%d:%b" % (len(piece), piece) for piece in pieces])).digest()
