"""Custom providers and the prices of their models as people configure them (contract 9.8)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sluice.values.custom_provider import SLUG_PATTERN

ModelRule = Literal["equals", "starts-with", "contains"]
Price = Annotated[float, Meta(ge=0, le=1_000_000)]
"""USD a token."""
Slug = Annotated[str, Meta(pattern=rf"^{SLUG_PATTERN}\Z")]
Text = Annotated[str, Meta(max_length=10_000)]
Url = Annotated[str, Meta(max_length=2000)]
MOST_PROVIDERS = 100
MOST_COSTS = 1000
"""Of an account."""


class CustomProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields a client may set."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    slug: Slug
    """What clients call it by, behind `custom-`. Its case does not matter."""
    base_url: Url
    enable: bool = False
    beta: bool = False
    description: Text | None = None
    link: Url | None = None
    headers: Annotated[str, Meta(max_length=16_384)] | None = None
    """A JSON object. Its values may be secret."""
    curl_example: Text | None = None
    js_example: Text | None = None
    position: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None

    def __repr__(self) -> str:
        return f"CustomProviderConfig({self.slug!r})"


class CustomProviderRecord(msgspec.Struct, frozen=True):
    """A stored one in full."""

    id: str
    config: CustomProviderConfig
    created_ms: int
    modified_ms: int


class TokenPricing(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Prices of kinds of tokens; what has none costs as the rest of its side."""

    input_tokens: Price | None = None
    output_tokens: Price | None = None
    input_cached_tokens: Price | None = None
    input_cache_creation_tokens: Price | None = None
    input_audio_tokens: Price | None = None
    input_image_tokens: Price | None = None
    output_reasoning_tokens: Price | None = None


class CustomCostConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the models that a rule fits cost, in USD a token. The fields a client may set."""

    account_provider_id: Annotated[str, Meta(min_length=1, max_length=64)]
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    model_rule: ModelRule = "equals"
    cost_in: Price | None = None
    cost_out: Price | None = None
    cost_type: Literal["tokens"] = "tokens"
    enable: bool = True
    token_pricing: TokenPricing | None = None
    """Wins over `cost_in` and `cost_out`."""

    @property
    def prices_nothing(self) -> bool:
        return self.cost_in is None and self.cost_out is None and self.token_pricing in (None, TokenPricing())


class CustomCostRecord(msgspec.Struct, frozen=True):
    """A stored one in full."""

    id: str
    config: CustomCostConfig
    created_ms: int
    modified_ms: int
