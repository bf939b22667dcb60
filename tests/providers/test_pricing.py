import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.providers.pricing import MAX_NANO, custom_cost, list_cost, parse_custom_cost
from sluice.values.log import Usage
from sluice.values.rates import Rates

USD = 10**9
MINI = Rates(input=15 * USD // 100, output=60 * USD // 100, cached_input=75 * USD // 1000)
"""0.15, 0.60 and 0.075 USD a million tokens."""
LIVE = Rates(4 * USD, 16 * USD, 4 * USD // 10, audio_input=32 * USD, cached_audio_input=USD)

TABLE = [
    # usage, rates, nano-USD worked out by hand
    (Usage(12, 34), MINI, 12 * 150 + 34 * 600),  # 22,200 nano = 0.0000222 USD, as contract B.4 has it
    (Usage(100, 0, cached_in=64), MINI, 36 * 150 + 64 * 75),
    (Usage(100, 10, cached_in=0), MINI, 100 * 150 + 10 * 600),
    (Usage(100, 10, cached_in=100), MINI, 100 * 75 + 10 * 600),
    (Usage(100, 10, cached_in=500), MINI, 100 * 75 + 10 * 600),  # a part cannot exceed the whole
    (Usage(1_000_000, 1_000_000), MINI, 750_000_000),
    (Usage(0, 0), MINI, 0),
    (Usage(8), MINI, 8 * 150),
    (Usage(None, 8), MINI, 8 * 600),
    (Usage(), MINI, None),
    (Usage(total=100), MINI, None),
    (Usage(8, None, 8), Rates(20 * 10**6, None), 160),  # an embedding
    (Usage(8, 0), Rates(20 * 10**6, None), 160),
    (Usage(8, 1), Rates(20 * 10**6, None), None),
    (Usage(8, 1), Rates(None, USD), None),
    (Usage(0, 0), Rates(None, None), None),
    # 2 USD a million written to the cache for an hour, 1.25 for less
    (Usage(100, 10, cache_write=60, cache_write_1h=20),
     Rates(USD, USD, cache_write=125 * USD // 100, cache_write_1h=2 * USD),
     40 * 1000 + 40 * 1250 + 20 * 2000 + 10 * 1000),
    (Usage(100, 10, cache_write=60, cache_write_1h=20), Rates(USD, USD, cache_write=125 * USD // 100),
     40 * 1000 + 60 * 1250 + 10 * 1000),
    # 15 USD a million characters; 0.111 USD an hour: of 90 s 0.002775 USD; 5 USD a thousand calls, beside their tokens
    (Usage(characters_in=11), Rates(None, None, characters=15 * USD), 11 * 15_000),
    (Usage(audio_in_ms=90_000), Rates(None, None, audio_hour=111 * USD // 1000), 2_775_000),
    (Usage(100, 10, audio_in_ms=90_000), Rates(None, None, audio_hour=111 * USD // 1000), 2_775_000),
    (Usage(audio_in_ms=90_000), Rates(USD, USD), None),
    (Usage(100, 10), Rates(USD, USD, requests=5 * USD), 110 * 1000 + 5_000_000),
    (Usage(), Rates(USD, USD, requests=5 * USD), None),
    (Usage(100, 10, cached_in=40), Rates(USD, USD), 110 * 1000),  # no price apart: as the rest
    (Usage(100, 10, cached_in=40, cache_write=50), Rates(3 * USD, 15 * USD, 3 * USD // 10, 375 * USD // 100),
     10 * 3000 + 40 * 300 + 50 * 3750 + 10 * 15000),
    (Usage(10, 50, reasoning=30), Rates(2 * USD, 8 * USD, reasoning=3 * USD), 10 * 2000 + 20 * 8000 + 30 * 3000),
    (Usage(10, 50, reasoning=30), Rates(2 * USD, 8 * USD), 10 * 2000 + 50 * 8000),
    (Usage(14, 101, audio_in=4), Rates(25 * USD // 10, 10 * USD, audio_input=6 * USD),
     10 * 2500 + 4 * 6000 + 101 * 10000),
    # 4 USD a million, 0.40 out of the cache, 32 for audio, 1 for audio out of the cache: each token is paid once
    (Usage(1000, 0, cached_in=500, audio_in=500, cached_audio_in=500), LIVE, 500 * 4000 + 500 * 1000),
    (Usage(1000, 0, cached_in=500, audio_in=500, cached_audio_in=200), LIVE,
     200 * 4000 + 300 * 400 + 300 * 32000 + 200 * 1000),
    (Usage(1000, 0, cached_in=500, audio_in=400, cached_audio_in=900), LIVE,
     500 * 4000 + 100 * 400 + 400 * 1000),
    (Usage(1000, 0, cached_in=500, audio_in=500), LIVE, 500 * 400 + 500 * 32000),
    (Usage(1000, 0, cached_in=500, cached_audio_in=500), LIVE, 500 * 4000 + 500 * 400),
    (Usage(1000, 0, cached_in=500, audio_in=500, cached_audio_in=500),
     Rates(4 * USD, 16 * USD, 4 * USD // 10, audio_input=32 * USD), 500 * 4000 + 500 * 400),
    (Usage(1000, 0, cached_in=500, audio_in=500, cached_audio_in=500),
     Rates(4 * USD, 16 * USD, audio_input=32 * USD), 500 * 4000 + 500 * 32000),
    (Usage(50, 50, image_in=40), Rates(5 * USD, 40 * USD, image_input=10 * USD), 10 * 5000 + 40 * 10000 + 50 * 40000),
    (Usage(1, 0), Rates(499_999, 1), 0),
    (Usage(1, 0), Rates(500_000, 1), 1),  # half a unit goes up
    (Usage(1, 1), Rates(400_000, 400_000), 1),  # rounded once, on the sum
    (Usage(10**12, 10**12), Rates(10**17, 10**17), None),  # more than a store can hold
]  # fmt: skip


@pytest.mark.parametrize(("usage", "rates", "nano"), TABLE)
def test_the_list_price_is_what_was_worked_out_by_hand(usage, rates, nano):
    assert list_cost(usage, rates) == nano


COUNTS = st.none() | st.integers(0, 10**12)
PRICES = st.none() | st.integers(0, 10**12)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@given(USAGES, st.builds(Rates, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES))
def test_a_list_price_is_unknown_or_fits_the_store(usage, rates):
    cost = list_cost(usage, rates)
    assert cost is None or 0 <= cost <= MAX_NANO


CUSTOM = [
    ({"per_token_in": 0.000001, "per_token_out": 0.000002}, Usage(100, 50), 200_000),
    ({"per_token_in": 1e-9, "per_token_out": 0}, Usage(3, 5), 3),
    ({"per_token_in": 1e-10, "per_token_out": 0}, Usage(4, 0), 0),
    ({"per_token_in": 1e-10, "per_token_out": 0}, Usage(5, 0), 1),
    ({"per_token_in": 0.1, "per_token_out": 0.2}, Usage(3, 3), 900_000_000),
    ({"per_token_in": 0.000002, "per_token_out": 0.00001}, Usage(100, 10, cached_in=40, cache_write=20), 300_000),
    (
        {"per_token_in": 0.000002, "per_token_out": 0.00001, "per_cache_read_token": 0.000001},
        Usage(100, 10, cached_in=40, cache_write=20),
        60 * 2000 + 40 * 1000 + 100_000,
    ),
    (
        {"per_token_in": 0.000002, "per_token_out": 0.00001, "per_cache_write_token": 0.000003},
        Usage(100, 10, cached_in=40, cache_write=20),
        80 * 2000 + 20 * 3000 + 100_000,
    ),
    (
        {"per_token_in": 0.000002, "per_token_out": 0, "per_cache_read_token": 0, "per_cache_write_token": 0},
        Usage(100, 10, cached_in=200, cache_write=20),
        0,
    ),
    ({"per_token_in": 0.000002}, Usage(8, None), 16_000),
    ({"per_token_out": 0.000002}, Usage(8, 2), 4_000),
    ({"per_token_in": 0.000002, "per_token_out": 0.1}, Usage(), None),
    ({"total_cost": 0.25}, Usage(), 250_000_000),
    ({"total_cost": 0}, Usage(5, 5), 0),
    ({"total_cost": "0.0000000015"}, Usage(5, 5), 2),
    ({"total_cost": 1, "per_token_in": 5, "per_token_out": 5}, Usage(5, 5), 1_000_000_000),
    ({"per_token_in": 10**9, "per_token_out": 0}, Usage(10**12, 0), None),
    ({"per_token_in": 0.1, "per_token_out": 0.1, "note": "unknown keys are left alone"}, Usage(1, 1), 200_000_000),
]


@pytest.mark.parametrize(("header", "usage", "nano"), CUSTOM)
def test_a_custom_cost_is_what_was_worked_out_by_hand(header, usage, nano):
    cost = parse_custom_cost(json.dumps(header).encode())
    assert cost is not None
    assert custom_cost(usage, cost) == nano


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"null",
        b"5",
        b"{",
        b'{"per_token_in":-1}',
        b'{"per_token_in":"NaN"}',
        b'{"per_token_in":"sNaN"}',
        b'{"per_token_in":"Infinity"}',
        b'{"per_token_in":1e400}',
        b'{"per_token_in":1e99999999999999999999}',
        b'{"per_token_in":true}',
        b'{"per_token_in":[]}',
        b'{"per_cache_read_token":1}',
        b'{"per_token_in":1,"per_token_out":-1}',
        b"[" * 100_000,
        b'{"total_cost":"\xff"}',
    ],
)
def test_a_malformed_custom_cost_is_ignored(raw):
    assert parse_custom_cost(raw) is None


@given(
    st.decimals(0, 1, places=15),
    st.decimals(0, 1, places=15),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_custom_cost_is_exact_to_half_a_nano(per_in, per_out, tokens_in, tokens_out):
    cost = parse_custom_cost(b'{"per_token_in":%s,"per_token_out":%s}' % (str(per_in).encode(), str(per_out).encode()))
    assert cost is not None
    exact = (Fraction(per_in) * tokens_in + Fraction(per_out) * tokens_out) * 10**9
    assert custom_cost(Usage(tokens_in, tokens_out), cost) == int(exact + Fraction(1, 2))


@given(st.binary(max_size=60))
def test_no_header_breaks_the_parser(raw):
    cost = parse_custom_cost(raw)
    assert cost is None or custom_cost(Usage(5, 5), cost) is not None
