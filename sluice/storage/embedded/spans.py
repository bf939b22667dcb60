"""Which tables tell of a time, pure: whole days and hours inside, minutes at its edges as long as there are any."""

from typing import Final, NamedTuple

from sluice.storage.ports import TooFine
from sluice.values.rollup import Step

MINUTE_MS: Final = 60_000
_HOUR: Final = 60
_DAY: Final = 24

Span = tuple[int, int]
"""From the first up to, not including, the second."""


class Spans(NamedTuple):
    minutes: tuple[Span, ...]
    """To be read from every segment."""
    hours: Span
    """To be read from the segments that are not folded; of those that are, in stats.db: """
    folded_hours: tuple[Span, ...]
    folded_days: Span

    @property
    def edges(self) -> Span:
        """The minutes of all of it."""
        ends = [*self.minutes, (self.hours[0] * _HOUR, self.hours[1] * _HOUR)]
        full = [span for span in ends if span[0] < span[1]]
        return min((span[0] for span in full), default=0), max((span[1] for span in full), default=0)


def spans_of(step: Step, from_ms: int, to_ms: int, kept_since: int) -> Spans:
    """`kept_since`: from this minute on every minute is still there. Raises TooFine."""
    first, last = from_ms // MINUTE_MS, -(-to_ms // MINUTE_MS)
    if step == "minute":
        if first < kept_since:
            raise TooFine(kept_since * MINUTE_MS)
        return Spans(((first, last),), (0, 0), (), (0, 0))
    first_hour, last_hour = -(-first // _HOUR), last // _HOUR
    if first_hour > last_hour and first >= kept_since:  # within one hour
        return Spans(((first, last),), (0, 0), (), (0, 0))
    minutes = []
    if first < first_hour * _HOUR:
        if first >= kept_since:
            minutes.append((first, first_hour * _HOUR))
        else:
            first_hour -= 1
    if last > last_hour * _HOUR:
        if last_hour * _HOUR >= kept_since and last_hour >= first_hour:
            minutes.append((last_hour * _HOUR, last))
        else:
            last_hour += 1
    return _within(step, tuple(minutes), (first_hour, last_hour))


def _within(step: Step, minutes: tuple[Span, ...], hours: Span) -> Spans:
    first, last = hours
    first_day, last_day = -(-first // _DAY), last // _DAY
    if step == "hour" or first_day >= last_day:
        return Spans(minutes, hours, (hours,), (0, 0))
    return Spans(minutes, hours, ((first, first_day * _DAY), (last_day * _DAY, last)), (first_day, last_day))
