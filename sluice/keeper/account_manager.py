"""Plans and totals: may this gateway keep these logs? (design.md 5, contract 7.4)

There is one keeper, so no limit is ever passed, however many workers there are. No request waits for any of this.
"""

from typing import Final, NamedTuple

from sluice.storage.ports import ControlReader, GatewayUsage, Generations, LogWriter, StoreFault, UsageStore
from sluice.values.entitlement import UNLIMITED, Quota
from sluice.values.log import ShardKey

REPORT_ROWS: Final = 1_000
"""So many logs are reported at once ..."""
REPORT_S: Final = 2.0
"""... and fewer after so long."""
RECOUNT_S: Final = 60.0
_KNOWN: Final = 10_000


class _Known(NamedTuple):
    generation: int
    quota: Quota


class _Account:
    """The rows of an account's gateways as they were counted last."""

    def __init__(self, generation: int, until_s: float, rows: dict[str, int]) -> None:
        self.generation, self.until_s, self.rows = generation, until_s, rows


class AccountManager:
    """Asked before logs are stored, told after. The store's own counts decide; what is reported is for people."""

    def __init__(self, control: ControlReader, generations: Generations, writer: LogWriter, usage: UsageStore) -> None:
        self._control, self._generations, self._writer, self._usage = control, generations, writer, usage
        self._known: dict[ShardKey, _Known] = {}
        self._accounts: dict[str, _Account] = {}
        self._refused: dict[ShardKey, int] = {}
        self._touched: set[ShardKey] = set()
        self._unreported = 0
        self._report_at = 0.0

    def admitted(self, shard: ShardKey, wanted: int, now_s: float) -> int:
        """How many of so many new logs may be stored; all, where older ones make room. Raises StoreFault."""
        quota = self.quota(shard)
        if quota.deletes_oldest or quota == UNLIMITED:
            return wanted
        if quota.bytes is not None and self._writer.bytes(shard) >= quota.bytes:
            return self._refuse(shard, wanted, 0)
        room = wanted
        if quota.rows is not None:
            room = min(room, quota.rows - self._writer.rows(shard))
        if quota.account_rows is not None:
            room = min(room, quota.account_rows - self._account_rows(shard, now_s))
        return self._refuse(shard, wanted, max(room, 0))

    def room(self, shard: ShardKey, quota: Quota, now_s: float) -> int | None:
        """How many logs the account's other gateways leave to this one. Raises StoreFault."""
        if quota.account_rows is None:
            return None
        return max(quota.account_rows - self._account_rows(shard, now_s) + self._writer.rows(shard), 0)

    def stored(self, shard: ShardKey, rows: int) -> None:
        """So many were new."""
        self._unreported += rows
        self.changed(shard)

    def changed(self, shard: ShardKey) -> None:
        """It has more or fewer logs than before."""
        self._touched.add(shard)
        account = self._accounts.get(shard.account)
        if account is not None:
            account.rows[shard.gateway] = self._writer.rows(shard)

    def report_due(self, now_s: float) -> None:
        """Reports where it is time. Raises StoreFault; nothing is forgotten."""
        if self._touched and (self._unreported >= REPORT_ROWS or now_s >= self._report_at):
            self._report_at = now_s + REPORT_S
            self.report()

    def report(self) -> None:
        """Tells the usage store what the gateways have now, and how much of theirs was refused. Raises StoreFault."""
        self._unreported = 0
        touched, self._touched = self._touched, set()
        refused, self._refused = self._refused, {}
        try:
            self._usage.report([self._used(shard, refused.get(shard, 0)) for shard in touched])
        except StoreFault:
            self._touched |= touched
            self._refused = refused
            raise

    def quota(self, shard: ShardKey) -> Quota:
        """What the shard's gateway may keep. One that is not known, as after a restored backup, keeps everything."""
        generation = self._generations.of(shard.account)
        known = self._known.get(shard)
        if known is None or known.generation != generation:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            quota = self._control.quota(bytes.fromhex(shard.gateway)) or UNLIMITED
            known = self._known[shard] = _Known(generation, quota)
        return known.quota

    def dropped(self, shard: ShardKey) -> None:
        """The gateway is deleted."""
        self._known.pop(shard, None)
        self._touched.discard(shard)
        self._refused.pop(shard, None)
        self._accounts.pop(shard.account, None)
        self._usage.forget(shard)

    def _used(self, shard: ShardKey, refused: int) -> GatewayUsage:
        return GatewayUsage(shard, self._writer.rows(shard), self._writer.bytes(shard), refused)

    def _refuse(self, shard: ShardKey, wanted: int, room: int) -> int:
        if room < wanted:
            self._refused[shard] = self._refused.get(shard, 0) + wanted - room
            self._touched.add(shard)
        return room

    def _account_rows(self, shard: ShardKey, now_s: float) -> int:
        """The logs of all gateways of the account. What a store that failed left unsaid is seen within a minute."""
        account = self._accounts.get(shard.account)
        if account is None or account.generation != self._generations.of(shard.account) or now_s > account.until_s:
            account = self._counted(shard.account, now_s)
        return sum(account.rows.values())

    def _counted(self, account: str, now_s: float) -> _Account:
        generation = self._generations.of(account)
        rows = {shard.gateway: self._writer.rows(shard) for shard in self._control.shards(account)}
        if len(self._accounts) >= _KNOWN:
            self._accounts.clear()
        counted = self._accounts[account] = _Account(generation, now_s + RECOUNT_S, rows)
        return counted
