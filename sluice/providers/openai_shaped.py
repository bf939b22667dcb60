"""Vendors that differ from OpenAI in data alone."""

from typing import Final

from sluice.providers.provider import Compat, Provider, Realtime, at, in_x_api_key, once, unversioned, versioned


def _groq(endpoint: bytes) -> bytes:
    """https://console.groq.com/docs/api-reference"""
    return unversioned(endpoint.removeprefix(b"openai/"))


def _fireworks(endpoint: bytes) -> bytes:
    """https://docs.fireworks.ai/api-reference"""
    return unversioned(endpoint.removeprefix(b"inference/"))


def _mistral(endpoint: bytes) -> bytes:
    """https://docs.mistral.ai/api. Clients send `v1/...`, some without its version."""
    return versioned(endpoint) if endpoint.startswith(b"chat/completions") else once(endpoint)


GROQ: Final = Provider("groq", "https://api.groq.com/openai/v1", endpoint=_groq)
FIREWORKS: Final = Provider("fireworks", "https://api.fireworks.ai/inference/v1", endpoint=_fireworks)
MISTRAL: Final = Provider("mistral", "https://api.mistral.ai", endpoint=_mistral)
DEEPSEEK: Final = Provider("deepseek", "https://api.deepseek.com", endpoint=once)
OPENROUTER: Final = Provider("openrouter", "https://openrouter.ai/api", endpoint=versioned)
CEREBRAS: Final = Provider("cerebras", "https://api.cerebras.ai", endpoint=versioned)
GROK: Final = Provider(
    "grok",
    "https://api.x.ai",
    endpoint=versioned,
    key_headers=(b"authorization", b"x-api-key"),  # the latter from Anthropic's SDK, which it serves too
    realtime=Realtime(at(b"realtime"), key_subprotocols=("xai-client-secret.", "openai-insecure-api-key.")),
)
PERPLEXITY: Final = Provider(
    "perplexity-ai", "https://api.perplexity.ai", endpoint=once, compat=Compat(chat=b"chat/completions")
)
PARALLEL: Final = Provider(
    "parallel",
    "https://api.parallel.ai",
    endpoint=once,
    sign=in_x_api_key,
    key_headers=(b"x-api-key", b"authorization"),
    compat=Compat(chat=b"chat/completions", responses=None, embeddings=None),
)
