"""What a gateway allows: requests in a window, and money in one (contract 6)."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgspec

Technique = Literal["fixed", "sliding"]
Metadata = Mapping[str, str | int | float | bool]

BUCKET_BYTES: Final = 16
"""The length of a bucket's name."""


class RateLimit(msgspec.Struct, frozen=True, gc=False):
    """So many requests in so many seconds; both at least 1."""

    limit: int
    interval_s: int
    technique: Technique = "fixed"


class SpendLimit(msgspec.Struct, frozen=True):
    """A rule of contract 6.2: what calls that match it may cost in a window, all together or apart.

    `models`, `providers` and the values of `metadata` are those that it is for, None any. Under `by_model` and
    `by_provider` each model and provider has a sum of its own.
    """

    id: str
    limit_nano: int
    said: str
    """The limit in USD as people wrote it."""
    window_s: int
    technique: Technique
    models: frozenset[str] | None = None
    providers: frozenset[str] | None = None
    by_model: bool = False
    by_provider: bool = False
    metadata: tuple[tuple[str, frozenset[str] | None], ...] = ()
    """By key: the values that it is for, or None where each has a sum of its own."""

    def bucket(self, gateway: bytes, provider: str, models: tuple[str, ...], metadata: Metadata) -> bytes | None:
        """The name of the sum that such a call counts in; None where the rule is not for it.

        Where a call names several models the rule is for each, and sums are parted by the last. Where it names none,
        the rule is for it, lest that be a way around a limit.
        """
        if self.providers is not None and provider not in self.providers:
            return None
        if self.models is not None and models and self.models.isdisjoint(models):
            return None
        parts = [provider if self.by_provider else None, _last(models) if self.by_model else None]
        for key, wanted in self.metadata:
            if key not in metadata or (wanted is not None and text_of(metadata[key]) not in wanted):
                return None
            if wanted is None:
                parts.append(text_of(metadata[key]))
        name = msgspec.json.encode((gateway.hex(), self.id, parts))
        return blake2b(name, digest_size=BUCKET_BYTES).digest()

    def spent_of(self, cells: Iterable[tuple[int, int]], now_us: int) -> int:
        """Of what was spent, as pairs of a cell's last microsecond and its sum, all that is in the window now."""
        window_us = self.window_s * 1_000_000
        begin_us = now_us // window_us * window_us if self.technique == "fixed" else now_us - window_us
        return sum(nano for last_us, nano in cells if last_us >= begin_us)

    def representative(
        self, provider: str, model: str, metadata: Metadata
    ) -> tuple[str, tuple[str, ...], Metadata] | None:
        """A call that counts in the sum that such a one does, where what the rule does not part need not be said.

        None where the rule parts by what is not said. What is said and is not under the rule stays so.
        """
        parted = {key for key, wanted in self.metadata if wanted is None}
        if (self.by_provider and not provider) or (self.by_model and not model) or parted - metadata.keys():
            return None
        meant = {key: min(wanted) for key, wanted in self.metadata if wanted} | dict(metadata)
        name = model or min(self.models or ("",))
        return provider or min(self.providers or ("",)), (name,) if name else (), meant


class Limited(msgspec.Struct, frozen=True):
    """All limits of a gateway that has any."""

    rate: RateLimit | None = None
    spend: tuple[SpendLimit, ...] = ()


class Permit(NamedTuple):
    """What came of one request at a rate limit."""

    allowed: bool
    limit: int
    remaining: int
    """How many more would be allowed at this moment."""
    reset_us: int
    """Until the first permit comes back: to the end of a fixed window, to the oldest one's leaving a sliding one."""


class Reservation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was set aside for a call until its cost is known. It ends by itself; its log settles it before."""

    nano: int
    buckets: tuple[tuple[bytes, int, int], ...]
    """The sums that its cost belongs to, each with its window in seconds and when the reservation ends in it."""


def _last(models: Sequence[str]) -> str:
    return models[-1] if models else ""


def text_of(value: str | int | float | bool) -> str:
    """A value of metadata as rules name it: `true`, `3`, `a`."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
