"""Amazon Bedrock. https://docs.aws.amazon.com/bedrock/latest/APIReference"""

import re
from datetime import datetime
from typing import Final

import msgspec

from sluice.providers import sigv4
from sluice.providers.documents import document_in, key_in, read_document, without
from sluice.providers.provider import NOT_COMPATIBLE, Address, Provider, bearer, in_x_api_key
from sluice.values.errors import MalformedCredential, MalformedRequest
from sluice.values.request import Step

DEFAULT_REGION: Final = b"us-east-1"
"""Where neither path nor credential names one (contract 1.3)."""
_REGION: Final = rb"[a-z]{2}(?:-[a-z]{1,12}){1,3}-\d{1,2}"
_ENDPOINT: Final = re.compile(
    rb"(?P<service>bedrock-(?:runtime|mantle))/(?:(?P<region>" + _REGION + rb")/)?"
    rb"(?P<rest>(?(region)|(?=(?:model|guardrail|async-invoke|openai|anthropic|v1)/)).+)",
    re.DOTALL,
)
"""Without a region only what is known to be a path: a word that is meant as a region must not become one."""
_SIGNED: Final = (b"authorization", b"x-api-key", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256")
"""What a signature of ours takes the place of."""


class _Keys(msgspec.Struct, frozen=True, rename="camel"):
    """What the gateway signs with."""

    access_key_id: str
    secret_access_key: str
    region: str = DEFAULT_REGION.decode()
    session_token: str | None = None

    def __repr__(self) -> str:
        return "_Keys(***)"


_KEYS: Final = msgspec.json.Decoder(_Keys)
_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]+")


def authorized(step: Step, secret: bytes | None, now: datetime) -> Step:
    """The step with its credential as AWS takes it, and the region in its path.

    `secret` is a stored key and takes the place of all that the client sent; without one that is what counts. A key
    that is a document is signed with, for which the body must be whole. What a client has signed itself stays as it is,
    and so does a key of Bedrock's own, but that Mantle wants it in `x-api-key`. Raises MalformedRequest.
    """
    key = key_in(step.headers, AWS_BEDROCK.key_headers) if secret is None else secret
    document = document_in(key)
    if document is not None:
        return _signed(step, read_document(document, _KEYS, "aws-bedrock"), now)
    endpoint = _regioned(step.endpoint, DEFAULT_REGION)
    if not key or key.startswith(sigv4.ALGORITHM.encode()):
        return msgspec.structs.replace(step, endpoint=endpoint)
    mantle = endpoint.startswith(b"bedrock-mantle/")
    kept = without(step.headers, AWS_BEDROCK.key_headers)
    return msgspec.structs.replace(
        step, endpoint=endpoint, headers=[*kept, *(in_x_api_key(key) if mantle else bearer(key))]
    )


def needs_whole_body(step: Step, secret: bytes | None) -> bool:
    """Whether the gateway will sign this step."""
    return document_in(key_in(step.headers, AWS_BEDROCK.key_headers) if secret is None else secret) is not None


def _signed(step: Step, keys: _Keys, now: datetime) -> Step:
    for value in (keys.access_key_id, keys.secret_access_key, keys.session_token or "-"):
        if not _HEADER_TEXT.fullmatch(value):
            raise MalformedCredential("The credential for aws-bedrock has characters that no key has")
    if not re.fullmatch(_REGION, keys.region.encode()):
        raise MalformedCredential("The credential for aws-bedrock names no region of AWS")
    endpoint = _regioned(step.endpoint, keys.region.encode())
    service, region, rest = _parts(endpoint)
    content_type = next((value for name, _, value in step.headers if name == b"content-type"), b"")
    request = sigv4.Unsigned(
        step.method.decode(),
        _host(service, region),
        b"/" + rest,
        step.query,
        content_type.decode("latin-1"),
        step.body.whole or b"",
    )
    key = sigv4.Key(keys.access_key_id, keys.secret_access_key, keys.session_token or "")
    scope = sigv4.Scope(region, "bedrock" if service == "bedrock-runtime" else service)
    headers = [*without(step.headers, _SIGNED), *sigv4.signed(request, key, scope, now)]
    return msgspec.structs.replace(step, endpoint=endpoint, headers=headers)


def _regioned(endpoint: bytes, region: bytes) -> bytes:
    service, _, rest = endpoint.partition(b"/")
    found = _ENDPOINT.fullmatch(endpoint)
    return endpoint if found is None or found["region"] else b"%b/%b/%b" % (service, region, rest)


def _parts(endpoint: bytes) -> tuple[str, str, bytes]:
    """Service, region and the vendor's own path."""
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None:
        raise MalformedRequest(
            "aws-bedrock is called as aws-bedrock/bedrock-runtime/{region}/{path}, or bedrock-mantle"
        )
    return found["service"].decode(), (found["region"] or DEFAULT_REGION).decode(), found["rest"]


def _host(service: str, region: str) -> str:
    if service == "bedrock-mantle":
        return f"bedrock-mantle.{region}.api.aws"
    return f"bedrock-runtime.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _locate(endpoint: bytes) -> Address:
    service, region, rest = _parts(endpoint)
    return Address(f"https://{_host(service, region)}", rest, b"%b/%b/%b" % (service.encode(), region.encode(), rest))


AWS_BEDROCK: Final = Provider(
    "aws-bedrock",
    "https://bedrock-runtime.{region}.amazonaws.com",
    locate=_locate,
    key_headers=(b"authorization", b"x-api-key"),
    key_parameters=(b"X-Amz-Signature",),
    compat=NOT_COMPATIBLE,
    takes_documents=True,
)
