"""Google AI Studio, the Gemini API. https://ai.google.dev/api"""

from typing import Final

from sluice.providers.provider import Compat, Provider, once
from sluice.values.request import Header


def _sign(key: bytes) -> tuple[Header, ...]:
    """Alone: with Authorization beside it Google answers that it received several credentials."""
    return ((b"x-goog-api-key", b"x-goog-api-key", key),)


GOOGLE_AI_STUDIO: Final = Provider(
    "google-ai-studio",
    "https://generativelanguage.googleapis.com",
    endpoint=once,
    sign=_sign,
    key_headers=(b"x-goog-api-key", b"authorization"),
    compat=Compat(
        chat=b"v1beta/openai/chat/completions",
        responses=None,
        embeddings=b"v1beta/openai/embeddings",
        models=b"v1beta/openai/models",
    ),
)
