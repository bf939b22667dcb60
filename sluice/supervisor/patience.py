"""When the successor of a dead child starts: pure, time is handed in."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """The supervisor's times, in seconds. Tests shorten them."""

    heartbeat_s: float = 10.0
    """A worker silent for so long is killed."""
    start_s: float = 30.0
    """A child that is not ready after so long is killed."""
    keeper_start_s: float = 1.0
    """How long a starting keeper leaves the processor to those for whom clients wait; less if they are ready before."""
    grace_s: float = 5.0
    """What a draining child gets past the deadline of its requests."""
    hastened_s: float = 2.0
    keeper_drain_s: float = 120.0
    """The keeper reads the spools to their end; what it cannot finish it reads at the next start."""
    deaths: int = 3
    deaths_within_s: float = 10.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0


class Deaths:
    """The recent deaths in one place, and how long to wait for the next start."""

    def __init__(self, patience: Patience, *, at_once: bool) -> None:
        """`at_once`: the first deaths cost no wait at all, as for a worker, on which clients wait."""
        self.too_many = False
        """The last few came so close together that the place is better closed, until one stays up."""
        self._patience = patience
        self._at_once = at_once
        self._times: deque[float] = deque(maxlen=patience.deaths)
        self._delay_s = 0.0

    def another(self, now: float, lived_s: float) -> float:
        """Notes a death and returns when to start again: later and later while none stays up."""
        if lived_s >= self._patience.deaths_within_s:
            self._times.clear()
            self._delay_s = 0.0
            self.too_many = False
        self._times.append(now)
        if len(self._times) == self._patience.deaths and now - self._times[0] <= self._patience.deaths_within_s:
            self.too_many = True
        if self._at_once and not self.too_many:
            return now
        self._delay_s = min(self._delay_s * 2 or self._patience.first_delay_s, self._patience.longest_delay_s)
        return now + self._delay_s
