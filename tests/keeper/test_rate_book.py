"""Prices: remembered for a while, asked for once, waited for within bounds."""

from collections.abc import Sequence

import pytest

from sluice.keeper.rate_book import ASK_EVERY_S, IMPATIENT_S, KEEP_S, WAIT_S, PricePending, RateBook
from sluice.values.rates import Rates

CHEAP = Rates(input=1, output=2)


class Market:
    """A price list, and what the console was asked for."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.listed: dict[tuple[str, str], Rates] = {}
        self.up = True
        self.looked = 0
        self.asked: list[list[str]] = []
        self.book = RateBook(self.rates, self.ask, lambda: self.now_s)

    def rates(self, provider: str, model: str) -> Rates | None:
        self.looked += 1
        return self.listed.get((provider, model))

    def ask(self, models: Sequence[tuple[str, str]]) -> bool:
        self.asked.append([model for _, model in models])
        return self.up

    def pending(self, model: str) -> bool:
        try:
            self.book("openai", model)
        except PricePending:
            return True
        return False


def test_a_known_price_is_looked_up_once_in_a_while():
    market = Market()
    market.listed["openai", "gpt"] = CHEAP
    assert [market.book("openai", "gpt") for _ in range(3)] == [CHEAP] * 3
    assert (market.looked, market.asked) == (1, [])
    market.now_s += KEEP_S
    market.listed["openai", "gpt"] = Rates(input=3, output=4)
    assert market.book("openai", "gpt") == Rates(input=3, output=4)


def test_the_first_log_of_a_model_waits_for_its_price():
    market = Market()
    assert market.pending("new")
    assert market.pending("new")
    assert market.asked == [["new"]]
    market.listed["openai", "new"] = CHEAP
    assert market.book("openai", "new") == CHEAP


def test_models_met_together_are_asked_for_together():
    market = Market()
    assert all(market.pending(model) for model in ("a", "b", "c"))
    market.now_s += ASK_EVERY_S
    assert market.pending("a")
    assert market.asked == [["a"], ["b", "c"]]


def test_a_price_that_does_not_come_is_waited_for_once_and_then_no_other_is():
    market = Market()
    assert market.pending("new")
    market.now_s += WAIT_S
    assert not market.pending("new")
    assert not market.pending("other")
    assert market.asked == [["new"], ["other"]]
    market.now_s += IMPATIENT_S
    market.listed["openai", "other"] = CHEAP
    assert market.book("openai", "other") == CHEAP
    assert market.pending("third")


def test_nobody_waits_where_no_console_can_be_asked():
    market = Market()
    market.up = False
    assert not any(market.pending(model) for model in ("new", "newer", "new"))
    market.up = True
    market.now_s += IMPATIENT_S
    assert market.pending("new")


@pytest.mark.parametrize("step_s", [0.0, 0.001, 1.0])
def test_what_clients_invent_does_not_fill_the_memory(step_s: float):
    market = Market()
    for number in range(10_000):
        market.now_s += step_s
        market.pending(f"made-up-{number}")
    assert max(len(kept) for kept in (market.book._known, market.book._awaited, market.book._unasked)) <= 4096
