"""Models whose price is wanted: gathered up to a bound, taken all at once."""

import asyncio

from sluice.console import wanted
from sluice.console.wanted import WantedPrices

MINI, LARGE = ("openai", "mini"), ("openai", "large")


async def test_what_is_wanted_is_taken_once_in_order():
    prices = WantedPrices()
    prices.add([LARGE, MINI])
    prices.add([MINI])
    assert await prices.come(10)
    assert prices.take() == [LARGE, MINI]
    assert prices.take() == []
    assert not await prices.come(0)


async def test_who_waits_is_woken():
    prices = WantedPrices()
    waiting = asyncio.create_task(prices.come(10))
    await asyncio.sleep(0)
    prices.add([MINI])
    assert await waiting


async def test_what_clients_invent_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(wanted, "MOST", 2)
    prices = WantedPrices()
    prices.add(("openai", f"made-up-{number}") for number in range(10))
    assert len(prices.take()) == 2
