"""Every provider, written out."""

from collections.abc import Mapping
from typing import Final

import msgspec

from sluice.providers.anthropic import ANTHROPIC
from sluice.providers.azure import AZURE_OPENAI
from sluice.providers.baseten import BASETEN
from sluice.providers.bedrock import AWS_BEDROCK
from sluice.providers.cohere import COHERE
from sluice.providers.custom import CUSTOM
from sluice.providers.fal import FAL
from sluice.providers.google import GOOGLE_AI_STUDIO
from sluice.providers.huggingface import HUGGINGFACE
from sluice.providers.openai import OPENAI
from sluice.providers.openai_shaped import (
    CEREBRAS,
    DEEPSEEK,
    FIREWORKS,
    GROK,
    GROQ,
    MISTRAL,
    OPENROUTER,
    PARALLEL,
    PERPLEXITY,
)
from sluice.providers.pictures import ADOBE_FIREFLY, IDEOGRAM
from sluice.providers.provider import Provider
from sluice.providers.replicate import REPLICATE
from sluice.providers.vertex import GOOGLE_VERTEX_AI
from sluice.providers.voice import CARTESIA, DEEPGRAM, ELEVENLABS
from sluice.providers.workers_ai import WORKERS_AI
from sluice.values.custom_provider import is_custom

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider
    for provider in (
        OPENAI,
        ANTHROPIC,
        GOOGLE_AI_STUDIO,
        GOOGLE_VERTEX_AI,
        WORKERS_AI,
        AZURE_OPENAI,
        AWS_BEDROCK,
        GROQ,
        MISTRAL,
        COHERE,
        PERPLEXITY,
        GROK,
        DEEPSEEK,
        OPENROUTER,
        CEREBRAS,
        FIREWORKS,
        BASETEN,
        HUGGINGFACE,
        REPLICATE,
        PARALLEL,
        CARTESIA,
        ELEVENLABS,
        DEEPGRAM,
        FAL,
        IDEOGRAM,
        ADOBE_FIREFLY,
    )
}
ALIASES: Final[Mapping[str, str]] = {
    "google": "google-ai-studio",
    "google-vertex": "google-vertex-ai",
    "bedrock": "aws-bedrock",
    "azure": "azure-openai",
    "perplexity": "perplexity-ai",
    "xai": "grok",
}
"""Further slugs that clients use, and whose they are (contract 1.2)."""
SLUGS: Final = frozenset((*PROVIDERS, *ALIASES))
"""All that a client may call a provider, in lower case."""


def canonical(slug: str) -> str:
    """A slug as logs and settings have it, were it written in another case or an alias."""
    lower = slug.lower()
    return ALIASES.get(lower, lower)


def find(slug: str) -> Provider | None:
    """The provider that a client names, None where there can be no such.

    Whether an account has brought the one that `custom-...` names, its directory tells.
    """
    name = canonical(slug)
    return PROVIDERS.get(name) or (msgspec.structs.replace(CUSTOM, name=name) if is_custom(name) else None)


def row(name: str) -> Provider:
    """What is known of a step's provider; all that accounts bring have one row."""
    return PROVIDERS.get(name, CUSTOM)
