"""The requests of one WebSocket: those that run, and those that wait behind them, boundedly."""

import asyncio
from collections import OrderedDict
from typing import Final

from sluice.edge.envelopes import Envelopes
from sluice.edge.session import Create
from sluice.metrics import Metrics

EVENT_BYTES: Final = 2048
"""What a request that waits takes in memory beside its own bytes."""


class Event:
    """A request of a client's on its way; `cancelled` once the client has said that it wants no more of it."""

    __slots__ = ("cancelled", "create", "envelopes", "size", "task")

    def __init__(self, create: Create) -> None:
        self.create = create
        self.envelopes = Envelopes(create.event_id)
        self.size = create.size + EVENT_BYTES
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False


class EventCounts:
    """What is counted of all events of a worker."""

    def __init__(self, metrics: Metrics) -> None:
        self.sockets = metrics.gauge("sluice_websockets", "Universal WebSockets open.")
        self.events = metrics.gauge("sluice_websocket_requests", "Requests of WebSockets that run or wait.")
        self.queued_bytes = metrics.gauge("sluice_websocket_queued_bytes", "Requests of WebSockets that wait.")
        self.begun = metrics.counter("sluice_websocket_requests_total", "Requests that came by WebSocket.")


class Events:
    """Knows which run and which wait. Several may bear the same name: it is the client's."""

    def __init__(self, most_running: int, most_waiting_bytes: int, counts: EventCounts) -> None:
        self._most_running, self._most_waiting_bytes, self._counts = most_running, most_waiting_bytes, counts
        self._running: set[Event] = set()
        self._waiting: OrderedDict[Event, None] = OrderedDict()
        self._waiting_bytes = 0
        self._names: dict[bytes, set[Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._running)  # nothing waits where nothing runs

    def add(self, create: Create) -> Event | None:
        """A new event, waiting if it has to; None where no more may wait."""
        event = Event(create)
        if len(self._running) < self._most_running:
            self._running.add(event)
        elif self._waiting_bytes + event.size <= self._most_waiting_bytes:
            self._waiting[event] = None
            self._queue(event.size)
        else:
            return None
        self._names.setdefault(create.event_id, set()).add(event)
        self._counts.events.add()
        self._counts.begun.add()
        return event

    def runs(self, event: Event) -> bool:
        return event in self._running

    def named(self, event_id: bytes) -> list[Event]:
        """All that bear this name."""
        return list(self._names.get(event_id, ()))

    def withdraw(self, event: Event) -> None:
        """One that waits will not run."""
        del self._waiting[event]
        self._queue(-event.size)
        self._forget(event)

    def withdraw_all(self) -> None:
        for event in list(self._waiting):
            self.withdraw(event)

    def ended(self, event: Event) -> Event | None:
        """One has run; the one that is to run instead of it."""
        self._running.remove(event)
        self._forget(event)
        if not self._waiting:
            return None
        following, _ = self._waiting.popitem(last=False)
        self._queue(-following.size)
        self._running.add(following)
        return following

    def tasks(self) -> list[asyncio.Task[None]]:
        """Those of all that run."""
        return [event.task for event in self._running if event.task is not None]

    def _queue(self, size: int) -> None:
        self._waiting_bytes += size
        self._counts.queued_bytes.add(size)

    def _forget(self, event: Event) -> None:
        self._counts.events.add(-1)
        named = self._names[event.create.event_id]
        named.discard(event)
        if not named:
            del self._names[event.create.event_id]
