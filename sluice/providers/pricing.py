"""What a call costs. Integers of nano-USD, half a unit rounded up, once, on the sum."""

from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from sluice.values.log import LogEntry, Usage
from sluice.values.rates import Rates

MAX_NANO: Final = 2**63 - 1
"""What an integer column of a store holds: 9.2 billion USD."""
_PER_RATE: Final = 1_000_000
_REQUESTS: Final = 1_000
"""The fee of a thousand calls, in what the other rates are, is that of a million."""
_MS_PER_HOUR: Final = 3_600_000
_NANO: Final = Decimal(10**9)
_NOT_COUNTED: Final = Usage()
_NO_PART: Final[tuple[int | None, int | None]] = (None, None)


def list_cost(usage: Usage, rates: Rates) -> int | None:
    """The price in nano-USD by the list; None where nothing is counted or priced, or what is counted is not priced.

    Every part of the input and of the output (cached, written to the cache, audio, image; reasoning, audio, image)
    is priced apart where the list has a price for it, else as the rest of its side. Cached audio is priced once: as
    that, else as what is cached, else as audio. A side that the vendor does not count adds nothing: embeddings have
    no output.
    """
    by_tokens, apart = _by_tokens(usage, rates), _apart(usage, rates)
    if by_tokens is None and apart is None:
        return None
    fee = (rates.requests or 0) * _REQUESTS
    return _within_store(((by_tokens or 0) + (apart or 0) + fee + _PER_RATE // 2) // _PER_RATE)


def is_priced_by_model(entry: LogEntry) -> bool:
    """Whether the prices of its model say what a log costs, as soon as they are known."""
    counted = entry.usage != _NOT_COUNTED and entry.model != ""
    return counted and not entry.cached and not entry.custom_cost


def _by_tokens(usage: Usage, rates: Rates) -> int | None:
    uncounted = usage.tokens_in is None and usage.tokens_out is None
    if uncounted or (rates.input is None and rates.output is None):
        return None
    cached_audio = _NO_PART
    if usage.cached_audio_in:
        usage, cached_audio = _without_cached_audio(usage, rates)
    read = _side(
        usage.tokens_in or 0,
        rates.input,
        (
            cached_audio,
            (usage.cached_in, rates.cached_input),
            (usage.cache_write_1h, rates.cache_write_1h),
            (_short_lived(usage, rates), rates.cache_write),
            (usage.audio_in, rates.audio_input),
            (usage.image_in, rates.image_input),
        ),
    )
    wrote = _side(
        usage.tokens_out or 0,
        rates.output,
        (
            (usage.reasoning, rates.reasoning),
            (usage.audio_out, rates.audio_output),
            (usage.image_out, rates.image_output),
        ),
    )
    return None if read is None or wrote is None else read + wrote


def _without_cached_audio(usage: Usage, rates: Rates) -> tuple[Usage, tuple[int | None, int | None]]:
    """The usage without audio from the cache, and what that is and costs: it is both, and paid for once."""
    rate = rates.cached_input if rates.cached_audio_input is None else rates.cached_audio_input
    if rate is None:
        return usage, _NO_PART
    cached, audio = usage.cached_in or 0, usage.audio_in or 0
    both = min(usage.cached_audio_in or 0, cached, audio)
    return msgspec.structs.replace(usage, cached_in=cached - both, audio_in=audio - both), (both, rate)


def _short_lived(usage: Usage, rates: Rates) -> int | None:
    """Written to the cache, but for what is kept for an hour where that has a price of its own."""
    if not usage.cache_write or rates.cache_write_1h is None:
        return usage.cache_write
    return max(0, usage.cache_write - (usage.cache_write_1h or 0))


def _apart(usage: Usage, rates: Rates) -> int | None:
    """What is sold by the character or the hour; None where that is not counted or not priced."""
    spoken = _times(usage.characters_in, rates.characters)
    heard = _times(usage.audio_in_ms, rates.audio_hour)
    if spoken is None and heard is None:
        return None
    return (spoken or 0) + ((heard or 0) * _PER_RATE + _MS_PER_HOUR // 2) // _MS_PER_HOUR


def _times(count: int | None, rate: int | None) -> int | None:
    return None if count is None or rate is None else count * rate


def _side(tokens: int, rate: int | None, parts: tuple[tuple[int | None, int | None], ...]) -> int | None:
    """Tokens times rates. Parts that claim more than the whole are cut, so that no token is paid twice."""
    total = 0
    left = tokens
    for count, part_rate in parts:
        if count and part_rate is not None:
            part = min(count, left)
            left -= part
            total += part * part_rate
    if not left:
        return total
    return None if rate is None else total + left * rate


class CustomCost(msgspec.Struct, frozen=True, gc=False):
    """A client's own prices (contract 7.5), in USD a token, or in USD for the whole call."""

    per_token_in: Decimal | None = None
    per_token_out: Decimal | None = None
    per_cache_read_token: Decimal | None = None
    per_cache_write_token: Decimal | None = None
    total_cost: Decimal | None = None


_CUSTOM_COST: Final = msgspec.json.Decoder(CustomCost)
_MAX_USD: Final = Decimal(10**9)
_ZERO: Final = Decimal(0)


def parse_custom_cost(raw: bytes) -> CustomCost | None:
    """The value of cf-aig-custom-cost; None where it is absent, malformed, negative or prices nothing."""
    if not raw:
        return None
    try:
        cost = _CUSTOM_COST.decode(raw)
    except (ValueError, RecursionError, InvalidOperation):
        return None
    given = [value for field in CustomCost.__struct_fields__ if (value := getattr(cost, field)) is not None]
    if not given or not all(value.is_finite() and 0 <= value <= _MAX_USD for value in given):
        return None
    if cost.total_cost is None and cost.per_token_in is None and cost.per_token_out is None:
        return None
    return cost


def custom_cost(usage: Usage, cost: CustomCost) -> int | None:
    """The price in nano-USD by the client's own rates; `total_cost` needs no usage and wins over them."""
    if cost.total_cost is not None:
        return _nano(cost.total_cost)
    if usage.tokens_in is None and usage.tokens_out is None:
        return None
    tokens_in = usage.tokens_in or 0
    cached = min(usage.cached_in or 0, tokens_in)
    written = min(usage.cache_write or 0, tokens_in - cached)
    per_in = cost.per_token_in or _ZERO
    per_read = per_in if cost.per_cache_read_token is None else cost.per_cache_read_token
    per_write = per_in if cost.per_cache_write_token is None else cost.per_cache_write_token
    return _nano(
        (tokens_in - cached - written) * per_in
        + cached * per_read
        + written * per_write
        + (usage.tokens_out or 0) * (cost.per_token_out or _ZERO)
    )


def _nano(usd: Decimal) -> int | None:
    return _within_store(int(usd * _NANO + Decimal("0.5")))


def _within_store(nano: int) -> int | None:
    return nano if nano <= MAX_NANO else None
