"""What the models of custom providers cost, at hand."""

from typing import Final

from sluice.engine.remembered import Remembered
from sluice.providers.custom_pricing import fitting, rates_of
from sluice.storage.custom_ports import CustomProviderReader
from sluice.storage.ports import Generations
from sluice.values.rates import Rates

MOST_ENTRIES: Final = 256
"""Each may have 1,000 prices."""


class CustomRates:
    """Knows the prices of a provider until its account's generation has moved on."""

    def __init__(self, reader: CustomProviderReader, generations: Generations) -> None:
        self._prices = Remembered(reader.prices, generations, MOST_ENTRIES)

    def __call__(self, account: str, provider: str, model: str) -> Rates | None:
        """None where the account has given no price for the model. Raises StoreFault."""
        price = fitting(self._prices.of(account, provider), model)
        return None if price is None else rates_of(price)


def unpriced(account: str, provider: str, model: str) -> Rates | None:
    """For accounts that have given no prices."""
    return None
