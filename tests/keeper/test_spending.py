"""Costs of calls under a spend limit: each counts once, however often the keeper dies."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice.keeper.keeper import Keeper
from sluice.keeper.spending import Spending
from sluice.spool.tape import Whole
from sluice.storage.embedded.spend import EmbeddedSpendLedger, Spent
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.ports import StoreFault
from sluice.values.entitlement import OwnEntitlement
from sluice.values.ids import wall_ms
from sluice.values.limits import Reservation, SpendLimit
from sluice.values.log import Position
from sluice.values.rates import Rates

BUCKET = b"b" * 16
PRICE = Rates(1_000_000 * 10**6, 0)
"""A nano-USD is a thousandth of a token read: the answer of these tests has three."""
COST = 3_000_000


class Till:
    """The sums of one bucket, and keepers that settle."""

    def __init__(self, house: Any) -> None:
        self.house = house
        self.windows = MappedWindows(house.data / "limits.map", 1 << 20)
        self.limit = SpendLimit("r", 10**15, "?", 3600, "sliding")

    def call(self, nano: int = 5, **fields: Any) -> str:
        """A frame of a call for which so much was set aside."""
        until = self.windows.reserve(BUCKET, self.limit, nano)
        assert until is not None
        worker = self.house.worker
        exchange = self.house.exchange(worker.mint.mint(), asked=len(self.house.question), told=len(self.house.answer))
        held = Reservation(nano, ((BUCKET, 3600, until),))
        exchange = msgspec.structs.replace(exchange, reservation=held, **fields)
        worker.append(self.house.gateway, exchange, Whole(self.house.question), Whole(self.house.answer))
        return exchange.id

    def keeper(self) -> tuple[Keeper, EmbeddedSpendLedger]:
        ledger = EmbeddedSpendLedger.open(self.house.data / "spend.db")
        keeper = self.house.keeper(lambda provider, model: PRICE)
        keeper._spending = Spending(ledger, self.windows, self.house.metrics)
        return keeper, ledger

    def keep(self) -> None:
        keeper, ledger = self.keeper()
        keeper.run(lambda wait_s: True)
        ledger.close()

    def holds(self, nano: int) -> bool:
        """Whether so much is spent and set aside, to the nano-USD."""
        at, above = (msgspec.structs.replace(self.limit, limit_nano=most) for most in (nano, nano + 1))
        return self.windows.reserve(BUCKET, at, 0) is None and self.windows.reserve(BUCKET, above, 0) is not None


@pytest.fixture
def till(house: Any) -> Any:
    house.question, house.answer = QUESTION, ANSWER
    made = Till(house)
    yield made
    made.windows.close()


QUESTION = b'{"model":"gpt-4o-mini","messages":[]}'
ANSWER = b'{"model":"gpt-4o-mini","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'


def test_the_true_cost_takes_the_place_of_what_was_set_aside(till: Till):
    till.call(5)
    till.call(7)
    assert till.holds(12)
    till.keep()
    assert till.holds(2 * COST)


def test_what_the_store_refuses_at_first_is_settled_once(till: Till, monkeypatch: pytest.MonkeyPatch):
    till.call()
    keeper, ledger = till.keeper()
    append, fails = keeper._writer.append, iter([True, True])

    def failing(*given: Any) -> int:
        if next(fails, False):
            raise StoreFault("full")
        return append(*given)

    monkeypatch.setattr(keeper._writer, "append", failing)
    keeper.run(lambda wait_s: True)
    ledger.close()
    assert len(till.house.logs()) == 1
    assert till.holds(COST)


def test_a_keeper_that_dies_after_settling_settles_nothing_again(till: Till, monkeypatch: pytest.MonkeyPatch):
    till.call(5)
    keeper, ledger = till.keeper()

    class Died(BaseException):
        pass

    def dies(*given: Any) -> int:
        raise Died

    monkeypatch.setattr(keeper._writer, "append", dies)
    with pytest.raises(Died):
        keeper.run(lambda wait_s: True)
    ledger.close()
    assert till.house.logs() == []
    till.call(7)
    till.keep()
    assert len(till.house.logs()) == 2
    assert till.holds(2 * COST)


def test_a_call_without_a_log_costs_what_was_set_aside_if_it_was_made(till: Till):
    till.call(5, unlogged=True)
    till.call(6, unlogged=True, ending="refused", status=400)
    till.call(7, unlogged=True, status=500)
    till.call(8, unlogged=True, ending="abandoned")
    till.call(9, unlogged=True, cached=True)
    till.keep()
    assert till.house.logs() == []
    assert till.holds(5 + 8)


def test_a_log_that_no_quota_has_room_for_costs_all_the_same(till: Till):
    till.house.entitle(OwnEntitlement(account_rows=0))
    till.call()
    till.keep()
    assert till.house.logs() == []
    assert till.holds(COST)


def test_the_table_is_told_all_that_the_ledger_knows(till: Till, tmp_path: Path):
    till.call()
    till.keep()
    till.windows.close()
    (till.house.data / "limits.map").unlink()
    till.windows = MappedWindows(till.house.data / "limits.map", 1 << 20)
    keeper, ledger = till.keeper()
    assert keeper._spending is not None
    keeper._spending.republish()
    ledger.close()
    assert till.holds(COST)


def test_a_table_that_cannot_be_used_holds_no_log_up(till: Till):
    till.call()
    till.windows.close()
    (till.house.data / "limits.map").write_bytes(b"")
    till.windows = MappedWindows(till.house.data / "limits.map", 1 << 20)
    till.keep()
    assert len(till.house.logs()) == 1
    faults = "Requests and calls that no limit counted, for the table of windows could not be used."
    assert till.house.count("sluice_limit_faults_total", faults, kind="settlement") > 0


def test_the_ledger_forgets_what_is_in_no_window_and_begins_anew_where_it_is_damaged(tmp_path: Path):
    ledger = EmbeddedSpendLedger.open(tmp_path / "spend.db")
    now_ms = wall_ms()
    ledger.settle(b"g", [Spent(BUCKET, 60, now_ms - 200_000, 1)], {"0": Position(1, 10)})
    ledger._clear_s = 0.0
    ledger.settle(b"g", [Spent(b"c" * 16, 60, now_ms, 2), Spent(b"c" * 16, 60, now_ms, 3)], {"0": Position(1, 20)})
    assert ledger.buckets() == {b"c" * 16: 60}
    ((when_us, nano),) = ledger.spent(b"c" * 16)
    assert nano == 5
    assert now_ms * 1000 <= when_us < now_ms * 1000 + 600_000
    assert ledger.places(b"g") == {"0": Position(1, 20)}
    ledger.sync()
    ledger.close()
    (tmp_path / "spend.db").write_bytes(b"nonsense" * 1000)
    ledger = EmbeddedSpendLedger.open(tmp_path / "spend.db")
    assert ledger.buckets() == {}
    ledger.close()
