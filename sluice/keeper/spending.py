"""What calls cost, into the sums of their gateway's spend limits: each call once."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from sluice.journal import fields
from sluice.keeper.intake import Frame, Work
from sluice.metrics import Metrics
from sluice.providers.endpoints import is_billed, is_free, model_in_path
from sluice.spool.frames import LogFrame
from sluice.storage.embedded.spend import EmbeddedSpendLedger, Spent
from sluice.storage.ports import StoreFault
from sluice.storage.windows import WindowStore
from sluice.values.exchange import Exchange
from sluice.values.ids import wall_ms
from sluice.values.limits import Reservation
from sluice.values.log import LogEntry, NewLog, Usage

_log = logging.getLogger(__name__)

Listed = Callable[[str, LogEntry], int | None]
"""What the usage of an account's log would cost by the published rates, in nano-USD."""
Metered = Callable[[list[tuple[Work, Frame]]], list[NewLog]]
_UNTOLD: Final = Usage()
_EVENT_BYTES: Final = 200
"""Of a stream, for a token."""
_CLIENT_LEFT: Final = 499
"""Before there was a reply."""
_TABLE: Final = "Bytes of the table in which requests and money are counted."


def unlisted(account: str, entry: LogEntry) -> int | None:
    """For want of rates."""
    return None


class Spending:
    """Settles reservations: first in the ledger, with the place in the spool, then in the table that workers look at.

    A replay finds in the ledger what it has settled. The table is told sums, which does no harm twice; a reservation
    that is not given back there, for the keeper died in between, ends by itself.
    """

    def __init__(
        self, ledger: EmbeddedSpendLedger, windows: WindowStore, metrics: Metrics, listed: Listed = unlisted
    ) -> None:
        self._ledger, self._windows, self._listed = ledger, windows, listed
        self._faults = metrics.counter(
            "sluice_limit_faults_total",
            "Requests and calls that no limit counted, for the table of windows could not be used.",
            kind="settlement",
        )
        self._table = metrics.gauge("sluice_limit_table_bytes", _TABLE)
        self._length = metrics.gauge("sluice_spend_ledger_bytes", "Bytes of spend.db, which has the sums of money.")

    def republish(self) -> None:
        """Tells the table what the ledger knows, as a keeper does when it begins: the largest sums until it is full."""
        evicted = self._windows.evicted
        for bucket, window_s in self._ledger.buckets().items():
            if not self._publish({bucket: window_s}) or self._windows.evicted != evicted:
                return

    def settled(
        self, gateway_id: bytes, frames: list[tuple[Work, Frame]], metered: Metered
    ) -> list[tuple[Work, Frame]]:
        """Settles what was set aside for these; returns those that are logs.

        Raises StoreFault, with nothing settled, and what `metered` raises.
        """
        owed = [(work, frame) for work, frame in frames if isinstance(frame, LogFrame) and frame.exchange.reservation]
        if not owed:
            return frames
        places = self._ledger.places(gateway_id)
        owed = [(work, frame) for work, frame in owed if not work.span[1] <= places.get(work.spool, work.span[0])]
        if owed:
            logs = metered([*owed])
            spent = [self._spent(frame.exchange, log.entry) for (_, frame), log in zip(owed, logs, strict=True)]
            reached = {work.spool: work.span[1] for work, _ in owed}
            self._ledger.settle(gateway_id, [one for some in spent for one in some], reached)
            self._tell([frame.exchange.reservation for _, frame in owed if frame.exchange.reservation])
        return [
            (work, frame) for work, frame in frames if not (isinstance(frame, LogFrame) and frame.exchange.unlogged)
        ]

    def sync(self) -> None:
        """What was settled survives a power loss. Raises StoreFault."""
        self._ledger.sync()
        self._length.set(self._ledger.length)

    def _tell(self, reservations: list[Reservation]) -> None:
        self._publish({bucket: window_s for one in reservations for bucket, window_s, _ in one.buckets})
        try:
            for one in reservations:
                for bucket, _, until in one.buckets:
                    self._windows.release(bucket, one.nano, until)
        except StoreFault as error:
            self._faulty(error)

    def _publish(self, buckets: dict[bytes, int]) -> bool:
        """Whether the table could be told."""
        try:
            for bucket, window_s in buckets.items():
                self._windows.publish(bucket, window_s, self._ledger.spent(bucket))
        except StoreFault as error:
            self._faulty(error)
            return False
        self._table.set(self._windows.length)
        return True

    def _spent(self, exchange: Exchange, entry: LogEntry) -> list[Spent]:
        """What a call cost, in each of its sums."""
        reservation = exchange.reservation
        assert reservation is not None
        nano = 0 if exchange.unlogged else entry.cost_nano or 0
        nano = max([nano, *(self._listed(exchange.account, other) or 0 for other in _as_others(exchange, entry))])
        if _is_unsure(exchange, entry) and _may_cost(exchange):
            nano = max(nano, reservation.nano)
        nano += exchange.given_up * reservation.nano
        ended_ms = min(exchange.started_ms + exchange.duration_us // 1000, wall_ms())  # a clock may have been ahead
        return [Spent(bucket, window_s, ended_ms, nano) for bucket, window_s, _ in reservation.buckets if nano]

    def _faulty(self, error: StoreFault) -> None:
        self._faults.add()
        _log.error("cost not told to workers", extra=fields(error=str(error)))


def _as_others(exchange: Exchange, entry: LogEntry) -> Iterator[LogEntry]:
    """The same call as it would be if it was not for what a client says to make it cheaper."""
    if not exchange.unlogged:
        yield entry
        in_path = model_in_path(exchange.provider, exchange.path)
        if in_path and in_path != entry.model:  # some vendors go by the one, some by the other
            yield msgspec.structs.replace(entry, model=in_path)
    if (exchange.unlogged or entry.usage == _UNTOLD) and _may_cost(exchange):
        streamed = exchange.response_content_type[:17].lower() == b"text/event-stream"
        told = Usage(0, exchange.response_bytes // _EVENT_BYTES if streamed else 0)
        yield msgspec.structs.replace(entry, usage=told)  # of one without a log its price is looked up at least


def _is_unsure(exchange: Exchange, entry: LogEntry) -> bool:
    """Whether the log does not tell all that the call cost: a stream may end before, or without, its usage."""
    return exchange.unlogged or entry.incomplete or entry.usage == _UNTOLD or entry.cost_nano is None


def _may_cost(exchange: Exchange) -> bool:
    """Whether a provider has, or may have, done what was asked, and asks money for that."""
    if exchange.status == _CLIENT_LEFT:
        was_made = exchange.attempts > 0 and not exchange.idle
    else:
        was_made = exchange.ending != "refused" and exchange.status < 400
    billed = is_billed(exchange.method, exchange.path) and not is_free(exchange.path)
    return was_made and not exchange.cached and (billed or exchange.request_type == "realtime")
