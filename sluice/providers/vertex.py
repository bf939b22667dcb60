"""Google Vertex AI. https://cloud.google.com/vertex-ai/generative-ai/docs/reference"""

import hashlib
import re
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.providers.documents import document_in, key_in, read_document, without
from sluice.providers.provider import Address, Compat, Provider, bearer, once
from sluice.values.errors import MalformedRequest
from sluice.values.request import Step

TOKEN_URI: Final = "https://oauth2.googleapis.com/token"
_PLACE: Final = re.compile(rb"(?:^|/)locations/([^/]*)")
_REGION: Final = re.compile(rb"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""One label of a host's name."""
_UNPLACED: Final = re.compile(rb"(v[0-9a-z]+)/((?:publishers|endpoints)/.*)", re.DOTALL)
"""A path that leaves project and location to the credential."""
_LIVE: Final = re.compile(rb"(?:locations/[^/]*/)?(ws/.+)", re.DOTALL)
"""A WebSocket, whose path has no location at Google's: one before it only chooses the host."""
_MULTI_REGIONS: Final = ("us", "eu")


class ServiceAccount(msgspec.Struct, frozen=True):
    """Google's key file, and the region that Cloudflare's clients add to it."""

    client_email: str
    private_key: str
    token_uri: str = TOKEN_URI
    private_key_id: str = ""
    project_id: str = ""
    region: str = "global"

    @property
    def digest(self) -> bytes:
        """Tells accounts apart without keeping their keys."""
        told = "\0".join((self.client_email, self.private_key_id, self.token_uri, self.private_key))
        return hashlib.sha256(told.encode()).digest()

    def __repr__(self) -> str:
        return "ServiceAccount(***)"


_ACCOUNT: Final = msgspec.json.Decoder(ServiceAccount)


def service_account(step: Step, secret: bytes | None) -> ServiceAccount | None:
    """The service account that calls; None where the key is none, an access token for one. Raises MalformedRequest.

    `secret` is a stored key; without one the client's is looked at.
    """
    document = document_in(key_in(step.headers, GOOGLE_VERTEX_AI.key_headers) if secret is None else secret)
    return None if document is None else read_document(document, _ACCOUNT, GOOGLE_VERTEX_AI.name)


def with_token(step: Step, token: bytes, account: ServiceAccount | None) -> Step:
    """The step with this access token in place of its key, and where it goes, should the path leave that open."""
    headers = [*without(step.headers, GOOGLE_VERTEX_AI.key_headers), *bearer(token)]
    return placed(msgspec.structs.replace(step, headers=headers), account)


def placed(step: Step, account: ServiceAccount | None) -> Step:
    """The step with project and location in its path. Raises MalformedRequest where nobody names them."""
    if account is not None and step.endpoint.startswith(b"ws/"):
        region = quote(account.region, safe="").encode()
        return msgspec.structs.replace(step, endpoint=b"locations/%b/%b" % (region, step.endpoint))
    found = _UNPLACED.fullmatch(once(step.endpoint))
    if found is None:
        return step
    if account is None or not account.project_id:
        if found[2].startswith(b"publishers/"):
            return step  # Google's express mode, whose API keys stand for a project
        raise MalformedRequest(
            "google-vertex-ai needs the JSON of a service account, in base64, with project_id and region"
        )
    project, region = quote(account.project_id, safe=":").encode(), quote(account.region, safe="").encode()
    endpoint = b"%b/projects/%b/locations/%b/%b" % (found[1], project, region, found[2])
    return msgspec.structs.replace(step, endpoint=endpoint)


def _locate(endpoint: bytes) -> Address:
    """By the location in the path; without one, where Google serves all of them."""
    path = once(endpoint)
    found = _PLACE.search(path)
    region = found[1] if found else b"global"
    if not _REGION.fullmatch(region):
        raise MalformedRequest("The location in a path of google-vertex-ai is no region of Google's")
    live = _LIVE.fullmatch(path)
    return Address(f"https://{_host(region.decode())}", live[1] if live else path, path)


def _host(region: str) -> str:
    if region == "global":
        return "aiplatform.googleapis.com"
    if region in _MULTI_REGIONS:
        return f"aiplatform.{region}.rep.googleapis.com"
    return f"{region}-aiplatform.googleapis.com"


GOOGLE_VERTEX_AI: Final = Provider(
    "google-vertex-ai",
    "https://{region}-aiplatform.googleapis.com",
    endpoint=once,
    locate=_locate,
    key_headers=(b"authorization", b"x-goog-api-key"),
    key_parameters=(b"key", b"access_token"),
    compat=Compat(chat=b"v1/endpoints/openapi/chat/completions", responses=None, embeddings=None, publisher="google/"),
    takes_documents=True,
)
