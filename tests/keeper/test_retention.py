"""Gateways lose their oldest logs at a limit, over the real stores; the clock is handed in."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sluice.keeper.account_manager import AccountManager
from sluice.keeper.retention import AGED_S, RETRY_S, Retention
from sluice.metrics import Metrics
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery
from sluice.values.entitlement import OwnEntitlement
from sluice.values.gateway import GatewayConfig
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey

DAY_MS = 24 * 3_600_000
OLDEST_GO = GatewayConfig(log_management_strategy="DELETE_OLDEST")


class Account:
    """An account whose gateways may lose logs."""

    def __init__(self, data: Path, entry_of: Callable[..., LogEntry]) -> None:
        self.entry_of = entry_of
        create_generations(data / "generations.map")
        generations = MappedGenerations.open(data / "generations.map", writable=True)
        self.now_ms = 1_800_000_000_000
        self.control = EmbeddedControlStore.open_for_writing(data / "control.db", generations)
        self.control.create_account("acme", "unlimited")
        self.writer = EmbeddedLogWriter.open(data / "shards", bounds=BOUNDS._replace(rows=4))
        self.accounts = AccountManager(self.control, generations, self.writer, EmbeddedUsageStore.open(data / "u.db"))
        self.retention = Retention(
            self.control, self.accounts, self.writer, Metrics.unseen(), clock_ms=lambda: self.now_ms
        )
        self.mint = Mint(1, clock_ms=lambda: self.now_ms)

    def gateway(self, name: str, config: GatewayConfig) -> ShardKey:
        return ShardKey("acme", self.control.create_gateway("acme", name, config).gateway.id.hex())

    def entitle(self, **own: int | None) -> None:
        changed = OwnEntitlement(**own)
        self.control.change_account("acme", lambda account: msgspec.structs.replace(account, own=changed))

    def store(self, shard: ShardKey, count: int) -> None:
        for _ in range(count):
            self.accounts.stored(
                shard, self.writer.append(shard, [NewLog(self.entry_of(self.mint.mint()), b"{}", None)], {})
            )
        self.retention.grown(shard)

    def rows(self, *shards: ShardKey) -> list[int]:
        return [self.writer.rows(shard) for shard in shards]


@pytest.fixture
def account(tmp_path: Path, entry_of: Callable[..., LogEntry]) -> Iterator[Account]:
    account = Account(tmp_path, entry_of)
    with closing(account.writer), closing(account.control):
        yield account


def test_the_oldest_go_where_the_gateway_says_so_and_nowhere_else(account: Account):
    loses, keeps = account.gateway("loses", OLDEST_GO), account.gateway("keeps", GatewayConfig())
    for shard in (loses, keeps):
        account.store(shard, 10)
    account.retention.enforce(0.0)
    assert account.rows(loses, keeps) == [10, 10]
    account.entitle(gateway_rows=6)
    account.retention.enforce(1.0)
    assert account.rows(loses, keeps) == [6, 10]
    account.store(loses, 5)
    account.retention.enforce(2.0)
    assert account.rows(loses, keeps) == [6, 10]
    account.entitle()
    account.store(loses, 5)
    account.retention.enforce(3.0)
    assert account.rows(loses, keeps) == [11, 10]


def test_a_gateway_makes_room_for_what_its_account_may_have_altogether(account: Account):
    loses, keeps = account.gateway("loses", OLDEST_GO), account.gateway("keeps", GatewayConfig())
    account.entitle(account_rows=10)
    account.store(loses, 5)
    account.store(keeps, 4)
    account.retention.enforce(0.0)
    account.store(loses, 5)
    account.retention.enforce(1.0)
    assert account.rows(loses, keeps) == [6, 4]
    account.store(keeps, 6)
    account.store(loses, 1)
    account.retention.enforce(2.0)
    assert account.rows(loses, keeps) == [0, 10]


def test_what_is_older_than_the_account_keeps_goes_though_nothing_comes_any_more(account: Account):
    shard = account.gateway("any", GatewayConfig())
    account.entitle(retention_days=30)
    account.store(shard, 3)
    account.now_ms += 10 * DAY_MS
    account.store(shard, 3)
    account.retention.enforce(0.0)
    assert account.rows(shard) == [6]
    account.now_ms += 20 * DAY_MS + 1
    account.retention.enforce(AGED_S - 1)
    assert account.rows(shard) == [6]
    account.retention.enforce(AGED_S)
    assert account.rows(shard) == [3]
    account.now_ms += 10 * DAY_MS
    account.retention.enforce(2 * AGED_S)
    assert account.rows(shard) == [0]


def test_many_gateways_are_trimmed_turn_by_turn(account: Account, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.keeper.retention.TURN_S", -1.0)
    shards = [account.gateway(f"g{number}", OLDEST_GO) for number in range(3)]
    for shard in shards:
        account.store(shard, 3)
    account.entitle(gateway_rows=1)
    for turn in range(4):
        assert sum(account.rows(*shards)) == max(9 - 2 * turn, 3)
        account.retention.enforce(float(turn))


def test_a_shard_that_cannot_be_trimmed_holds_up_no_other_and_is_tried_again(account: Account, tmp_path: Path):
    shards = [account.gateway(f"g{number}", OLDEST_GO) for number in range(2)]
    for shard in shards:
        account.store(shard, 3)
    account.writer.close()
    broken = tmp_path / "shards" / "acme" / shards[0].gateway / "00000001.db"
    whole = broken.read_bytes()
    broken.write_bytes(b"no database" * 1_000)
    account.entitle(gateway_rows=1)
    account.writer = EmbeddedLogWriter.open(tmp_path / "shards")
    account.accounts._writer = account.retention._writer = account.writer
    account.retention.enforce(0.0)
    assert account.rows(shards[1]) == [1]
    broken.write_bytes(whole)
    account.retention.enforce(RETRY_S - 1)
    account.retention.enforce(RETRY_S)
    assert account.rows(*shards) == [1, 1]


def test_the_keeper_removes_the_oldest_logs_of_its_gateways(house):
    house.entitle(OwnEntitlement(gateway_rows=4))
    house.control.change_gateway("local", "default", lambda config: OLDEST_GO)
    ids = [house.put() for _ in range(10)]
    house.keep()
    assert house.ids() == ids[6:]
    ids += [house.put() for _ in range(3)]
    house.keep()
    assert house.ids() == ids[9:]
    page = house.reader.page(ShardKey("local", house.gateway.id.hex()), LogQuery())
    assert page.total == 4
    assert house.count("sluice_logs_removed_total", "Logs removed because a limit was reached.") == 9
