"""The connections to one origin: a bounded number, the last one used first."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sluice.deadlines import Deadlines
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.upstream.connection import Connection
from sluice.upstream.origin import Origin
from sluice.values.errors import Overloaded, UpstreamFailure, UpstreamTimeout, UpstreamUnreachable
from sluice.values.settings import UpstreamSettings

Dial = Callable[[Origin, Callable[[], Connection]], Awaitable[Connection]]
"""Makes a connection to an origin, by the protocol given."""


class Gauges:
    """What all pools of a client hold, for the operator."""

    def __init__(self, metrics: Metrics) -> None:
        self.connections = metrics.gauge("sluice_upstream_connections", "Connections to providers.")
        self.waiting = metrics.gauge("sluice_upstream_waiting", "Requests that wait for a connection to a provider.")


GRACE_S: Final = 0.1
"""How long a reply that was given up behind its terminal event may take to end and save its connection."""


class Pool:
    """Connections to one origin. At most `upstream.connections` exist; past that callers queue, boundedly."""

    def __init__(
        self,
        origin: Origin,
        settings: UpstreamSettings,
        dial: Dial,
        deadlines: Deadlines,
        outbox: Outbox,
        gauges: Gauges,
    ) -> None:
        self.origin, self._settings, self._make = origin, settings, dial
        self._deadlines, self._outbox, self._gauges = deadlines, outbox, gauges
        self._loop = asyncio.get_running_loop()
        self._free: dict[Connection, None] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._open: set[Connection] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._reserved = self._called = 0

    @property
    def size(self) -> int:
        """How many connections exist or are being made."""
        return len(self._open) + self._reserved

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it."""
        return not self._reserved and not self._waiters and len(self._free) == len(self._open)

    @property
    def _room(self) -> int:
        """How many more exchanges could run: on idle connections, or on new ones."""
        return len(self._free) + self._settings.connections - self.size

    def take(self) -> Connection | None:
        """An idle connection, if one is at hand that nobody has been called from the queue for."""
        return self._free.popitem()[0] if len(self._free) > self._called else None

    async def connect(self) -> Connection:
        """An idle connection or a new one. Raises UpstreamUnreachable, UpstreamTimeout, Overloaded."""
        if self._room <= self._called:
            await self._queue()
        return self._free.popitem()[0] if self._free else await self.fresh()

    async def fresh(self) -> Connection:
        """A new connection."""
        self._reserved += 1
        try:
            with upstream_faults(self.origin.host or "the console"):
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    connection = await self._dial()
        except BaseException:
            self._reserved -= 1
            self._let_in()
            raise
        self._reserved -= 1
        if not connection.closed:
            self._open.add(connection)
            self._gauges.connections.add()
        return connection

    def give_back(self, connection: Connection) -> None:
        """Takes a connection whose exchange is over; one that cannot be used again is closed."""
        if not connection.reusable:
            return self.give_up(connection)
        connection.rest()
        self._free[connection] = None
        if self._waiters:
            self._let_in()

    def give_up(self, connection: Connection) -> None:
        """Closes a connection, whatever it was doing."""
        self._forget(connection)
        connection.abort()

    def recover(self, connection: Connection) -> None:
        """Takes a connection whose reply is complete but for its framing: it has a moment to end and be saved."""
        task = self._loop.create_task(self._drain(connection))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def close(self) -> None:
        for task in self._draining:
            task.cancel()
        for connection in list(self._open):
            self.give_up(connection)

    async def _drain(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(GRACE_S):
                while not (await connection.read()).last:
                    pass
        except (TimeoutError, UpstreamFailure):
            self.give_up(connection)
        else:
            self.give_back(connection)

    def _forget(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._gauges.connections.add(-1)
        self._free.pop(connection, None)
        self._let_in()

    async def _dial(self) -> Connection:
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self._settings, self._deadlines, self._outbox, self._forget))
            return made[-1]

        try:
            opened = await self._make(self.origin, make)
        except BaseException:
            for connection in made:
                connection.forgo()
            raise
        for connection in made:  # one for each address that was tried
            if connection is not opened:
                connection.forgo()
        return opened

    async def _queue(self) -> None:
        if len(self._waiters) >= self._settings.waiters:
            raise Overloaded
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(turn)
        self._gauges.waiting.add()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._called -= 1
                self._let_in()  # it was our turn, but we are leaving
            else:
                with suppress(ValueError):  # called in vain meanwhile
                    self._waiters.remove(turn)  # whoever has left takes no place in the queue
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout("No connection to the provider became free in time") from error
            raise
        finally:
            self._gauges.waiting.add(-1)
        self._called -= 1

    def _let_in(self) -> None:
        """Calls as many from the queue as there is room for: they go before whoever comes now."""
        while self._waiters and self._room > self._called:
            turn = self._waiters.popleft()
            if not turn.done():
                self._called += 1
                turn.set_result(None)


@contextmanager
def upstream_faults(host: str) -> Iterator[None]:
    """Errors of the socket library as ours."""
    try:
        yield
    except TimeoutError as error:  # before OSError, which it is
        raise UpstreamTimeout(f"{host} could not be connected to in time") from error
    except (OSError, UnicodeError) as error:  # the latter for a name that cannot be one
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UpstreamUnreachable(f"{host} cannot be reached: {reason}") from error
