"""What a call may cost, before it is made; and which sums it counts in."""

import msgspec
import pytest

from sluice.engine.estimates import BYTES_A_TOKEN, KEEP_S, LOOK_AGAIN_S, MOST_TOKENS, TOKENS_OUT, Estimates
from sluice.engine.limits import told_of
from sluice.storage.ports import StoreFault
from sluice.values.custom_provider import CustomProvider
from sluice.values.gateway import GatewayConfig, SpendLimits, SpendRule, SpendScope, limited_by
from sluice.values.limits import Limited, RateLimit
from sluice.values.rates import Rates
from sluice.values.request import BytesBody, Options, Step

IN, OUT = 1000, 7000
"""Nano-USD a token."""
RATES = {"chat": Rates(IN * 10**6, OUT * 10**6), "embedding": Rates(IN * 10**6, None)}


def step(body: bytes, custom_cost: bytes = b"") -> Step:
    options = Options(custom_cost=custom_cost)
    return Step(0, "openai", b"chat/completions", b"", b"POST", [], b"", b"", BytesBody(body), options)


@pytest.mark.parametrize(
    ("fields", "tokens_out"),
    [
        ({}, TOKENS_OUT),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_output_tokens": 7}, 7),
        ({"generationConfig": {"maxOutputTokens": 8}}, 8),
        ({"max_tokens": 5, "max_completion_tokens": 6, "n": 3}, 18),
        ({"max_tokens": 10**15}, MOST_TOKENS),
        ({"max_tokens": 1e30}, MOST_TOKENS),
        ({"max_tokens": 10**30}, MOST_TOKENS),
        ({"max_tokens": 50_000.0, "n": 1.0}, 50_000),
        ({"max_tokens": "50000"}, 50_000),
        ({"max_tokens": "many"}, TOKENS_OUT),
        ({"max_tokens": "9" * 5000}, TOKENS_OUT),
        ({"max_tokens": -1}, TOKENS_OUT),
        ({"max_tokens": 0}, TOKENS_OUT),
        ({"max_tokens": 50_000, "n": "many", "generationConfig": 3, "max_completion_tokens": []}, 50_000),
        ({"max_tokens": 5, "n": -3}, 5),
        ({"max_tokens": 5, "n": 10**30}, MOST_TOKENS),
        ({"generation_config": {"max_output_tokens": 8, "candidate_count": 2}}, 16),
        ({"inferenceConfig": {"maxTokens": 9}}, 9),
        ({"textGenerationConfig": {"maxTokenCount": 9}}, 9),
    ],
)
def test_tokens_are_counted_by_bytes_and_by_what_the_request_allows(fields: dict[str, object], tokens_out: int):
    body = msgspec.json.encode({"messages": ["x" * 400], **fields})
    estimates = Estimates(lambda provider, model: RATES.get(model))
    assert estimates.nano(step(body), "chat", "local") == len(body) // 4 * IN + tokens_out * OUT
    assert estimates.nano(step(body), "embedding", "local") == len(body) // 4 * IN


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff", b"[" * 100_000])
def test_no_body_is_too_odd_for_an_estimate(body: bytes):
    assert Estimates(lambda provider, model: RATES["chat"]).nano(step(body), "chat", "local") == (
        len(body) // 4 * IN + TOKENS_OUT * OUT
    )


def test_a_large_body_is_more_pictures_than_tokens():
    sent = msgspec.structs.replace(step(b""), body=BytesBody(b"x" * (BYTES_A_TOKEN * MOST_TOKENS + 1_000_000)))
    estimates = Estimates(lambda provider, model: RATES.get(model))
    assert estimates.nano(sent, "embedding", "local") == MOST_TOKENS * IN


def test_the_clients_own_price_counts_where_it_is_the_higher_one_and_without_any_there_is_none():
    estimates = Estimates(lambda provider, model: RATES.get(model))
    assert estimates.nano(step(b"", b'{"total_cost": 0}'), "chat", "local") == TOKENS_OUT * OUT
    assert estimates.nano(step(b"", b'{"per_token_out": 0}'), "nobody's", "local") == 0
    assert estimates.nano(step(b"", b'{"total_cost": 0.02}'), "chat", "local") == 20_000_000
    assert estimates.nano(step(b""), "nobody's", "local") is None
    assert estimates.nano(step(b""), "", "local") is None


def test_prices_are_remembered_for_a_while_and_a_store_that_fails_gives_none():
    asked, now = list[str](), [0.0]

    def rates(provider: str, model: str) -> Rates:
        asked.append(model)
        if model == "broken":
            raise StoreFault("disk")
        return RATES["chat"]

    estimates = Estimates(rates, clock_s=lambda: now[0])
    for now[0] in (0.0, KEEP_S - 1, KEEP_S):
        estimates.nano(step(b""), "chat", "local")
    assert asked == ["chat", "chat"]
    assert estimates.nano(step(b""), "broken", "local") is None


def test_a_price_that_is_not_known_is_looked_for_again_soon():
    known, now = dict[str, Rates](), [0.0]
    estimates = Estimates(lambda provider, model: known.get(model), clock_s=lambda: now[0])
    assert estimates.nano(step(b""), "chat", "local") is None
    known["chat"], now[0] = RATES["chat"], LOOK_AGAIN_S
    assert estimates.nano(step(b""), "chat", "local") == TOKENS_OUT * OUT


def test_a_custom_provider_costs_what_its_account_says():
    prices = {("acme", "custom-ours", "chat"): Rates(2 * IN * 10**6, OUT * 10**6)}
    estimates = Estimates(lambda provider, model: RATES["chat"], lambda *asked: prices.get(asked))
    called = msgspec.structs.replace(
        step(b"x" * 400), provider="custom-ours", custom=CustomProvider("1", "custom-ours", "https://example.com")
    )
    assert estimates.nano(called, "chat", "acme") == 100 * 2 * IN + TOKENS_OUT * OUT
    assert estimates.nano(called, "chat", "another") is None


def test_limits_of_a_gateway_are_those_that_are_on():
    assert limited_by(GatewayConfig()) is None
    assert limited_by(GatewayConfig(rate_limiting_limit=5)) is None
    rated = GatewayConfig(rate_limiting_limit=5, rate_limiting_interval=60, rate_limiting_technique=None)
    assert limited_by(rated) == Limited(RateLimit(5, 60, "fixed"))
    rules = [SpendRule(limit=1e300, limit_type="cost", window=10**30, id="a", enabled=False)]
    assert limited_by(GatewayConfig(spend_limits=SpendLimits(True, rules))) is None
    rules[0] = msgspec.structs.replace(rules[0], enabled=True)
    assert limited_by(GatewayConfig(spend_limits=SpendLimits(False, rules))) is None
    limited = limited_by(GatewayConfig(spend_limits=SpendLimits(True, rules)))
    assert limited is not None
    assert (limited.spend[0].limit_nano, limited.spend[0].window_s) == (10**18, 1 << 40)


def test_a_limit_is_told_in_digits_however_small():
    rule = SpendRule(limit=0.00002, limit_type="cost", window=60, id="r1")
    limited = limited_by(GatewayConfig(spend_limits=SpendLimits(True, [rule, msgspec.structs.replace(rule, limit=5)])))
    assert limited is not None
    assert [one.said for one in limited.spend] == ["0.00002", "5"]


def test_sums_are_apart_by_gateway_rule_and_what_the_rule_parts():
    scope = {"team": SpendScope(mode="partition"), "tier": SpendScope(mode="filter", values=["1", "true"])}
    rule = SpendRule(
        limit=0.1, limit_type="cost", window=60, id="r1", model=SpendScope(mode="partition"), metadata=scope
    )
    other = msgspec.structs.replace(rule, id="r2")
    limited = limited_by(GatewayConfig(spend_limits=SpendLimits(True, [rule, other])))
    assert limited is not None
    first, second = limited.spend
    call = ("openai", ("m",), {"team": "a", "tier": True})
    assert first.bucket(b"g", *call) == first.bucket(b"g", "azure-openai", ("m",), {"team": "a", "tier": 1})
    buckets = {
        first.bucket(b"g", *call),
        first.bucket(b"h", *call),
        second.bucket(b"g", *call),
        first.bucket(b"g", "openai", ("n",), call[2]),
        first.bucket(b"g", "openai", ("m",), {"team": "b", "tier": True}),
    }
    assert len(buckets) == 5
    assert None not in buckets
    assert first.bucket(b"g", "openai", ("m",), {"team": "a"}) is None
    assert first.bucket(b"g", "openai", ("m",), {"team": "a", "tier": "2"}) is None
    assert told_of(first, "openai", "m") == (
        "Spend limit exceeded: rule 'r1' (cost limit 0.1 per 60s, sliding) for openai m"
    )
