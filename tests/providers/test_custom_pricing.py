"""Which of an account's prices fits a model."""

from typing import Any

import pytest

from sluice.providers.custom_pricing import fitting, rates_of
from sluice.values.custom_config import CustomCostConfig, TokenPricing


def price(model: str, rule: Any = "equals", **fields: Any) -> CustomCostConfig:
    return CustomCostConfig(account_provider_id="p", model=model, model_rule=rule, **{"cost_in": 1.0, **fields})


PRICES = [
    price("l", "contains"),
    price("llama", "contains"),
    price("llama-3", "starts-with"),
    price("llama", "starts-with"),
    price("llama-3.3"),
    price("llama-3.3", cost_in=2.0),
]


@pytest.mark.parametrize(
    ("model", "index"),
    [
        ("llama-3.3", 4),
        ("llama-3.1", 2),
        ("llama-2", 3),
        ("code-llama", 1),
        ("falcon", 0),
        ("gpt", None),
        ("LLAMA", None),
    ],
)
def test_the_most_exact_one_wins(model: str, index: int | None):
    assert fitting(PRICES, model) is (None if index is None else PRICES[index])


def test_prices_are_exact_integers():
    rates = rates_of(price("m", cost_in=0.1 + 0.2e-6, cost_out=2e-15))
    assert (rates.input, rates.output) == (100_000_200_000_000, 2)
    assert rates_of(price("m", cost_in=0.000003)).input == 3_000_000_000


def test_a_side_without_a_price_is_free_where_the_other_has_one():
    assert (rates_of(price("m")).output, rates_of(price("m", cost_in=None, cost_out=1.0)).input) == (0, 0)
    cached = TokenPricing(input_cached_tokens=2e-15)
    rates = rates_of(price("m", cost_in=None, token_pricing=cached))
    assert (rates.input, rates.cached_input, rates.output) == (0, 2, 0)
    assert rates_of(price("m", cost_in=None)).input is None


def test_prices_of_kinds_of_tokens_win():
    kinds = TokenPricing(input_tokens=0.0, output_reasoning_tokens=1e-15, input_cached_tokens=2e-15)
    rates = rates_of(price("m", cost_out=1.0, token_pricing=kinds))
    assert (rates.input, rates.output, rates.reasoning, rates.cached_input) == (0, 10**15, 1, 2)
    assert rates.audio_input is None
