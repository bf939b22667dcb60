"""Every provider, written out."""

from collections.abc import Mapping
from typing import Final

from sluice.providers.openai import OPENAI
from sluice.providers.provider import Provider

PROVIDERS: Final[Mapping[str, Provider]] = {provider.name: provider for provider in (OPENAI,)}
