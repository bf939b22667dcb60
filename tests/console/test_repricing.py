"""Prices are loaded once a day, with those that were asked for; what is wanted is looked up at once."""

import asyncio
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from sluice.console import repricing
from sluice.console.repricing import edition, keep_prices, refresh
from sluice.values.rates import Rates
from sluice.wiring.console import PRICES

TODAY = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINI = Rates(150_000_000, 600_000_000, 75_000_000)
NO_PROGRAM = ["/nowhere/prices"]


async def refresh_at(desk, now, program=PRICES):
    await refresh(desk, program, lambda: now, linger_s=0.0)


async def known(control, model, rates):
    """Returns once control.db has the price."""
    async with asyncio.timeout(20):
        while True:
            if control.rates("openai", model) == rates:
                return
            await asyncio.sleep(0.01)


async def test_the_list_is_loaded_once_a_day(desk, control):
    await refresh_at(desk, TODAY)
    assert control.rates("openai", "gpt-4o-mini") == MINI
    assert control.rates("anthropic", "claude-sonnet-4-5").output > 0
    assert control.prices_version() == edition(TODAY)
    await refresh_at(desk, TODAY + timedelta(hours=1), NO_PROGRAM)  # or it would fail
    with pytest.raises(OSError, match="prices"):
        await refresh_at(desk, TODAY + timedelta(days=1), NO_PROGRAM)
    await refresh_at(desk, TODAY + timedelta(days=1))
    assert control.prices_version() == edition(TODAY + timedelta(days=1))


async def test_what_was_asked_for_is_resolved_anew(desk, control, monkeypatch):
    monkeypatch.setattr(repricing, "AT_ONCE", 1)
    control.put_rates([("openai", "gpt-4o-mini-2099-01-31", Rates(1, 1)), ("openai", "made-up", None)])
    await refresh_at(desk, TODAY)
    assert control.rates("openai", "gpt-4o-mini-2099-01-31") == MINI
    assert control.rates("openai", "made-up") == Rates(None, None)


async def test_what_is_wanted_is_looked_up_and_so_is_what_is_wanted_soon_after(desk, control):
    control.load_prices(edition(TODAY), [], [])
    desk.wanted.add([("openai", "gpt-4o-mini"), ("openai", "made-up")])
    lingering = asyncio.create_task(refresh(desk, PRICES, lambda: TODAY, linger_s=20))
    await known(control, "made-up", Rates(None, None))
    await known(control, "gpt-4o-mini", MINI)
    desk.wanted.add([("openai", "gpt-4o-mini-2099-01-31")])
    await known(control, "gpt-4o-mini-2099-01-31", MINI)
    lingering.cancel()
    with suppress(asyncio.CancelledError):
        await lingering


async def test_what_is_known_meanwhile_is_not_looked_up(desk, control):
    control.load_prices(edition(TODAY), [("openai", "gpt-4o-mini", Rates(1, 2))], [])
    desk.wanted.add([("openai", "gpt-4o-mini")])
    await refresh_at(desk, TODAY, [sys.executable, "-c", "import sys; sys.stdin.read()"])
    assert control.rates("openai", "gpt-4o-mini") == Rates(1, 2)


async def test_a_list_that_cannot_be_had_is_tried_again(desk, control, monkeypatch):
    monkeypatch.setattr(repricing, "PAUSE_S", 0.0)
    programs = [NO_PROGRAM[0]]
    keeping = asyncio.create_task(keep_prices(desk, programs))
    async with asyncio.timeout(20):
        await asyncio.sleep(0)
        programs[:] = PRICES
        while not control.prices_version():
            desk.wanted.add([("openai", "gpt-4o-mini")])
            await asyncio.sleep(0.01)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
