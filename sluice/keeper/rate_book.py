"""Prices at hand while logs are stored, and a question to the console for a model that has none yet."""

from collections.abc import Callable
from typing import Final

from sluice.values.rates import Rates

KEEP_S: Final = 60.0
"""How long a price is believed: the console renews them by the day."""
ASK_AGAIN_S: Final = 5.0
"""How long a console that did not answer is left alone."""
_MODELS: Final = 4096


class RateBook:
    """What `rates` knows, remembered. Whoever meets a model first waits for the console to look it up, once."""

    def __init__(
        self,
        rates: Callable[[str, str], Rates | None],
        resolve: Callable[[str, str], bool],
        clock_s: Callable[[], float],
    ) -> None:
        """`resolve` makes `rates` know a model; false where that could not be done now."""
        self._rates, self._resolve, self._clock_s = rates, resolve, clock_s
        self._known: dict[tuple[str, str], tuple[Rates | None, float]] = {}
        self._ask_from_s = 0.0

    def __call__(self, provider: str, model: str) -> Rates | None:
        now_s = self._clock_s()
        known = self._known.get((provider, model))
        if known is not None and now_s < known[1]:
            return known[0]
        found = self._rates(provider, model)
        keep_s = KEEP_S
        if found is None and now_s >= self._ask_from_s:
            if self._resolve(provider, model):
                found = self._rates(provider, model)
            else:
                self._ask_from_s = self._clock_s() + ASK_AGAIN_S
        if found is None:
            keep_s = ASK_AGAIN_S
        if len(self._known) >= _MODELS:  # names of models come from clients
            self._known.clear()
        self._known[provider, model] = (found, now_s + keep_s)
        return found
