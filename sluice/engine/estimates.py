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
MOST_TOKENS: Final = 2_000_000
"""What no model reads or writes in a call, whatever a request says or weighs: pictures have few tokens to the byte."""
KEEP_S: Final = 60.0
LOOK_AGAIN_S: Final = 1.0
"""For a price that is not known: the keeper has it looked up when the first log of its model comes."""
_MODELS: Final = 4096
_LONGEST_COUNT: Final = 20


class _Asked(msgspec.Struct, frozen=True):
    """The ways in which vendors are told how long an answer may be, and how many there are to be."""

    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    max_new_tokens: object = None
    max_tokens_to_sample: object = None
    max_gen_len: object = None
    n: object = None
    google: object = msgspec.field(default=None, name="generationConfig")
    google_snake: object = msgspec.field(default=None, name="generation_config")
    converse: object = msgspec.field(default=None, name="inferenceConfig")
    titan: object = msgspec.field(default=None, name="textGenerationConfig")


_WITHIN: Final = ("maxOutputTokens", "max_output_tokens", "maxTokens", "maxTokenCount")
_ANSWERS: Final = ("candidateCount", "candidate_count")
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
        """Nano-USD; None where no price is known. A price that the client names counts where it is the higher one."""
        body = step.body.whole
        tokens_in = min((step.body.length or len(body or b"")) // BYTES_A_TOKEN, MOST_TOKENS)
        usage = Usage(tokens_in, _tokens_out(body or b""))
        listed = self._listed(step, model, account, usage)
        if (custom := parse_custom_cost(step.options.custom_cost)) is not None:
            return max(custom_cost(usage, custom) or 0, listed or 0)
        return listed

    def _listed(self, step: Step, model: str, account: str, usage: Usage) -> int | None:
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
        self._known[name] = (found, now_s + (LOOK_AGAIN_S if found is None else KEEP_S))
        return found


def _tokens_out(body: bytes) -> int:
    """The most that may be answered, as the request bounds it."""
    try:
        asked = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return TOKENS_OUT
    google = [asked.google, asked.google_snake]
    bounds = [
        *(asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens),
        *(asked.max_new_tokens, asked.max_tokens_to_sample, asked.max_gen_len),
        *_found([*google, asked.converse, asked.titan], _WITHIN),
    ]
    answers = [asked.n, *_found(google, _ANSWERS)]
    most = max(map(_count, bounds)) or TOKENS_OUT
    return min(most * max(1, *map(_count, answers)), MOST_TOKENS)


def _found(parts: list[object], names: tuple[str, ...]) -> list[object]:
    return [part[name] for part in parts if isinstance(part, dict) for name in names if name in part]


def _count(given: object) -> int:
    """A number as vendors read it, some also out of a text or a float; 0 where it is none, or bounds nothing."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < _LONGEST_COUNT:
        return min(int(given), MOST_TOKENS)
    if isinstance(given, int | float) and given >= 1:
        return int(min(given, MOST_TOKENS))
    return 0
