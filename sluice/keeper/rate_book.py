"""Prices at hand while logs are stored, and how long a log waits for one that is not there yet."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from sluice.values.rates import Rates

KEEP_S: Final = 60.0
"""How long a price is believed: the console renews them by the day."""
WAIT_S: Final = 2.0
"""How long the logs of a gateway wait for a model's price, once: a second is what the price list takes to load."""
IMPATIENT_S: Final = 10.0
"""After a price that did not come nobody waits for any for so long."""
ASK_EVERY_S: Final = 0.02
"""All models met meanwhile go into one question."""
_MODELS: Final = 4096
_ASK_AT_ONCE: Final = 1000


class PricePending(Exception):
    """The console looks this model up: try again in a moment."""


class RateBook:
    """What `rates` knows, remembered. `ask` has models looked up and does not wait for that."""

    def __init__(
        self,
        rates: Callable[[str, str], Rates | None],
        ask: Callable[[Sequence[tuple[str, str]]], bool],
        clock_s: Callable[[], float],
        edition: Callable[[], str] = str,
    ) -> None:
        """`ask` is false where nobody can be asked now; `edition` names the list that the rates are of."""
        self._rates, self._ask, self._clock_s, self._edition = rates, ask, clock_s, edition
        self._known: dict[tuple[str, str], tuple[Rates | None, float]] = {}
        self._awaited: dict[tuple[str, str], float] = {}
        """Until when."""
        self._unasked: dict[tuple[str, str], None] = {}
        self._ask_from_s = self._wait_from_s = 0.0

    def __call__(self, provider: str, model: str) -> Rates | None:
        """The price; None where there is none, or none was found in time. Raises PricePending until then."""
        now_s, name = self._clock_s(), (provider, model)
        known = self._known.get(name)
        if known is not None and now_s < known[1]:
            return known[0]
        found = self._rates(provider, model)
        if found is None and self._is_worth_waiting(name, now_s):
            raise PricePending
        if found is not None:
            found = msgspec.structs.replace(found, edition=self._edition())
        self._awaited.pop(name, None)
        if len(self._known) >= _MODELS:  # names of models come from clients
            self._known.clear()
        self._known[name] = (found, now_s + (IMPATIENT_S if found is None else KEEP_S))
        return found

    def _is_worth_waiting(self, name: tuple[str, str], now_s: float) -> bool:
        if name not in self._awaited:
            self._unasked[name] = None
        if self._unasked and (now_s >= self._ask_from_s or len(self._unasked) >= _ASK_AT_ONCE):
            self._ask_from_s = now_s + ASK_EVERY_S
            if not self._ask(list(self._unasked)):
                self._give_up(now_s)
            self._unasked.clear()
        if now_s < self._wait_from_s:
            return False
        if len(self._awaited) >= _MODELS:
            self._awaited.clear()
        if now_s < self._awaited.setdefault(name, now_s + WAIT_S):
            return True
        self._give_up(now_s)
        return False

    def _give_up(self, now_s: float) -> None:
        self._wait_from_s = now_s + IMPATIENT_S
        self._awaited.clear()
