"""What calls cost, into the sums of their gateway's spend limits: each call once."""

import logging
from collections.abc import Callable
from typing import Final

from sluice.journal import fields
from sluice.keeper.intake import Frame, Work
from sluice.metrics import Metrics
from sluice.spool.frames import LogFrame
from sluice.storage.embedded.spend import EmbeddedSpendLedger, Spent
from sluice.storage.ports import StoreFault
from sluice.storage.windows import WindowStore
from sluice.values.exchange import Exchange
from sluice.values.limits import Reservation
from sluice.values.log import NewLog

_log = logging.getLogger(__name__)

Metered = Callable[[list[tuple[Work, Frame]]], list[NewLog]]
_TABLE: Final = "Bytes of the table in which requests and money are counted."


class Spending:
    """Settles reservations: first in the ledger, with the place in the spool, then in the table that workers look at.

    A replay finds in the ledger what it has settled. The table is told sums, which does no harm twice; a reservation
    that is not given back there, for the keeper died in between, ends by itself.
    """

    def __init__(self, ledger: EmbeddedSpendLedger, windows: WindowStore, metrics: Metrics) -> None:
        self._ledger, self._windows = ledger, windows
        self._faults = metrics.counter(
            "sluice_limit_faults_total",
            "Requests and calls that no limit counted, for the table of windows could not be used.",
            kind="settlement",
        )
        self._table = metrics.gauge("sluice_limit_table_bytes", _TABLE)

    def republish(self) -> None:
        """Tells the table all that the ledger knows, as a keeper does when it begins."""
        self._publish(self._ledger.buckets())

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
            spent = [_spent(frame.exchange, log) for (_, frame), log in zip(owed, logs, strict=True)]
            reached = {work.spool: work.span[1] for work, _ in owed}
            self._ledger.settle(gateway_id, [one for some in spent for one in some], reached)
            self._tell([frame.exchange.reservation for _, frame in owed if frame.exchange.reservation])
        return [
            (work, frame) for work, frame in frames if not (isinstance(frame, LogFrame) and frame.exchange.unlogged)
        ]

    def sync(self) -> None:
        """What was settled survives a power loss. Raises StoreFault."""
        self._ledger.sync()

    def _tell(self, reservations: list[Reservation]) -> None:
        self._publish({bucket: window_s for one in reservations for bucket, window_s, _ in one.buckets})
        try:
            for one in reservations:
                for bucket, _, until in one.buckets:
                    self._windows.release(bucket, one.nano, until)
        except StoreFault as error:
            self._faulty(error)

    def _publish(self, buckets: dict[bytes, int]) -> None:
        try:
            for bucket, window_s in buckets.items():
                self._windows.publish(bucket, window_s, self._ledger.spent(bucket))
        except StoreFault as error:
            self._faulty(error)
        self._table.set(self._windows.length)

    def _faulty(self, error: StoreFault) -> None:
        self._faults.add()
        _log.error("cost not told to workers", extra=fields(error=str(error)))


def _spent(exchange: Exchange, log: NewLog) -> list[Spent]:
    """What a call cost, in each of its sums: where nothing of it was logged, what was set aside for it."""
    reservation, nano = exchange.reservation, log.entry.cost_nano or 0
    assert reservation is not None
    if exchange.unlogged:
        nano = reservation.nano if _was_made(exchange) else 0
    ended_ms = exchange.started_ms + exchange.duration_us // 1000
    return [Spent(bucket, window_s, ended_ms, nano) for bucket, window_s, _ in reservation.buckets if nano]


def _was_made(exchange: Exchange) -> bool:
    """Whether a provider has, or may have, done what was asked."""
    return exchange.ending != "refused" and exchange.status < 400 and not exchange.cached
