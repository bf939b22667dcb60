"""Prices: remembered for a while, asked of the console once."""

from sluice.keeper.rate_book import ASK_AGAIN_S, KEEP_S, RateBook
from sluice.values.rates import Rates

CHEAP = Rates(input=1, output=2)


class Market:
    """A price list whose console knows more than it has told yet."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.listed: dict[tuple[str, str], Rates] = {}
        self.resolvable: dict[tuple[str, str], Rates] = {}
        self.up = True
        self.looked = self.asked = 0
        self.book = RateBook(self.rates, self.resolve, lambda: self.now_s)

    def rates(self, provider: str, model: str) -> Rates | None:
        self.looked += 1
        return self.listed.get((provider, model))

    def resolve(self, provider: str, model: str) -> bool:
        self.asked += 1
        if self.up and (found := self.resolvable.get((provider, model))):
            self.listed[provider, model] = found
        return self.up


def test_a_known_price_is_looked_up_once_in_a_while():
    market = Market()
    market.listed["openai", "gpt"] = CHEAP
    assert [market.book("openai", "gpt") for _ in range(3)] == [CHEAP] * 3
    assert (market.looked, market.asked) == (1, 0)
    market.now_s += KEEP_S
    market.listed["openai", "gpt"] = Rates(input=3, output=4)
    assert market.book("openai", "gpt") == Rates(input=3, output=4)


def test_the_first_log_of_a_model_has_its_price():
    market = Market()
    market.resolvable["openai", "new"] = CHEAP
    assert market.book("openai", "new") == CHEAP
    assert market.asked == 1


def test_a_console_that_does_not_answer_is_left_alone_for_all_models():
    market = Market()
    market.up = False
    market.resolvable["openai", "new"] = CHEAP
    assert [market.book("openai", model) for model in ("new", "newer", "new")] == [None] * 3
    assert market.asked == 1
    market.up = True
    market.now_s += ASK_AGAIN_S
    assert market.book("openai", "new") == CHEAP


def test_what_clients_invent_does_not_fill_the_memory():
    market = Market()
    for number in range(10_000):
        market.book("openai", f"made-up-{number}")
    assert len(market.book._known) <= 4096
