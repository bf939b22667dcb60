"""The port of windows: how many requests there were in one, and how much money."""

from collections.abc import Iterable
from typing import Protocol

from sluice.values.limits import Permit, RateLimit, SpendLimit


class WindowStore(Protocol):
    """Counts shared by all processes. A limit is never exceeded; every call raises StoreFault where it cannot count.

    A bucket is the name of a count, 16 bytes.
    """

    @property
    def length(self) -> int:
        """Bytes that it takes."""
        ...

    @property
    def evicted(self) -> int:
        """Sums that this process took for less than others that needed their room, since it began."""
        ...

    def take(self, bucket: bytes, rate: RateLimit) -> Permit:
        """Counts a request, if there is room. One that is refused is not counted."""
        ...

    def reserve(self, bucket: bytes, limit: SpendLimit, nano: int) -> int | None:
        """Sets an amount aside; returns when that ends, or None where what is spent and set aside is at the limit."""
        ...

    def release(self, bucket: bytes, nano: int, until: int) -> None:
        """Gives back what was set aside until then."""
        ...

    def publish(self, bucket: bytes, window_s: int, spent: Iterable[tuple[int, int]]) -> None:
        """What was spent in the window, all of it, as pairs of the time (microseconds since the epoch) and the amount.

        To say the same twice is harmless.
        """
        ...
