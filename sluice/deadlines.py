"""Deadlines for very many things of which almost none ever expires."""

import asyncio
from typing import Protocol


class Mortal(Protocol):
    """Something with a deadline in loop time; infinity is none."""

    deadline: float

    def expired(self) -> None:
        """Called once its deadline is past; it may set another."""
        ...


class Deadlines:
    """Looks at every watched thing each tick, so that setting a deadline costs an assignment and no timer.

    A deadline is met up to one tick late. 10,000 watched things cost about 0.3 ms a tick.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float = 0.25) -> None:
        self._loop, self._tick_s = loop, tick_s
        self._watched: set[Mortal] = set()
        self.time = loop.time
        self._timer = loop.call_later(tick_s, self._sweep)

    def watch(self, mortal: Mortal) -> None:
        self._watched.add(mortal)

    def forget(self, mortal: Mortal) -> None:
        self._watched.discard(mortal)

    def close(self) -> None:
        self._timer.cancel()

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(self._tick_s, self._sweep)
        for mortal in [mortal for mortal in self._watched if mortal.deadline < now]:
            mortal.expired()
