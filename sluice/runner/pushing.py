"""Logpush: what gateways store goes to a store of objects, as gzipped lines, in the order in which it was stored.

An object's name and its end are on disk before it is sent: whatever ends this process, the same logs go under the same
name once more, so that each is in one object, and it does not matter which of two sendings comes last.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sluice.insight.logpush import MOST_BYTES, Sealer, WrongKey, written
from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.storage.ports import LogReader, Objects, Side, StoreFault
from sluice.storage.push_progress import Pushed, PushProgress, PushStore
from sluice.values.log import LogEntry

LOOK_S: Final = 1.0
"""How soon a gateway that begins to push is noticed: what it stores from then on is pushed."""
OBJECT_BYTES: Final = 16 * 1024 * 1024
"""Of lines before they are compressed; so much of a gateway is sent before the next one's turn."""
OBJECT_LOGS: Final = 10_000
RETRY_S: Final = 10.0
_CHUNK: Final = 8
"""Logs at a time, between which is looked whether an object is full."""
_GZIP: Final = 31
_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """One destination of one account."""

    name: str
    account: str
    every_s: float


class Tools(NamedTuple):
    """What a job works with. All of it is its own, but for the reader of logs."""

    pushed: Callable[[str], list[Pushed]]
    """An account's gateways that push."""
    logs: LogReader
    objects: Objects
    store: PushStore


class Pushing:
    """One job at work."""

    def __init__(self, job: Job, tools: Tools, metrics: Metrics) -> None:
        self._job = job
        self._pushed, self._logs, self._objects, self._store = tools
        self._gateways: dict[str, Pushed] = {}
        self._progress: dict[str, PushProgress] = {}
        self._due_s = 0.0
        label = {"job": job.name}
        self._sent = metrics.counter("sluice_logpush_logs_total", "Logs sent by Logpush.", **label)
        self._failures = metrics.counter("sluice_logpush_failures_total", "Objects that could not be sent.", **label)
        self._known = metrics.gauge("sluice_logpush_gateways", "Gateways whose logs are pushed.", **label)

    def run(self, stop: threading.Event) -> None:
        """Until it is told to stop; what is not sent by then is sent after the next start."""
        while not stop.wait(LOOK_S):
            try:
                self.look()
                if time.monotonic() >= self._due_s:
                    self._due_s = time.monotonic() + (self._job.every_s if self.push(stop) else RETRY_S)
            except StoreFault as fault:
                _log.error("logpush cannot go on", extra=fields(job=self._job.name, error=str(fault)))

    def look(self) -> None:
        """Takes in gateways that push by now, from what they store next; forgets those that push no more."""
        self._gateways = {pushed.shard.gateway: pushed for pushed in self._pushed(self._job.account)}
        self._progress = dict(self._store.progress(self._job.name))
        for gateway in list(self._progress.keys() - self._gateways.keys()):
            self._store.forget(self._job.name, gateway)
            del self._progress[gateway]
        for gateway, pushed in self._gateways.items():
            if gateway not in self._progress:
                self._begin(pushed)
        self._known.set(len(self._progress))

    def _begin(self, pushed: Pushed) -> None:
        """One whose logs cannot be read is begun with later, and holds up no other."""
        try:
            end = self._logs.synced(pushed.shard)
        except StoreFault as error:
            _log.error("logs cannot be pushed", extra=fields(job=self._job.name, gateway=pushed.name, error=str(error)))
        else:
            self._note(pushed.shard.gateway, PushProgress(end))

    def push(self, stop: threading.Event) -> bool:
        """Sends all there is, of each gateway in turn an object; false where something could not be sent."""
        waiting = [pushed for gateway, pushed in self._gateways.items() if gateway in self._progress]
        good = True
        while waiting and not stop.is_set():
            behind: list[str] = []
            for pushed in waiting:
                if stop.is_set():
                    break
                try:
                    if self._push_one(pushed):
                        behind.append(pushed.shard.gateway)
                except (StoreFault, WrongKey) as error:
                    good = False
                    self._failures.add(1)
                    about = fields(job=self._job.name, gateway=pushed.name, error=str(error))
                    _log.error("logs not pushed", extra=about)
            if behind:
                self.look()  # it may go on for long: keys change, gateways begin and end
            waiting = [self._gateways[gateway] for gateway in behind if gateway in self._gateways]
        return good

    def _push_one(self, pushed: Pushed) -> bool:
        """Sends the next object of a gateway; whether there may be more. Raises StoreFault and WrongKey."""
        gateway = pushed.shard.gateway
        before = self._progress[gateway]
        batch = _Batch(self._logs, pushed)
        reached = batch.gather_again(*before) if before.name else batch.gather(before.after)
        if batch.count:
            name = before.name or _object_name(pushed.name, batch.first_ms, before.after)
            self._note(gateway, PushProgress(before.after, name, reached))
            self._objects.put(name, batch.packed())
            self._sent.add(batch.count)
        self._note(gateway, PushProgress(reached))
        return batch.full or bool(before.name)

    def _note(self, gateway: str, progress: PushProgress) -> None:
        if self._progress.get(gateway) != progress:
            self._store.note(self._job.name, gateway, progress)
            self._progress[gateway] = progress


class _Batch:
    """The lines of one object."""

    def __init__(self, logs: LogReader, pushed: Pushed) -> None:
        self.count = 0
        self.first_ms = 0
        self._logs, self._pushed = logs, pushed
        self._sealer = Sealer(pushed.public_key) if pushed.public_key else None
        self._bytes = 0
        self._packer = zlib.compressobj(wbits=_GZIP)
        self._packed: list[bytes] = []

    @property
    def full(self) -> bool:
        return self._bytes >= OBJECT_BYTES or self.count >= OBJECT_LOGS

    def gather(self, after: int) -> int:
        """Takes in what was stored past an ingest sequence, until it is full; returns the sequence reached.

        And no more than a power loss leaves in its place: a progress past that would pass other logs over.
        """
        synced = self._logs.synced(self._pushed.shard)
        while not self.full:
            entries, reached = self._logs.tail(self._pushed.shard, after, _CHUNK, synced)
            if reached == after:
                break
            for entry in entries:
                self._add(entry)
            after = reached
        return after

    def gather_again(self, after: int, name: str, until: int) -> int:
        """Takes in what an object had, but for logs that are gone by now; returns its end."""
        while after < until:
            entries, reached = self._logs.tail(self._pushed.shard, after, _CHUNK, until)
            if reached == after:
                break
            for entry in entries:
                self._add(entry)
            after = reached
        return until

    def packed(self) -> bytes:
        return b"".join([*self._packed, self._packer.flush()])

    def _add(self, entry: LogEntry) -> None:
        line = written(entry, self._pushed.name, self._bodies(entry), self._sealer)
        self.first_ms = self.first_ms or entry.created_ms
        self.count += 1
        self._bytes += len(line)
        self._packed.append(self._packer.compress(line))

    def _bodies(self, entry: LogEntry) -> tuple[bytes | None, bytes | None]:
        """Nobody reads what is not to be sent."""
        if self._sealer is None or entry.request_bytes + entry.response_bytes > MOST_BYTES:
            return None, None
        return self._body(entry, "request"), self._body(entry, "response")

    def _body(self, entry: LogEntry, side: Side) -> bytes | None:
        pieces = self._logs.body(self._pushed.shard, entry.id, side)
        return None if pieces is None else b"".join(pieces)


def _object_name(gateway: str, first_ms: int, after: int) -> str:
    """As Logpush lays them out: a folder a day; then the time of the first log, and its place in the gateway."""
    moment = datetime.fromtimestamp(first_ms / 1000, UTC)
    return f"{gateway}/{moment:%Y%m%d}/{moment:%Y%m%dT%H%M%SZ}_{after:012d}.log.gz"
