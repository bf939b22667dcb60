"""Builds the keeper, and tells it when to end: after the last worker."""

import http.client
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from sluice.child import BEAT_S, Child
from sluice.engine.custom_rates import CustomRates
from sluice.journal import fields
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.rate_book import RateBook
from sluice.keeper.retention import Retention
from sluice.keeper.spending import Spending
from sluice.long_slices import take_long_slices
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.open import spare_connections
from sluice.storage.embedded.spend import EmbeddedSpendLedger
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.supervisor.lock import held_spools, is_held
from sluice.values.ids import wall_ms
from sluice.wiring.stores import pack_objects
from sluice.wiring.unix_http import UnixConnection

WORKERS_DRAIN_S: Final = 60.0
"""How long a keeper whose supervisor has died waits for the workers that drain beside it."""
_LOOK_S: Final = 0.05
_SEND_TIMEOUT_S: Final = 0.1
_OPEN_QUESTIONS: Final = 4
"""A connection that closes takes an unread question with it."""
_log = logging.getLogger(__name__)


def run_keeper(child: Child) -> None:
    """Stores logs until the supervisor calls to drain and the spools are read to their end."""
    settings, data = child.settings, child.settings.data
    take_long_slices()
    spare_connections()
    with (
        closing(EmbeddedControlReader.open(data / "control.db")) as control,
        closing(MappedGenerations.open(data / "generations.map")) as generations,
        closing(_log_writer(child)) as writer,
        closing(EmbeddedUsageStore.open(data / "usage.db")) as usage,
        closing(EmbeddedSpendLedger.open(data / "spend.db")) as ledger,
        closing(MappedWindows(data / "limits.map", settings.limits.table_bytes)) as windows,
        closing(PriceQuestions(data / "relay.sock")) as questions,
    ):
        rates = RateBook(control.rates, questions, time.monotonic, control.prices_version)
        own_rates = CustomRates(EmbeddedCustomProviderReader(control.db), generations)
        reader = SpoolReader(data / "spool")
        addresses = Addresses(control, generations)
        accounts = AccountManager(control, generations, writer, usage)
        retention = Retention(control, accounts, writer, child.metrics, wall_ms)
        meter = Meter(rates, own_rates)
        spending = Spending(ledger, windows, child.metrics, meter.listed)
        spending.republish()
        keeper = Keeper(
            settings.logs,
            data,
            reader,
            writer,
            meter,
            addresses,
            accounts,
            retention,
            child.metrics,
            spending,
        )
        child.ready()
        keeper.run(LastWorker(child, data / "spool"))


def _log_writer(child: Child) -> EmbeddedLogWriter:
    rollup_metadata = child.settings.logs.rollup_metadata
    return EmbeddedLogWriter.open(
        child.settings.data / "shards",
        rollup_metadata=rollup_metadata,
        metrics=child.metrics,
        objects=pack_objects(child.settings, make_folder=True),
    )


class LastWorker:
    """Says when to stop: once told to, and once every worker that lived then has let go of its spool.

    At an ordinary stop they are gone before. A dead supervisor calls all children at once, and what workers still
    finish is to be stored too. Workers of a new server, which has a keeper of its own, are not waited for.
    """

    def __init__(self, child: Child, spool: Path) -> None:
        self._child = child
        self._spool = spool
        self._beat_at = 0.0
        self._give_up_at: float | None = None
        self._awaited: set[Path] = set()

    def __call__(self, wait_s: float) -> bool:
        """Waits so long, or until told; true once it is time to read the spools to their end."""
        self._beat()
        if self._give_up_at is None:
            if not self._child.told_to_drain(min(wait_s, BEAT_S)):
                return False
            self._give_up_at = time.monotonic() + WORKERS_DRAIN_S
            self._awaited = held_spools(self._spool)
        elif self._awaited:
            self._child.told_to_hasten(min(wait_s, _LOOK_S))
        self._awaited = {lock for lock in self._awaited if is_held(lock)}
        return not self._awaited or self._child.told_to_hasten() or time.monotonic() > self._give_up_at

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._child.beat()


class PriceQuestions:
    """Questions to the console that nobody waits for: the answers are prices in control.db."""

    def __init__(self, relay: Path) -> None:
        self._relay = relay
        self._open: deque[UnixConnection] = deque()

    def __call__(self, models: Sequence[tuple[str, str]]) -> bool:
        """Sends one; false where there is no console. One that is just starting reads it when it is up."""
        body = msgspec.json.encode({"models": [{"provider": provider, "model": model} for provider, model in models]})
        while len(self._open) >= _OPEN_QUESTIONS:
            self._open.popleft().close()
        self._open.append(connection := UnixConnection(self._relay, _SEND_TIMEOUT_S))
        try:
            connection.request("POST", "/internal/prices/wanted", body, {"content-type": "application/json"})
        except (OSError, http.client.HTTPException) as error:
            _log.warning("the console cannot be asked for prices", extra=fields(error=str(error)))
            return False
        return True

    def close(self) -> None:
        while self._open:
            self._open.popleft().close()
