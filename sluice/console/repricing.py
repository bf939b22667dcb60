"""Keeps the prices in control.db as the price list has them today."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from sluice.console.desk import Desk
from sluice.console.prices import EDITION, price_list, resolve
from sluice.journal import fields
from sluice.values.rates import Rates

LOOK_EVERY_S: Final = 3600

_log = logging.getLogger(__name__)


async def keep_prices(desk: Desk) -> None:
    """Loads the list at once and then whenever a day has passed: some prices are dated."""
    while True:
        try:
            await load_prices(desk, datetime.now(UTC))
        except Exception:  # yesterday's prices do: nothing else of the console may fall over this
            _log.exception("prices could not be loaded")
        await asyncio.sleep(LOOK_EVERY_S)


async def load_prices(desk: Desk, now: datetime) -> None:
    """Does nothing where today's list is loaded."""
    version = f"genai-prices {EDITION}, {now:%Y-%m-%d}"
    if await desk.ask(desk.control.prices_version) == version:
        return
    asked = await desk.ask(desk.control.asked_prices)
    listed, renewed = await asyncio.to_thread(_resolved, asked, now)  # 0.3 s: no request waits for it
    await desk.ask(desk.control.load_prices, version, listed, renewed)
    _log.info("prices loaded", extra=fields(version=version, models=len(listed)))


def _resolved(
    asked: list[tuple[str, str]], now: datetime
) -> tuple[list[tuple[str, str, Rates]], list[tuple[str, str, Rates | None]]]:
    listed = [(price.provider, price.model, price.rates) for price in price_list(now)]
    return listed, [(provider, model, resolve(provider, model, now)) for provider, model in asked]
