"""Keeps gateways within their limits of logs (contract 7.4): the oldest go, between batches."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from sluice.journal import fields
from sluice.keeper.account_manager import AccountManager
from sluice.metrics import Metrics
from sluice.storage.ports import ControlReader, Keep, LogWriter, StoreFault
from sluice.values.entitlement import Quota, least
from sluice.values.log import ShardKey

_log = logging.getLogger(__name__)

TURN_S: Final = 0.05
"""How long storing waits for it at once."""
RETRY_S: Final = 10.0
AGED_S: Final = 600.0
"""How often it is looked for logs that are too old where none come any more."""
_DAY_MS: Final = 24 * 3_600_000


class Retention:
    def __init__(
        self,
        control: ControlReader,
        accounts: AccountManager,
        writer: LogWriter,
        metrics: Metrics,
        clock_ms: Callable[[], int],
    ) -> None:
        self._control, self._accounts, self._writer, self._clock_ms = control, accounts, writer, clock_ms
        self._removed = metrics.counter("sluice_logs_removed_total", "Logs removed because a limit was reached.")
        self._shards: Sequence[ShardKey] = ()
        self._enforced: dict[ShardKey, Quota] = {}
        """By which quota each was trimmed last."""
        self._due: dict[ShardKey, None] = {}
        """Shards to be trimmed, the longest waiting first."""
        self._failed: dict[ShardKey, None] = {}
        self._retry_at = self._aged_at = 0.0

    def grown(self, shard: ShardKey) -> None:
        """Logs were stored in it."""
        if shard in self._enforced:
            self._due[shard] = None

    def enforce(self, now_s: float) -> None:
        """Trims what has grown, got another limit or grown old, as far as one turn goes. Raises StoreFault."""
        shards = self._control.retained_shards()
        if shards is not self._shards:
            self._look_for_changes(shards)
        if now_s >= self._aged_at:
            self._aged_at = now_s + AGED_S
            self._due |= {shard: None for shard, quota in self._enforced.items() if quota.days is not None}
        if self._failed and now_s >= self._retry_at:
            self._due |= self._failed
            self._failed = {}
        until_s = time.monotonic() + TURN_S
        for shard in list(self._due):
            self._trim(shard, now_s)
            if time.monotonic() > until_s:
                break

    def _look_for_changes(self, shards: Sequence[ShardKey]) -> None:
        """Raises StoreFault, and all is to be looked for again."""
        quotas = {shard: self._accounts.quota(shard) for shard in shards}
        gone = [shard for shard in self._enforced if shard not in quotas]
        changed = [shard for shard, quota in quotas.items() if self._enforced.get(shard) != quota]
        self._due |= dict.fromkeys([*gone, *changed])
        self._shards = shards

    def _trim(self, shard: ShardKey, now_s: float) -> None:
        """One that fails waits a while, and holds up no other."""
        del self._due[shard]
        try:
            quota = self._accounts.quota(shard)
            removed = self._writer.trim(shard, self._keep(shard, quota, now_s))
        except StoreFault as fault:
            self._failed[shard] = None
            self._retry_at = now_s + RETRY_S
            _log.error("old logs not removed", extra=fields(gateway=shard.gateway, error=str(fault)))
            return
        if removed:
            self._removed.add(removed)
            self._accounts.changed(shard)
        if quota.deletes_oldest or quota.days is not None:
            self._enforced[shard] = quota
        else:
            self._enforced.pop(shard, None)

    def _keep(self, shard: ShardKey, quota: Quota, now_s: float) -> Keep:
        since_ms = None if quota.days is None else self._clock_ms() - quota.days * _DAY_MS
        if not quota.deletes_oldest:
            return Keep(since_ms=since_ms)
        return Keep(least((quota.rows, self._accounts.room(shard, quota, now_s))), quota.bytes, since_ms)
