"""Costs of calls under a spend limit: each counts once, however often the keeper dies."""

from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
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
        self.prices: dict[str, Rates] = {}
        """Of models that cost something else."""

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

    def stream(self, answer: bytes, nano: int, **fields: Any) -> str:
        """Likewise, with a streamed reply."""
        self.house.answer = answer
        return self.call(nano, response_content_type=b"text/event-stream", **fields)

    def keeper(self) -> tuple[Keeper, EmbeddedSpendLedger]:
        ledger = EmbeddedSpendLedger.open(self.house.data / "spend.db")
        keeper = self.house.keeper(lambda provider, model: self.prices.get(model, PRICE))
        listed = Meter(lambda provider, model: self.prices.get(model, PRICE)).listed
        keeper._spending = Spending(ledger, self.windows, self.house.metrics, listed)
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


@pytest.mark.parametrize("ending", ["complete", "abandoned"])
def test_a_reply_that_does_not_tell_its_usage_costs_what_was_set_aside(till: Till, ending: str):
    till.stream(b'data: {"choices":[{"delta":{"content":"all of it"}}]}\n\n', 2 * COST, ending=ending)
    till.keep()
    assert till.holds(2 * COST)


def test_a_stream_that_its_client_leaves_before_all_usage_is_told_costs_no_less_than_was_set_aside(till: Till):
    begun = b'data: {"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    till.stream(begun, 2 * COST, ending="abandoned")
    till.stream(begun, 1, ending="abandoned")
    till.keep()
    assert till.holds(3 * COST)


def test_a_stream_without_usage_costs_by_its_length_where_that_is_more(till: Till):
    till.prices["gpt-4o-mini"] = Rates(0, 10**9)  # a thousand nano-USD a token written
    till.stream(b'data: {"choices":[{"delta":{"content":"words"}}]}\n\n' * 1000, 5)
    till.keep()
    assert till.holds(len(till.house.answer) // 200 * 1000)


def test_of_two_models_the_dearer_one_counts(till: Till):
    """Some vendors go by the model of the path, whatever the body says."""
    till.prices["gpt-4o"] = Rates(2 * PRICE.input, 0)
    till.call(5, provider="azure-openai", path="res/openai/deployments/gpt-4o/chat/completions")
    till.keep()
    assert till.house.logs()[0].cost_nano == COST
    assert till.holds(2 * COST)


def test_tries_that_the_client_did_not_wait_for_cost_what_was_set_aside_for_each(till: Till):
    till.call(5, given_up=2)
    till.house.answer = b""
    till.call(6, given_up=1, ending="refused", status=400)
    till.keep()
    assert till.holds(COST + 2 * 5 + 6)


def test_a_failed_call_has_no_price_whatever_its_client_says(till: Till):
    till.house.answer = b"{}"
    till.call(5, custom_cost=b'{"total_cost":5}', status=500)
    till.call(6, custom_cost=b'{"total_cost":5}', status=429, ending="refused", attempts=0)
    till.keep()
    assert [log.cost_nano for log in till.house.logs()] == [None, None]
    assert till.holds(0)


def test_money_is_counted_though_no_log_can_be_stored(till: Till, monkeypatch: pytest.MonkeyPatch):
    till.call()
    keeper, ledger = till.keeper()
    broken = iter([True])

    def positions(shard: Any, ask: Any = keeper._writer.positions) -> Any:
        if next(broken, False):
            assert not till.holds(COST)
            raise StoreFault("damaged")
        assert till.holds(COST)
        return ask(shard)

    monkeypatch.setattr(keeper._writer, "positions", positions)
    keeper.run(lambda wait_s: True)
    ledger.close()
    assert till.holds(COST)


def test_what_ends_tomorrow_by_a_clock_that_was_ahead_is_of_today(till: Till):
    till.call(started_ms=wall_ms() + 86_400_000)
    keeper, ledger = till.keeper()
    keeper.run(lambda wait_s: True)
    ((when_us, nano),) = ledger.spent(BUCKET)
    ledger.close()
    assert nano == COST
    assert when_us < (wall_ms() + 40_000) * 1000  # the end of a hundredth of an hour


def test_a_client_that_leaves_before_the_reply_pays_for_what_was_asked_of_a_provider(till: Till):
    till.house.answer = b""
    till.call(5, ending="abandoned", status=499)
    till.call(6, ending="abandoned", status=499, attempts=0)
    till.call(7, ending="abandoned", status=499, attempts=1, idle=True)
    till.keep()
    assert till.holds(5)


def test_what_cannot_cost_anything_does_not(till: Till):
    till.house.answer = b"{}"
    till.call(5, method="GET", path="v1/models/gpt-4o-mini")
    till.call(6, path="v1beta/models/gemini-2.5-pro:countTokens")
    till.call(7, ending="refused", status=429)
    till.keep()
    assert till.holds(0)


@pytest.mark.parametrize("price", [b'{"total_cost":0}', b'{"per_token_in":0}', b'{"per_token_out":1e9}'])
def test_a_price_that_a_client_names_is_no_way_to_spend_less_than_the_list_says(till: Till, price: bytes):
    if b"1e9" in price:
        till.house.answer = ANSWER.replace(b'"completion_tokens":4', b'"completion_tokens":4000000')
    till.call(5, custom_cost=price)
    till.keep()
    assert till.holds(COST)


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


def test_the_largest_sums_are_told_first_until_the_table_is_full(till: Till):
    keeper, ledger = till.keeper()
    names = [blake2b(b"%d" % number, digest_size=16).digest() for number in range(2000)]
    sums = [Spent(name, 3600, wall_ms(), 1 + number) for number, name in enumerate(names)]
    ledger.settle(b"g", [*sums, Spent(BUCKET, 3600, wall_ms(), 1 << 62), Spent(BUCKET, 3600, 0, 1 << 62)], {})
    assert keeper._spending is not None
    keeper._spending.republish()
    ledger.close()
    assert till.windows.evicted == 1
    assert till.windows.reserve(BUCKET, msgspec.structs.replace(till.limit, limit_nano=1 << 62), 0) is None


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


def test_the_ledger_is_bounded_and_the_smallest_sums_go(tmp_path: Path):
    with closing(EmbeddedSpendLedger.open(tmp_path / "spend.db", most_rows=100)) as ledger:
        now_ms = wall_ms()
        names = [b"%016d" % number for number in range(300)]
        ledger.settle(b"g", [Spent(name, 60, now_ms, 1 + number) for number, name in enumerate(names)], {})
        assert list(ledger.buckets()) == names[:-91:-1]
        assert ledger.length > 0
