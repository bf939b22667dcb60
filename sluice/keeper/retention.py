"""Keeps gateways within their limits of logs (contract 7.4): the oldest go, in the background of storing."""

import logging
import time
from collections.abc import Mapping
from typing import Final

from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.storage.ports import ControlReader, Keep, LogWriter, StoreFault
from sluice.values.log import ShardKey

_log = logging.getLogger(__name__)

TURN_S: Final = 0.05
"""How long storing waits for it at once."""


class Retention:
    def __init__(self, control: ControlReader, writer: LogWriter, metrics: Metrics) -> None:
        self._control, self._writer = control, writer
        self._removed = metrics.counter("sluice_logs_removed_total", "Logs removed because a limit was reached.")
        self._limits: Mapping[ShardKey, int] = {}
        self._due: dict[ShardKey, None] = {}
        """Shards to be looked at, the longest waiting first."""

    def grown(self, shard: ShardKey) -> None:
        """Logs were stored in it."""
        if shard in self._limits:
            self._due[shard] = None

    def enforce(self) -> None:
        """Trims what has grown and what has got another limit, as far as one turn goes. Raises StoreFault."""
        limits, before = self._control.log_limits(), self._limits
        if limits is not before:
            changed = (shard for shard in limits.keys() | before.keys() if limits.get(shard) != before.get(shard))
            self._due.update(dict.fromkeys(changed))
            self._limits = limits
        until_s = time.monotonic() + TURN_S
        for shard in list(self._due):
            self._trim(shard)
            if time.monotonic() > until_s:
                break

    def _trim(self, shard: ShardKey) -> None:
        """One that fails comes again behind the others."""
        del self._due[shard]
        try:
            self._removed.add(self._writer.trim(shard, Keep(rows=self._limits.get(shard))))
        except StoreFault as fault:
            self._due[shard] = None
            _log.error("old logs not removed", extra=fields(gateway=shard.gateway, error=str(fault)))
