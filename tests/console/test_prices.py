"""Against the list as installed: only prices that vendors have long settled are named."""

from datetime import UTC, datetime

import pytest
from genai_prices.data import providers as listed_providers

from sluice.console.price_process import Asked, Question
from sluice.console.prices import SLUGS, answer, models_in_full, prices_of, resolve
from sluice.providers.registry import PROVIDERS
from sluice.values.rates import Rates


def test_a_known_model_has_its_rates_in_nano_usd_per_million_tokens():
    assert resolve("openai", "gpt-4o-mini") == Rates(150_000_000, 600_000_000, 75_000_000)


def test_an_embedding_model_has_no_price_of_output():
    assert resolve("openai", "text-embedding-3-small") == Rates(20_000_000, None)


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini-2024-07-18", "GPT-4o-mini", "gpt-4o-mini-2099-01-31", "gpt-4o-mini-20990131"]
)
def test_a_dated_name_costs_what_the_undated_does(name):
    assert resolve("openai", name) == resolve("openai", "gpt-4o-mini")


def test_of_prices_with_tiers_the_first_is_taken():
    rates = resolve("google-ai-studio", "gemini-2.5-pro")
    assert rates is not None
    assert (rates.input, rates.output) == (1_250_000_000, 10_000_000_000)


def test_reasoning_that_the_list_prices_apart_is_priced_apart():
    rates = resolve("perplexity-ai", "sonar-deep-research")
    assert rates is not None
    assert rates.reasoning == 3_000_000_000


def test_audio_out_of_the_cache_has_a_price_of_its_own():
    rates = resolve("openai", "gpt-realtime")
    assert rates is not None
    assert (rates.audio_input, rates.cached_input, rates.cached_audio_input) == (32 * 10**9, 4 * 10**8, 4 * 10**8)


def test_a_price_is_that_of_its_day():
    before, after = datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
    old, new = resolve("openai", "o3", before), resolve("openai", "o3", after)
    assert old is not None
    assert new is not None
    assert (old.input, new.input) == (10_000_000_000, 2_000_000_000)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("nobody", "gpt-4o-mini"),
        ("huggingface", "gpt-4o-mini"),
    ],
)
def test_what_the_list_does_not_know_has_no_rates(provider, model):
    assert resolve(provider, model) is None


def test_every_provider_is_in_the_list_but_those_that_sell_by_the_second_or_the_call():
    unlisted = {
        "huggingface",
        "replicate",
        "parallel",
        "cartesia",
        "elevenlabs",
        "deepgram",
        "fal",
        "ideogram",
        "adobe-firefly",
    }
    assert PROVIDERS.keys() - set(SLUGS) == unlisted
    assert [slug for slug in SLUGS if next(prices_of(slug), None) is None] == []


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("google-ai-studio", "gemini-2.5-flash"),
        ("workers-ai", "@cf/meta/llama-3.1-8b-instruct"),
        ("groq", "llama-3.3-70b-versatile"),
        ("mistral", "mistral-large-latest"),
        ("cohere", "command-r-plus"),
        ("grok", "grok-4"),
        ("deepseek", "deepseek-chat"),
        ("openrouter", "openai/gpt-4o-mini"),
        ("perplexity-ai", "sonar"),
        ("azure-openai", "gpt-4o"),
        ("google-vertex-ai", "gemini-2.5-flash"),
        ("google-vertex-ai", "google/gemini-2.5-flash"),
        ("google-vertex-ai", "claude-sonnet-4-5@20250929"),
        ("aws-bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws-bedrock", "us.amazon.nova-lite-v1:0"),
    ],
)
def test_models_are_priced_by_the_names_that_their_vendors_give_them(provider, model):
    rates = resolve(provider, model)
    assert rates is not None
    assert rates.input


def test_another_vendors_models_are_priced_where_they_are_resold():
    assert resolve("azure-openai", "gpt-4o-mini") == resolve("openai", "gpt-4o-mini")


def test_the_parts_name_dated_models_too_and_agree_with_what_each_resolves_to():
    prices = [price for slug in SLUGS for price in prices_of(slug)]
    named = {(price.provider, price.model) for price in prices}
    assert {("openai", "gpt-4o-mini"), ("openai", "gpt-4o-2024-08-06"), ("anthropic", "claude-sonnet-4-5")} <= named
    assert len(named) == len(prices) > 500
    for price in prices[::50]:
        assert price.rates == resolve(price.provider, price.model)


def test_a_name_in_full_is_the_model_that_a_search_of_the_whole_list_finds():
    looked_up = {provider.id: models_in_full(provider.id) for provider in listed_providers}
    assert sum(map(len, looked_up.values())) > 1_000
    for provider in listed_providers:
        for name, model in looked_up[provider.id].items():
            assert provider.find_model(name, all_providers=listed_providers) is model
    assert resolve("openai", "GPT-4o-mini") == resolve("openai", "gpt-4o-mini")


def test_a_question_has_the_models_asked_for_and_the_part_wanted():
    today, models = datetime(2026, 1, 2, tzinfo=UTC), [("openai", "gpt-4o-mini"), ("openai", "made-up")]
    mini = Rates(150_000_000, 600_000_000, 75_000_000)
    alone = answer(Question(today, models))
    assert alone.asked == [Asked("openai", "gpt-4o-mini", mini), Asked("openai", "made-up", None)]
    assert (alone.listed, alone.parts) == ([], len(SLUGS))
    assert {price.provider for price in answer(Question(today, [], 0)).listed} == {SLUGS[0]}


def test_what_is_sold_otherwise_is_priced_otherwise():
    assert resolve("openai", "whisper-1") == Rates(None, None, audio_hour=360_000_000)  # 0.006 USD a minute
    assert resolve("openai", "tts-1") == Rates(None, None, characters=15_000_000_000)  # 15 USD a million
    sonnet = resolve("anthropic", "claude-sonnet-4-5")
    assert sonnet is not None
    assert sonnet.cache_write_1h == 2 * (sonnet.input or 0)
