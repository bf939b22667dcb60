"""Cloudflare Workers AI. https://developers.cloudflare.com/api/resources/ai"""

from typing import Final

from sluice.providers.provider import Compat, Provider, once


def _endpoint(endpoint: bytes) -> bytes:
    """A model alone is run (contract 1.2); `run/...` and `v1/...` pass."""
    return b"run/" + endpoint if endpoint.startswith((b"@", b"%40")) else once(endpoint)


WORKERS_AI: Final = Provider(
    "workers-ai",
    "https://api.cloudflare.com/client/v4/accounts/{account}/ai",
    endpoint=_endpoint,
    compat=Compat(models=None),
)
