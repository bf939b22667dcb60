"""Finds the exchanges that go on for long: they are to be in the log even if their worker dies first."""

import time
from typing import Final, Protocol

LONG_S: Final = 5.0
"""What is shorter leaves no log when its worker dies: its client saw no end."""
AT_ONCE: Final = 250
"""Announced in one look, about 5 ms; the others have their turn a tick later."""


class Lasting(Protocol):
    """An exchange on its way."""

    started_s: float

    def announce(self) -> None: ...


class Watch:
    """All that run and have not been announced. `Deadlines` has it look each tick, so no request sets a timer."""

    deadline: float = 0.0

    def __init__(self) -> None:
        self.young: set[Lasting] = set()

    def expired(self) -> None:
        long_ago_s = time.monotonic() - LONG_S
        grown = [lasting for lasting in self.young if lasting.started_s < long_ago_s]
        for lasting in grown[:AT_ONCE]:
            lasting.announce()
