"""Cohere. https://docs.cohere.com/reference"""

from typing import Final

from sluice.providers.provider import Compat, Provider, once, versioned

_WHOLE: Final = (b"v1/", b"v2/", b"compatibility/")


def _endpoint(endpoint: bytes) -> bytes:
    """Under `v1/` where the client names no version."""
    return once(endpoint) if endpoint.startswith(_WHOLE) else versioned(endpoint)


COHERE: Final = Provider(
    "cohere",
    "https://api.cohere.com",
    endpoint=_endpoint,
    compat=Compat(
        chat=b"compatibility/v1/chat/completions",
        responses=None,
        embeddings=b"compatibility/v1/embeddings",
    ),
)
