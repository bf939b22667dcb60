"""Prices are loaded once a day, with those that were asked for."""

from datetime import UTC, datetime, timedelta

from sluice.console.repricing import load_prices
from sluice.values.rates import Rates

TODAY = datetime(2026, 1, 2, 12, tzinfo=UTC)


async def test_the_list_is_loaded_once_a_day(desk, control):
    await load_prices(desk, TODAY)
    assert control.rates("openai", "gpt-4o").input > 0
    assert control.prices_version().endswith("2026-01-02")
    control.load_prices(control.prices_version(), [], [])
    await load_prices(desk, TODAY + timedelta(hours=1))
    assert control.rates("openai", "gpt-4o") is None
    await load_prices(desk, TODAY + timedelta(days=1))
    assert control.rates("openai", "gpt-4o").input > 0


async def test_what_was_asked_for_is_resolved_anew(desk, control):
    control.put_rates("openai", "gpt-4o-2024-08-06", Rates(1, 1))
    control.put_rates("openai", "made-up", None)
    await load_prices(desk, TODAY)
    assert control.rates("openai", "gpt-4o-2024-08-06").input > 1
    assert control.rates("openai", "made-up") == Rates(None, None)
