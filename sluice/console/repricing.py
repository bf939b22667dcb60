"""Keeps the prices in control.db as the price list has them today, and adds the models that logs were seen of."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from sluice.console.desk import Desk
from sluice.console.price_process import Asked, Listed, PriceList, Question, open_price_list
from sluice.journal import fields

LOOK_EVERY_S: Final = 3600.0
LINGER_S: Final = 10.0
"""How long the price list's process waits for another model before it ends: clients can name a new one in every call,
and none of them may cost a start."""
PAUSE_S: Final = 5.0
"""After a failure, lest a broken list be started again and again."""
AT_ONCE: Final = 500
"""Models renewed with one question: 0.1 s of the process."""

_log = logging.getLogger(__name__)


async def keep_prices(desk: Desk, program: Sequence[str]) -> None:
    """Loads the list at once and then whenever a day has passed, for some prices are dated; answers what is wanted."""
    while True:
        try:
            await refresh(desk, program, lambda: datetime.now(UTC), LINGER_S)
        except Exception:  # yesterday's prices do: nothing else of the console may fall over this
            _log.exception("prices could not be had")
            await asyncio.sleep(PAUSE_S)
        await desk.wanted.come(LOOK_EVERY_S)


async def refresh(desk: Desk, program: Sequence[str], clock: Callable[[], datetime], linger_s: float) -> None:
    """Starts the list's process where there is something to ask, and keeps it until nothing is for a while."""
    if await _is_loaded(desk, clock()) and not await desk.wanted.come(0):
        return
    async with open_price_list(program) as prices:
        while True:
            await _resolve_wanted(desk, prices, clock())
            await _load(desk, prices, clock())
            if not await desk.wanted.come(linger_s):
                return


async def _resolve_wanted(desk: Desk, prices: PriceList, now: datetime) -> None:
    """Looks up what is wanted, all at once, and remembers also what the list does not know."""
    wanted, rates = desk.wanted.take(), desk.control.rates

    def unknown() -> list[tuple[str, str]]:
        return [(provider, model) for provider, model in wanted if rates(provider, model) is None]

    if wanted and (asked := await desk.ask(unknown)):
        answer = await prices.ask(Question(now, asked))
        await desk.ask(desk.control.put_rates, answer.asked)


async def _load(desk: Desk, prices: PriceList, now: datetime) -> None:
    """Replaces the prices of yesterday, or of another edition of the list. Who waits for one model comes between."""
    if await _is_loaded(desk, now):
        return
    former = await desk.ask(desk.control.asked_prices)
    asked: list[Asked] = []
    listed: list[Listed] = []
    part, parts = 0, 1
    while part < parts or former:
        answer = await prices.ask(Question(now, former[:AT_ONCE], part if part < parts else None))
        asked += answer.asked
        listed += answer.listed
        part, parts, former = part + 1, answer.parts, former[AT_ONCE:]
        await _resolve_wanted(desk, prices, now)
    await desk.ask(desk.control.load_prices, edition(now), listed, asked)
    _log.info("prices loaded", extra=fields(version=edition(now), models=len(listed)))


async def _is_loaded(desk: Desk, now: datetime) -> bool:
    return await desk.ask(desk.control.prices_version) == edition(now)


def edition(now: datetime) -> str:
    """Which list this is, and of which day."""
    return f"genai-prices {version('genai-prices')}, {now:%Y-%m-%d}"
