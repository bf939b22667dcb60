"""What the models of custom providers cost, at hand."""

from collections.abc import Sequence
from typing import Final

from sluice.providers.custom_pricing import fitting, rates_of
from sluice.storage.custom_ports import CustomProviderReader
from sluice.storage.ports import Generations
from sluice.values.custom_config import CustomCostConfig
from sluice.values.rates import Rates

MOST_ENTRIES: Final = 256
"""Each may have 1,000 prices."""


class CustomRates:
    """Knows the prices of a provider until its account's generation has moved on."""

    def __init__(self, reader: CustomProviderReader, generations: Generations) -> None:
        self._reader, self._generations = reader, generations
        self._prices: dict[tuple[str, str], tuple[int, Sequence[CustomCostConfig]]] = {}

    def __call__(self, account: str, provider: str, model: str) -> Rates | None:
        """None where the account has given no price for the model. Raises StoreFault."""
        generation = self._generations.of(account)
        known = self._prices.get((account, provider))
        if known is None or known[0] != generation:
            known = (generation, self._reader.prices(account, provider))
            self._prices.pop((account, provider), None)
            if len(self._prices) >= MOST_ENTRIES:
                del self._prices[next(iter(self._prices))]
            self._prices[account, provider] = known
        price = fitting(known[1], model)
        return None if price is None else rates_of(price)


def unpriced(account: str, provider: str, model: str) -> Rates | None:
    """For accounts that have given no prices."""
    return None
