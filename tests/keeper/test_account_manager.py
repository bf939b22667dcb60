"""Who may store how much, over the real stores; the clock is handed in."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest

from sluice.keeper.account_manager import REPORT_ROWS, REPORT_S, AccountManager
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.embedded.usage import EmbeddedUsageReader, EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import GatewayUsage
from sluice.values.entitlement import OwnEntitlement, Plan
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, Position, ShardKey


class Account:
    """An account with one gateway, and what decides about its logs."""

    def __init__(self, data: Path, stack: ExitStack, entry_of: Callable[..., LogEntry]) -> None:
        self.entry_of = entry_of
        create_generations(data / "generations.map")
        generations = stack.enter_context(closing(MappedGenerations.open(data / "generations.map", writable=True)))
        self.control = stack.enter_context(
            closing(EmbeddedControlStore.open_for_writing(data / "control.db", generations))
        )
        self.control.create_account("acme", "unlimited")
        self.writer = stack.enter_context(closing(EmbeddedLogWriter.open(data / "shards")))
        usage = stack.enter_context(closing(EmbeddedUsageStore.open(data / "usage.db")))
        self.reported = stack.enter_context(closing(EmbeddedUsageReader(data / "usage.db")))
        self.manager = AccountManager(self.control, generations, self.writer, usage)
        self.mint = Mint(1)
        self.stored = 0
        self.shard = self.gateway("first")

    def gateway(self, name: str, **fields: object) -> ShardKey:
        config = msgspec.structs.replace(DEFAULT_GATEWAY_CONFIG, **fields)
        return ShardKey("acme", self.control.create_gateway("acme", name, config).gateway.id.hex())

    def set(self, plan: Plan = "unlimited", **own: int | None) -> None:
        changed = {"plan": plan, "own": OwnEntitlement(**own)}
        self.control.change_account("acme", lambda account: msgspec.structs.replace(account, **changed))

    def store(self, shard: ShardKey, count: int, body: bytes = b"{}") -> None:
        self.stored += 1
        logs = [NewLog(self.entry_of(self.mint.mint()), body, body) for _ in range(count)]
        self.manager.stored(shard, self.writer.append(shard, logs, {"0": Position(1, self.stored)}))


@pytest.fixture
def account(tmp_path: Path, entry_of: Callable[..., LogEntry]) -> Iterator[Account]:
    with ExitStack() as stack:
        yield Account(tmp_path, stack, entry_of)


def test_an_unlimited_account_stores_everything(account: Account):
    account.store(account.shard, 5)
    assert account.manager.admitted(account.shard, 1_000_000, 0.0) == 1_000_000


def test_what_nobody_knows_as_after_a_restored_backup_stores_everything(account: Account):
    assert account.manager.admitted(ShardKey("lost", "ab" * 16), 7, 0.0) == 7


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (lambda account: account.set(gateway_rows=8), 3),
        (lambda account: account.set(gateway_rows=2), 0),
        (lambda account: account.set(account_rows=9), 4),
        (lambda account: account.set(gateway_rows=8, account_rows=6), 1),
        (lambda account: account.set(gateway_bytes=1), 0),
        (lambda account: account.set(gateway_bytes=1_000_000), 10),
        (lambda account: account.set("free"), 10),
        (lambda account: account.set("free", account_rows=None), 10),
    ],
)
def test_the_limit_that_is_reached_first_holds(account: Account, limit: Callable[[Account], None], expected: int):
    account.store(account.shard, 5)
    limit(account)
    assert account.manager.admitted(account.shard, 10, 0.0) == expected


def test_a_gateways_own_setting_holds_where_it_is_less(account: Account):
    own = account.gateway("own", log_management=10_000)
    account.set("paid")
    assert account.manager.admitted(own, 20_000, 0.0) == 10_000
    account.set(gateway_rows=500)
    assert account.manager.admitted(own, 20_000, 0.0) == 500


def test_where_the_oldest_go_new_ones_always_come(account: Account):
    oldest = account.gateway("oldest", log_management=10_000, log_management_strategy="DELETE_OLDEST")
    assert account.manager.admitted(oldest, 20_000, 0.0) == 20_000


def test_the_logs_of_all_gateways_count_for_the_account(account: Account):
    account.set(account_rows=10)
    second = account.gateway("second")
    account.store(account.shard, 4)
    account.store(second, 4)
    assert account.manager.admitted(second, 5, 0.0) == 2
    account.store(second, 2)
    assert account.manager.admitted(account.shard, 5, 1.0) == 0


def test_a_raised_plan_holds_at_once(account: Account):
    account.set(gateway_rows=1)
    account.store(account.shard, 1)
    assert account.manager.admitted(account.shard, 1, 0.0) == 0
    account.set()
    assert account.manager.admitted(account.shard, 1, 0.0) == 1


def test_usage_is_reported_after_a_thousand_logs_or_two_seconds(account: Account):
    account.store(account.shard, 5)
    account.manager.report_due(100.0)
    assert account.reported.of("acme")[account.shard.gateway].rows == 5
    account.store(account.shard, 5)
    account.manager.report_due(100.0 + REPORT_S / 2)
    assert account.reported.of("acme")[account.shard.gateway].rows == 5
    account.store(account.shard, REPORT_ROWS)
    account.manager.report_due(100.0 + REPORT_S / 2)
    assert account.reported.of("acme")[account.shard.gateway].rows == REPORT_ROWS + 10
    account.store(account.shard, 1)
    account.manager.report_due(100.0 + 2 * REPORT_S)
    assert account.reported.of("acme")[account.shard.gateway].rows == REPORT_ROWS + 11


def test_what_was_refused_adds_up(account: Account):
    account.set(gateway_rows=2)
    account.store(account.shard, 2, b"x" * 1000)
    for _ in range(3):
        assert account.manager.admitted(account.shard, 4, 0.0) == 0
        account.manager.report()
    size = account.writer.bytes(account.shard)
    assert size > 0
    assert account.reported.of("acme") == {account.shard.gateway: GatewayUsage(account.shard, 2, size, 12)}


def test_a_deleted_gateway_counts_no_more(account: Account):
    account.set(account_rows=4)
    second = account.gateway("second")
    account.store(second, 4)
    account.manager.report()
    assert account.manager.admitted(account.shard, 1, 0.0) == 0
    account.control.delete_gateway("acme", "second")
    account.writer.drop(second)
    account.manager.dropped(second)
    assert account.manager.admitted(account.shard, 1, 0.0) == 1
    assert account.reported.of("acme").keys() <= {account.shard.gateway}
