"""Cloudflare Workers AI. https://developers.cloudflare.com/api/resources/ai"""

from typing import Final
from urllib.parse import quote, unquote_to_bytes

from sluice.providers.provider import Provider, Realtime, once


def _endpoint(endpoint: bytes) -> bytes:
    """A model alone is run (contract 1.2); `run/...` and `v1/...` pass."""
    return b"run/" + endpoint if endpoint.startswith((b"@", b"%40")) else once(endpoint)


def _route(endpoint: bytes, query: bytes) -> tuple[bytes, bytes]:
    """A model that the query names is the path of its vendor's."""
    pairs = query.split(b"&")
    models = [pair[6:] for pair in pairs if pair.startswith(b"model=")]
    if endpoint or not models:
        return endpoint, query
    rest = [pair for pair in pairs if not pair.startswith(b"model=")]
    return quote(unquote_to_bytes(models[-1]), safe="@/:").encode(), b"&".join(rest)


WORKERS_AI: Final = Provider(
    "workers-ai",
    "https://api.cloudflare.com/client/v4/accounts/{account}/ai",
    endpoint=_endpoint,
    realtime=Realtime(_route),
)
