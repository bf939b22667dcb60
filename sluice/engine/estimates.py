"""What a call may cost, before it is made."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from sluice.engine.custom_rates import unpriced
from sluice.providers.pricing import custom_cost, list_cost, parse_custom_cost
from sluice.storage.ports import StoreFault
from sluice.values.log import Usage
from sluice.values.rates import Rates
from sluice.values.request import Step

BYTES_A_TOKEN: Final = 4
TOKENS_OUT: Final = 1000
"""Of an answer whose length the request does not bound."""
MOST_TOKENS: Final = 10_000_000
"""A bound past it is none."""
KEEP_S: Final = 60.0
_MODELS: Final = 4096


class _Generation(msgspec.Struct, frozen=True):
    most: int | None = msgspec.field(default=None, name="maxOutputTokens")


class _Asked(msgspec.Struct, frozen=True):
    """The ways in which vendors are told how long an answer may be."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    generation: _Generation | None = msgspec.field(default=None, name="generationConfig")
    n: int | None = None


_decode: Final = msgspec.json.Decoder(_Asked).decode


class Estimates:
    """Prices calls by the published rates, which are remembered for a minute, or by an account's own."""

    def __init__(
        self,
        rates: Callable[[str, str], Rates | None],
        own_rates: Callable[[str, str, str], Rates | None] = unpriced,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`own_rates` are those of the custom providers of an account."""
        self._rates, self._own_rates, self._clock_s = rates, own_rates, clock_s
        self._known: dict[tuple[str, str], tuple[Rates | None, float]] = {}

    def nano(self, step: Step, model: str, account: str) -> int | None:
        """Nano-USD; None where no price is known."""
        body = step.body.whole
        usage = Usage((step.body.length or len(body or b"")) // BYTES_A_TOKEN, _tokens_out(body or b""))
        if (custom := parse_custom_cost(step.options.custom_cost)) is not None:
            return custom_cost(usage, custom)
        rates = self._rates_of(step, model, account) if model else None
        if rates is None:
            return None
        if rates.output is None:  # of embeddings
            usage = msgspec.structs.replace(usage, tokens_out=0)
        return list_cost(usage, rates)

    def _rates_of(self, step: Step, model: str, account: str) -> Rates | None:
        if step.custom is not None:
            with suppress(StoreFault):
                return self._own_rates(account, step.provider, model)
            return None
        now_s, name = self._clock_s(), (step.provider, model)
        known = self._known.get(name)
        if known is not None and now_s < known[1]:
            return known[0]
        try:
            found = self._rates(*name)
        except StoreFault:
            return None
        if len(self._known) >= _MODELS:  # names of models come from clients
            self._known.clear()
        self._known[name] = (found, now_s + KEEP_S)
        return found


def _tokens_out(body: bytes) -> int:
    """The most that may be answered, as the request bounds it."""
    try:
        asked = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return TOKENS_OUT
    within = asked.generation.most if asked.generation else None
    bounds = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens, within)
    given = [bound for bound in bounds if bound is not None and bound >= 0]
    return min(max(given, default=TOKENS_OUT) * max(asked.n or 1, 1), MOST_TOKENS)
