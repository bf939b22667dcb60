"""Which price of a custom provider fits a model, and what that is. Pure."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from sluice.values.custom_config import CustomCostConfig, ModelRule, TokenPricing
from sluice.values.rates import Rates

_FITS: Final[dict[ModelRule, Callable[[str, str], bool]]] = {
    "equals": lambda model, wanted: model == wanted,
    "starts-with": lambda model, wanted: model.startswith(wanted),
    "contains": lambda model, wanted: wanted in model,
}
"""The most exact one first."""
_RANK: Final = {rule: rank for rank, rule in enumerate(_FITS)}
_PER_TOKEN: Final = Decimal(10**15)
"""Rates are integers of 1e-15 USD a token."""
_NO_PRICES: Final = TokenPricing()


def fitting(prices: Sequence[CustomCostConfig], model: str) -> CustomCostConfig | None:
    """The price of a model: an exact rule before a beginning before a part, the longer of two, the first of equals."""
    fits = [price for price in prices if _FITS[price.model_rule](model, price.model)]
    return min(fits, key=lambda price: (_RANK[price.model_rule], -len(price.model)), default=None)


def rates_of(price: CustomCostConfig) -> Rates:
    """The same as the price list has it. Prices of kinds of tokens win over those of a side; without any it is free."""
    kinds = price.token_pricing or _NO_PRICES
    free = None if price.prices_nothing else 0
    input = _rate(kinds.input_tokens if kinds.input_tokens is not None else price.cost_in)
    output = _rate(kinds.output_tokens if kinds.output_tokens is not None else price.cost_out)
    return Rates(
        input=free if input is None else input,
        output=free if output is None else output,
        cached_input=_rate(kinds.input_cached_tokens),
        cache_write=_rate(kinds.input_cache_creation_tokens),
        reasoning=_rate(kinds.output_reasoning_tokens),
        audio_input=_rate(kinds.input_audio_tokens),
        image_input=_rate(kinds.input_image_tokens),
    )


def _rate(usd: float | None) -> int | None:
    """The number as it was written, not the nearest binary one."""
    return None if usd is None else int(Decimal(repr(usd)) * _PER_TOKEN + Decimal("0.5"))
