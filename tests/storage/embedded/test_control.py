"""control.db: what is written is durable, announced and readable at once from another connection."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from sluice.storage.embedded import control as control_module
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_file import DELETE_AGED, DELETE_OLDEST
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.ports import AlreadyThere, NewToken, NotThere, Slice, StoreFault
from sluice.values.entitlement import OwnEntitlement
from sluice.values.gateway import GatewayConfig, SpendLimits, SpendRule
from sluice.values.rates import Rates
from sluice.values.tenancy import Gateway, token_digest

ALL = Slice(0, 100)


class Clock:
    """Milliseconds that the test moves."""

    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[MappedGenerations]:
    create_generations(tmp_path / "generations.map")
    opened = MappedGenerations.open(tmp_path / "generations.map", writable=True)
    yield opened
    opened.close()


@pytest.fixture
def control(tmp_path: Path, generations: MappedGenerations, clock: Clock) -> Iterator[EmbeddedControlStore]:
    store = EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations, clock)
    store.create_account("acme", "paid")
    yield store
    store.close()


@pytest.fixture
def reader(tmp_path: Path, control: EmbeddedControlStore) -> Iterator[EmbeddedControlReader]:
    opened = EmbeddedControlReader.open(tmp_path / "control.db")
    yield opened
    opened.close()


def test_a_reader_sees_a_change_as_soon_as_it_is_made(control: EmbeddedControlStore, reader: EmbeddedControlReader):
    assert reader.account_exists("acme")
    assert reader.gateway("acme", "prod") is None
    made = control.create_gateway("acme", "prod", GatewayConfig(authentication=True))
    assert reader.gateway("acme", "prod") == made.gateway
    assert reader.gateway_by_id(made.gateway.id) == made.gateway
    control.change_gateway("acme", "prod", lambda config: msgspec.structs.replace(config, collect_logs=False))
    assert reader.gateway("acme", "prod") == Gateway(made.gateway.id, "acme", "prod", True, False, cache_epoch=1)


def test_names_of_gateways_belong_to_their_account(control: EmbeddedControlStore):
    control.create_account("other", "free")
    mine = control.create_gateway("acme", "prod", GatewayConfig())
    theirs = control.create_gateway("other", "prod", GatewayConfig())
    assert mine.gateway.id != theirs.gateway.id
    assert len(mine.gateway.id) == 16
    assert [record.gateway for record in control.gateways("other", ALL)[0]] == [theirs.gateway]


def test_every_field_of_a_gateway_is_kept(control: EmbeddedControlStore):
    config = GatewayConfig(
        rate_limiting_technique="sliding",
        retry_delay=5,
        spend_limits=SpendLimits(rules=[SpendRule(limit=1.5, limit_type="cost", window=60)]),
    )
    control.create_gateway("acme", "prod", config)
    kept = control.gateway_record("acme", "prod")
    assert kept is not None
    assert kept.config == config


def test_a_change_keeps_the_id_and_moves_the_time_forward_only(control: EmbeddedControlStore, clock: Clock):
    made = control.create_gateway("acme", "prod", GatewayConfig())
    clock.now_ms -= 5_000  # a clock set back
    changed = control.change_gateway("acme", "prod", lambda config: config)
    assert (changed.gateway.id, changed.created_ms, changed.modified_ms) == (
        made.gateway.id,
        made.created_ms,
        made.modified_ms,
    )
    clock.now_ms += 9_000
    assert control.change_gateway("acme", "prod", lambda config: config).modified_ms == clock.now_ms


def test_a_change_that_raises_stores_nothing(control: EmbeddedControlStore):
    control.create_gateway("acme", "prod", GatewayConfig())

    def refuse(config: GatewayConfig) -> GatewayConfig:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        control.change_gateway("acme", "prod", refuse)
    control.create_gateway("acme", "next", GatewayConfig())  # no transaction was left open


def test_a_deleted_gateway_is_gone_with_its_tokens_and_listed_for_its_logs(
    control: EmbeddedControlStore, reader: EmbeddedControlReader
):
    gateway = control.create_gateway("acme", "prod", GatewayConfig()).gateway
    _, scoped = control.create_token(NewToken("acme", frozenset({"run"}), gateway="prod"))
    _, wide = control.create_token(NewToken("acme", frozenset({"run"})))
    assert control.delete_gateway("acme", "prod").gateway == gateway
    assert reader.gateway_by_id(gateway.id) is None
    assert reader.token(token_digest(scoped.reveal())) is None
    assert reader.token(token_digest(wide.reveal())) is not None
    assert reader.deleted_gateways() == [("acme", gateway.id.hex())]
    assert control.create_gateway("acme", "prod", GatewayConfig()).gateway.id != gateway.id


def test_a_deleted_account_takes_everything_with_it(control: EmbeddedControlStore, reader: EmbeddedControlReader):
    gateway = control.create_gateway("acme", "prod", GatewayConfig()).gateway
    _, text = control.create_token(NewToken("acme", frozenset({"run"})))
    control.delete_account("acme")
    assert not reader.account_exists("acme")
    assert reader.gateway("acme", "prod") is None
    assert reader.token(token_digest(text.reveal())) is None
    assert reader.deleted_gateways() == [("acme", gateway.id.hex())]


def test_what_is_not_there_cannot_be_changed_and_what_is_cannot_be_made(control: EmbeddedControlStore):
    control.create_gateway("acme", "prod", GatewayConfig())
    with pytest.raises(AlreadyThere):
        control.create_gateway("acme", "prod", GatewayConfig())
    with pytest.raises(AlreadyThere):
        control.create_account("acme", "free")
    with pytest.raises(NotThere):
        control.create_gateway("nobody", "prod", GatewayConfig())
    with pytest.raises(NotThere):
        control.change_gateway("acme", "nothing", lambda config: config)
    with pytest.raises(NotThere):
        control.delete_gateway("acme", "nothing")
    with pytest.raises(NotThere):
        control.delete_account("nobody")
    with pytest.raises(NotThere):
        control.ensure_default("nobody")
    with pytest.raises(NotThere):
        control.create_token(NewToken("acme", frozenset({"run"}), gateway="nothing"))
    with pytest.raises(NotThere):
        control.delete_token("acme", "nothing")


def test_the_default_gateway_is_made_once_with_authentication_on(control: EmbeddedControlStore):
    first = control.ensure_default("acme")
    assert control.ensure_default("acme") == first
    assert first.is_default
    assert (first.gateway.authentication, first.gateway.collect_logs) == (True, True)


def test_a_token_is_shown_once_and_kept_only_as_its_digest(
    control: EmbeddedControlStore, reader: EmbeddedControlReader, tmp_path: Path
):
    record, text = control.create_token(NewToken("acme", frozenset({"edit", "run"}), name="ci", expires_ms=17))
    assert re.fullmatch(r"sluice_[A-Za-z0-9_-]{43}", text.reveal())
    assert reader.token(token_digest(text.reveal())) == record.token
    assert record.token.permissions == {"edit", "run"}
    assert control.tokens("acme", ALL) == ([record], 1)
    written = b"".join(file.read_bytes() for file in tmp_path.glob("control.db*"))
    assert text.reveal().encode() not in written
    assert control.delete_token("acme", record.token.id) == record
    assert reader.token(token_digest(text.reveal())) is None


def test_the_old_text_of_a_rotated_token_is_good_until_its_grace_ends(
    control: EmbeddedControlStore, reader: EmbeddedControlReader, clock: Clock
):
    record, first = control.create_token(NewToken("acme", frozenset({"run"}), name="ci", expires_ms=clock.now_ms + 500))
    same, second = control.rotate_token("acme", record.token.id, 0, lambda token: None)
    assert same == record
    assert reader.token(token_digest(first.reveal())) is None
    _, third = control.rotate_token("acme", record.token.id, 200, lambda token: None)
    assert reader.token(token_digest(third.reveal())) == record.token
    old = reader.token(token_digest(second.reveal()))
    assert old is not None
    assert (old.expires_ms, old.permissions, old.id != record.token.id) == (clock.now_ms + 200, {"run"}, True)
    _, fourth = control.rotate_token("acme", record.token.id, 9_999, lambda token: None)
    late = reader.token(token_digest(third.reveal()))
    assert late is not None
    assert late.expires_ms == record.token.expires_ms
    with pytest.raises(NotThere):
        control.rotate_token("other", record.token.id, 0, lambda token: None)

    def refuse(token: object) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        control.rotate_token("acme", record.token.id, 0, refuse)
    assert reader.token(token_digest(fourth.reveal())) == record.token


def test_a_token_can_be_deleted_by_its_own_account_only(control: EmbeddedControlStore):
    control.create_account("other", "free")
    record, _ = control.create_token(NewToken("acme", frozenset({"run"})))
    with pytest.raises(NotThere):
        control.delete_token("other", record.token.id)


def test_lists_come_in_slices_in_the_order_of_making(control: EmbeddedControlStore, clock: Clock):
    for name in ("b", "a", "c-test", "d-TEST"):
        clock.now_ms += 1
        control.create_gateway("acme", name, GatewayConfig())
    page, total = control.gateways("acme", Slice(1, 2))
    assert ([record.gateway.name for record in page], total) == (["a", "c-test"], 4)
    found, total = control.gateways("acme", ALL, search="Test")
    assert ([record.gateway.name for record in found], total) == (["c-test", "d-TEST"], 2)
    assert control.gateways("acme", ALL, search="%") == ([], 0)
    assert control.accounts(Slice(1, 5)) == ([], 1)


def test_every_change_bumps_its_account_and_no_other(
    control: EmbeddedControlStore, generations: MappedGenerations, clock: Clock
):
    control.create_account("other", "free")
    seen = [generations.of("acme")]
    others = generations.of("other")

    def assert_bumped() -> None:
        seen.append(generations.of("acme"))
        assert seen[-1] > seen[-2]

    control.create_gateway("acme", "prod", GatewayConfig())
    assert_bumped()
    control.change_gateway("acme", "prod", lambda config: config)
    assert_bumped()
    record, _ = control.create_token(NewToken("acme", frozenset({"run"})))
    assert_bumped()
    control.delete_token("acme", record.token.id)
    assert_bumped()
    control.delete_gateway("acme", "prod")
    assert_bumped()
    control.ensure_default("acme")
    assert_bumped()
    control.delete_account("acme")
    assert_bumped()
    assert generations.of("other") == others


def test_prices_are_remembered_and_so_is_their_absence(control: EmbeddedControlStore, reader: EmbeddedControlReader):
    assert reader.rates("openai", "gpt-4o") is None
    control.put_rates([("openai", "gpt-4o", Rates(2_500, 10_000, cached_input=1_250))])
    control.put_rates([("openai", "made-up", None)])
    assert reader.rates("openai", "gpt-4o") == Rates(2_500, 10_000, 1_250, None)
    assert reader.rates("openai", "made-up") == Rates(None, None)


def test_a_new_version_of_the_price_list_renews_all_that_is_known(
    control: EmbeddedControlStore, reader: EmbeddedControlReader
):
    assert control.prices_version() == ""
    control.load_prices("1", [("openai", "gpt-4", Rates(7, 8))], [])
    control.put_rates([("openai", "gpt-5-2031-01-01", Rates(5, 6))])
    control.put_rates([("openai", "made-up", None)])
    assert control.asked_prices() == [("openai", "gpt-5-2031-01-01"), ("openai", "made-up")]
    control.load_prices(
        "2",
        [("openai", "gpt-5", Rates(1, 2)), ("openai", "made-up", Rates(3, 4))],
        [("openai", "gpt-5-2031-01-01", Rates(9, 9)), ("openai", "made-up", Rates(3, 4))],
    )
    assert control.prices_version() == "2"
    assert reader.rates("openai", "gpt-4") is None
    assert reader.rates("openai", "gpt-5") == Rates(1, 2)
    assert reader.rates("openai", "gpt-5-2031-01-01") == Rates(9, 9)
    assert reader.rates("openai", "made-up") == Rates(3, 4)
    assert control.asked_prices() == [("openai", "gpt-5-2031-01-01")]


def test_prices_asked_for_are_bounded_for_clients_choose_their_names(
    control: EmbeddedControlStore, reader: EmbeddedControlReader, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control_module, "ASKED_PRICES", 3)
    control.load_prices("1", [("openai", "known", Rates(1, None))], [])
    for number in range(5):
        clock.now_ms += 1
        control.put_rates([("openai", f"junk-{number}", None if number % 2 else Rates(1, 1))])
    kept = [number for number in range(5) if reader.rates("openai", f"junk-{number}")]
    assert kept == [2, 3, 4]
    assert reader.rates("openai", "known") == Rates(1, None)


def test_a_reader_goes_on_while_a_writer_holds_the_database(control: EmbeddedControlStore, tmp_path: Path):
    blocker = apsw.Connection(str(tmp_path / "control.db"))
    blocker.execute("BEGIN IMMEDIATE")
    blocker.execute("INSERT INTO accounts (id, plan, created_ms) VALUES ('half', 'free', 0)")
    reader = EmbeddedControlReader.open(tmp_path / "control.db")
    assert reader.account_exists("acme")
    assert not reader.account_exists("half")
    blocker.execute("COMMIT")
    assert reader.account_exists("half")
    reader.close()
    blocker.close()


def test_a_look_up_leaves_nothing_open_that_would_keep_the_log_growing(
    control: EmbeddedControlStore, reader: EmbeddedControlReader, tmp_path: Path
):
    control.create_gateway("acme", "prod", GatewayConfig())
    record, text = control.create_token(NewToken("acme", frozenset({"run"})))
    assert reader.account_exists("acme")
    assert reader.gateway("acme", "prod") is not None
    assert reader.token(token_digest(text.reveal())) == record.token
    assert reader.rates("openai", "gpt-4o") is None
    busy, _, _ = next(control._db.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert busy == 0
    assert (tmp_path / "control.db-wal").stat().st_size == 0


def test_a_full_disk_loses_the_change_and_nothing_else(
    control: EmbeddedControlStore, reader: EmbeddedControlReader, generations: MappedGenerations
):
    control._db.pragma("max_page_count", control._db.pragma("page_count"))
    made: list[Gateway] = []

    def fill() -> None:
        while True:
            made.append(control.create_gateway("acme", f"g{len(made)}", GatewayConfig()).gateway)

    with pytest.raises(StoreFault, match="full"):
        fill()
    seen = generations.of("acme")
    with pytest.raises(StoreFault):
        control.create_gateway("acme", "one-more", GatewayConfig())
    assert generations.of("acme") > seen  # nobody can tell whether a failed commit counts
    control._db.pragma("max_page_count", 100_000)
    made.append(control.create_gateway("acme", "later", GatewayConfig()).gateway)
    assert [reader.gateway("acme", gateway.name) for gateway in made] == made
    assert reader.gateway("acme", "one-more") is None


def test_a_reader_cannot_write(reader: EmbeddedControlReader):
    assert not hasattr(reader, "create_account")
    with pytest.raises(apsw.ReadOnlyError):
        reader._db.execute("DELETE FROM accounts")


WRITER = """
import sys
from pathlib import Path
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations

data = Path(sys.argv[1])
generations = MappedGenerations.open(data / "generations.map", writable=True)
control = EmbeddedControlStore.open_for_writing(data / "control.db", generations)
for number in range(100_000):
    control.create_account(f"account-{number}", "free")
    print(number, generations.of(f"account-{number}"), flush=True)
"""


def test_what_was_confirmed_survives_a_kill_and_was_announced(control: EmbeddedControlStore, tmp_path: Path):
    control.close()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    confirmed = [writer.stdout.readline() for _ in range(25)]
    writer.send_signal(signal.SIGKILL)
    confirmed += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    (tmp_path / "control.db-shm").unlink(missing_ok=True)  # as after a restart of the machine
    last = int(confirmed[-1].split()[0])
    reader = EmbeddedControlReader.open(tmp_path / "control.db")
    assert all(reader.account_exists(f"account-{number}") for number in range(last + 1))
    assert all(int(line.split()[1]) > 0 for line in confirmed)
    reader.close()


def test_a_database_of_another_edition_is_refused(control: EmbeddedControlStore, tmp_path: Path):
    control.close()
    db = apsw.Connection(str(tmp_path / "control.db"))
    db.pragma("user_version", 99)
    db.close()
    with pytest.raises(StoreFault, match="edition 99"):
        EmbeddedControlReader.open(tmp_path / "control.db")


def test_a_missing_or_damaged_database_is_a_fault_of_the_store(tmp_path: Path):
    with pytest.raises(StoreFault):
        EmbeddedControlReader.open(tmp_path / "control.db")
    (tmp_path / "control.db").write_bytes(b"nothing of SQLite's" * 100)
    with pytest.raises(StoreFault):
        EmbeddedControlReader.open(tmp_path / "control.db")


def test_gateways_that_lose_logs_are_listed(control: EmbeddedControlStore, reader: EmbeddedControlReader):
    oldest = GatewayConfig(log_management=20_000, log_management_strategy="DELETE_OLDEST")
    stops = GatewayConfig(log_management=20_000, log_management_strategy="STOP_INSERTING")
    shards = {}
    for name, config in {"oldest": oldest, "stops": stops, "plain": GatewayConfig()}.items():
        shards[name] = ("acme", control.create_gateway("acme", name, config).gateway.id.hex())
    assert list(reader.retained_shards()) == list(control.retained_shards()) == [shards["oldest"]]
    assert reader.retained_shards() is reader.retained_shards()
    own = OwnEntitlement(retention_days=30)
    control.change_account("acme", lambda account: msgspec.structs.replace(account, own=own))
    assert sorted(reader.retained_shards()) == sorted(shards.values())
    control.change_account("acme", lambda account: msgspec.structs.replace(account, own=OwnEntitlement()))
    control.delete_gateway("acme", "oldest")
    assert list(reader.retained_shards()) == list(control.retained_shards()) == []


def test_they_are_found_by_an_index_also_in_a_database_of_before_it(
    tmp_path: Path, control: EmbeddedControlStore, generations: MappedGenerations
):
    with closing(apsw.Connection(str(tmp_path / "control.db"))) as db:
        db.execute("DROP INDEX gateways_that_delete_oldest; DROP INDEX accounts_that_delete_aged")
    EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations).close()
    with closing(apsw.Connection(str(tmp_path / "control.db"))) as db:
        plans = [str(list(db.execute(f"EXPLAIN QUERY PLAN {query}"))) for query in (DELETE_OLDEST, DELETE_AGED)]
    assert "gateways_that_delete_oldest" in plans[0]
    assert "accounts_that_delete_aged" in plans[1]
