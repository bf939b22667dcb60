"""Models that logs were seen of and that have no price yet."""

import asyncio
from collections.abc import Iterable
from typing import Final

MOST: Final = 2000
"""Names come from clients. What is past the bound is asked for again."""


class WantedPrices:
    """A bounded set that one task empties."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], None] = {}
        self._some = asyncio.Event()

    def add(self, models: Iterable[tuple[str, str]]) -> None:
        for model in models:
            if len(self._models) < MOST:
                self._models[model] = None
        if self._models:
            self._some.set()

    def take(self) -> list[tuple[str, str]]:
        taken = list(self._models)
        self._models.clear()
        self._some.clear()
        return taken

    async def come(self, wait_s: float) -> bool:
        """Returns as soon as some are wanted, and False where none were for so long."""
        try:
            async with asyncio.timeout(wait_s):
                await self._some.wait()
        except TimeoutError:
            return False
        return True
