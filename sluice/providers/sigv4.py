"""AWS Signature Version 4, pure. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html"""

import hashlib
import hmac
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from sluice.values.request import Header

ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Key(NamedTuple):
    """Long-lived credentials of AWS, or temporary ones, which have a session token."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "Key(***)"


class Scope(NamedTuple):
    region: str
    service: str
    """As AWS calls it in signatures."""


class Unsigned(NamedTuple):
    """What is signed of a request. Path and query are as on the wire, the path with its first slash."""

    method: str
    host: str
    path: bytes
    query: bytes
    content_type: str
    body: bytes


def signed(request: Unsigned, key: Key, scope: Scope, now: datetime) -> tuple[Header, ...]:
    """The header fields that make the request a signed one; `now` is in UTC."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    fields = {"host": request.host, "x-amz-date": stamp}
    if request.content_type:
        fields["content-type"] = " ".join(request.content_type.split())
    if key.session_token:
        fields["x-amz-security-token"] = key.session_token
    names = sorted(fields)
    listed = ";".join(names)
    lines = "".join(f"{name}:{fields[name]}\n" for name in names)
    canonical = "\n".join(
        (request.method, _path(request.path), _query(request.query), lines, listed, _sha256(request.body))
    )
    place = f"{stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    to_sign = f"{ALGORITHM}\n{stamp}\n{place}\n{_sha256(canonical.encode())}"
    signature = hmac.new(_signing_key(key, stamp[:8], scope), to_sign.encode(), hashlib.sha256).hexdigest()
    value = f"{ALGORITHM} Credential={key.access_key_id}/{place}, SignedHeaders={listed}, Signature={signature}"
    told = [(b"x-amz-date", b"X-Amz-Date", stamp.encode())]
    if key.session_token:
        told.append((b"x-amz-security-token", b"X-Amz-Security-Token", key.session_token.encode()))
    return (*told, (b"authorization", b"Authorization", value.encode()))


def _path(path: bytes) -> str:
    """Encoded once more, for every service but S3, and without empty segments."""
    segments = [segment for segment in path.split(b"/") if segment]
    last = b"/" if path.endswith(b"/") and segments else b""
    return quote(b"/" + b"/".join(segments) + last, safe="/~")


def _query(query: bytes) -> str:
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return "&".join(f"{name.decode('latin-1')}={value.decode('latin-1')}" for name, _, value in sorted(pairs))


def _signing_key(key: Key, day: str, scope: Scope) -> bytes:
    made = b"AWS4" + key.secret_access_key.encode()
    for part in (day, scope.region, scope.service, "aws4_request"):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return made


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
