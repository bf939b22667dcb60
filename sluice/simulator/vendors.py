"""Every vendor whose wire the simulator speaks, by the first segment of a path."""

from collections.abc import Mapping
from typing import Final

from sluice.simulator.anthropic import ANTHROPIC
from sluice.simulator.azure import AZURE
from sluice.simulator.baseten import BASETEN
from sluice.simulator.bedrock import BEDROCK
from sluice.simulator.cohere import COHERE
from sluice.simulator.drawing import FAL, FIREFLY, IDEOGRAM
from sluice.simulator.google import GOOGLE
from sluice.simulator.huggingface import HUGGINGFACE
from sluice.simulator.openai import OPENAI
from sluice.simulator.openai_dialects import DIALECTS
from sluice.simulator.parallel import PARALLEL
from sluice.simulator.replicate import REPLICATE
from sluice.simulator.vendor import Vendor
from sluice.simulator.vertex import VERTEX
from sluice.simulator.voice import VOICE
from sluice.simulator.workers_ai import WORKERS_AI
from sluice.simulator.xai import GROK

VENDORS: Final[Mapping[str, Vendor]] = {
    **dict.fromkeys(DIALECTS, OPENAI),
    **dict.fromkeys(("cartesia", "deepgram", "elevenlabs"), VOICE),
    "adobe-firefly": FIREFLY,
    "anthropic": ANTHROPIC,
    "aws-bedrock": BEDROCK,
    "azure-openai": AZURE,
    "baseten": BASETEN,
    "cohere": COHERE,
    "fal": FAL,
    "google-ai-studio": GOOGLE,
    "google-vertex-ai": VERTEX,
    "grok": GROK,
    "huggingface": HUGGINGFACE,
    "ideogram": IDEOGRAM,
    "parallel": PARALLEL,
    "replicate": REPLICATE,
    "workers-ai": WORKERS_AI,
}
"""A dialect of OpenAI's wire needs no row of its own here."""
