"""The price list: what genai-prices, as installed, says of a model. It never asks the network.

Slow to import and large: only the process of wiring/prices.py does.

Prices are dated, and some depend on the hour, so they are resolved anew from time to time (contract 7.5: an estimate).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Final

from genai_prices.data import providers as listed_providers
from genai_prices.types import ClauseEquals, ClauseOr, MatchLogic, ModelInfo, ModelPrice, Provider, TieredPrices

from sluice.console.price_process import Answer, Asked, Listed, Question
from sluice.values.rates import Rates

_LISTED_AS: Final = {
    "anthropic": "anthropic",
    "aws-bedrock": "aws",
    "azure-openai": "azure",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google-ai-studio": "google",
    "google-vertex-ai": "google",
    "grok": "x-ai",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity-ai": "perplexity",
    "workers-ai": "cloudflare",
}
"""Our slugs, and who that is in the list."""
SLUGS: Final = tuple(_LISTED_AS)
"""Every provider of the list: each is a part of it."""

_DATE: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})$")
_NANO: Final = 10**9
_LISTED: Final = {provider.id: provider for provider in listed_providers}


def answer(question: Question) -> Answer:
    """What the list says of the models asked for, and the part of it that is wanted."""
    asked = [Asked(provider, model, resolve(provider, model, question.now)) for provider, model in question.asked]
    listed = [] if question.part is None else list(prices_of(SLUGS[question.part], question.now))
    return Answer(asked, listed, len(SLUGS))


def resolve(provider: str, model: str, now: datetime | None = None) -> Rates | None:
    """What the model costs at this time, None where the list does not know it.

    A dated name that is not listed costs what the undated one does; of prices with tiers the first is taken.
    """
    listed = _LISTED.get(_LISTED_AS.get(provider, ""))
    if listed is None:
        return None
    if provider == "google-vertex-ai":
        model = model.removeprefix("google/")  # so its endpoint in OpenAI's shape has them
    # Not by way of genai_prices.calc_price: it remembers every name it is ever asked for.
    found = _find(listed, model) or _find(listed, _DATE.sub("", model))
    return None if found is None else _rates(found.get_prices(now or datetime.now(UTC)))


def prices_of(slug: str, now: datetime | None = None) -> Iterator[Listed]:
    """Every model of a provider that the list knows by its full name. Names that it knows by a pattern are left to
    `resolve`."""
    listed = _LISTED.get(_LISTED_AS[slug])
    names = {name for model in listed.models for name in (model.id, *_exact(model.match))} if listed else set()
    for name in sorted(names):
        rates = resolve(slug, name, now)
        if rates:
            yield Listed(slug, name, rates)


@cache
def models_in_full(provider_id: str) -> dict[str, ModelInfo]:
    """What `find_model` finds by each name that a provider's models have in full: it looks at one after another, and
    for the two thousand names of the whole list that took a quarter of a second."""
    found: dict[str, ModelInfo] = {}
    patterns: list[ModelInfo] = []
    for model in _LISTED[provider_id].models:
        for name in _exact(model.match):
            earlier = (one for one in patterns if one.is_match(name))
            found.setdefault(name.lower(), next(earlier, model))
        if not _is_exact(model.match):
            patterns.append(model)
    return found


def _find(provider: Provider, model: str) -> ModelInfo | None:
    return models_in_full(provider.id).get(model.lower()) or provider.find_model(model, all_providers=listed_providers)


def _rates(prices: ModelPrice) -> Rates | None:
    rates = Rates(
        input=_nano(prices.input_mtok),
        output=_nano(prices.output_mtok),
        cached_input=_nano(prices.cache_read_mtok),
        cache_write=_nano(prices.cache_write_mtok),
        reasoning=_nano(prices.output_reasoning_mtok),
        audio_input=_nano(prices.input_audio_mtok),
        audio_output=_nano(prices.output_audio_mtok),
        image_input=_nano(prices.input_image_mtok),
        image_output=_nano(prices.output_image_mtok),
        cache_write_1h=_nano(prices.cache_write_1h_mtok),
        characters=_nano(prices.input_mchars),
        audio_hour=_nano(prices.input_audio_hours),
        requests=_nano(prices.requests_kcount),
        cached_audio_input=_nano(prices.cache_audio_read_mtok),
    )
    sold = (rates.input, rates.output, rates.characters, rates.audio_hour)
    return None if all(price is None for price in sold) else rates


def _nano(usd: Decimal | TieredPrices | None) -> int | None:
    if usd is None:
        return None
    base = usd.base if isinstance(usd, TieredPrices) else usd
    return int((base * _NANO).to_integral_value(ROUND_HALF_UP))


def _exact(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from _exact(clause)


def _is_exact(match: MatchLogic) -> bool:
    if isinstance(match, ClauseOr):
        return all(map(_is_exact, match.or_))
    return isinstance(match, ClauseEquals)
