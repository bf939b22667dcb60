"""Google AI Studio, the Gemini API. https://ai.google.dev/api"""

from typing import Final

from sluice.providers.provider import Compat, Provider, Realtime, once
from sluice.values.request import Header


def _sign(key: bytes) -> tuple[Header, ...]:
    """Alone: with Authorization beside it Google answers that it received several credentials."""
    return ((b"x-goog-api-key", b"x-goog-api-key", key),)


_LIVE: Final = b"ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


def _route(endpoint: bytes, query: bytes) -> tuple[bytes, bytes]:
    """https://ai.google.dev/api/live. Its key is called `api_key` by clients of other vendors' shapes."""
    pairs = [b"key" + pair[7:] if pair.startswith(b"api_key=") else pair for pair in query.split(b"&")]
    return endpoint or _LIVE, b"&".join(pairs)


GOOGLE_AI_STUDIO: Final = Provider(
    "google-ai-studio",
    "https://generativelanguage.googleapis.com",
    endpoint=once,
    sign=_sign,
    key_headers=(b"x-goog-api-key", b"authorization"),
    key_parameters=(b"key", b"access_token"),
    compat=Compat(
        chat=b"v1beta/openai/chat/completions",
        responses=None,
        embeddings=b"v1beta/openai/embeddings",
    ),
    realtime=Realtime(_route, json_in_binary=True),
)
