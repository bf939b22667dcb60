"""A gateway as people configure it (contract 9.2): every field, built already or not."""

from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sluice.values.caching import clamped_ttl_s
from sluice.values.limits import Limited, RateLimit, SpendLimit
from sluice.values.request import ONE_TRY, Backoff, RetryPolicy
from sluice.values.tenancy import DEFAULT_GATEWAY, Gateway

Verdict = Literal["FLAG", "BLOCK"]
Hazard = Literal["P1", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13"]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class DlpPolicy(msgspec.Struct, frozen=True):
    id: str
    action: Verdict
    check: list[Literal["REQUEST", "RESPONSE"]]
    enabled: bool
    profiles: list[str]


class Dlp(msgspec.Struct, frozen=True):
    """Either the legacy form with `action` and `profiles`, or `policies`; what was left out stays out."""

    enabled: bool
    action: Verdict | UnsetType = UNSET
    profiles: list[str] | UnsetType = UNSET
    policies: list[DlpPolicy] | UnsetType = UNSET


class Guardrails(msgspec.Struct, frozen=True):
    """A hazard that is not named is ignored."""

    prompt: dict[Hazard, Verdict] = {}
    response: dict[Hazard, Verdict] = {}


class OtelExporter(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]
    authorization: str | UnsetType = UNSET
    content_type: Literal["json", "protobuf"] = "json"


class SpendScope(msgspec.Struct, frozen=True):
    mode: Literal["partition", "filter"]
    values: list[str] | UnsetType = UNSET


class SpendRule(msgspec.Struct, frozen=True):
    limit: Annotated[float, Meta(gt=0)]
    limit_type: Literal["cost"] = msgspec.field(name="limitType")
    window: Annotated[int, Meta(gt=0)]
    id: str | UnsetType = UNSET
    enabled: bool = True
    technique: Literal["fixed", "sliding"] = "sliding"
    model: SpendScope | UnsetType = UNSET
    provider: SpendScope | UnsetType = UNSET
    metadata: dict[str, SpendScope] | UnsetType = UNSET


class SpendLimits(msgspec.Struct, frozen=True):
    enabled: bool = False
    rules: Annotated[list[SpendRule], Meta(max_length=20)] = []


class StripeEvent(msgspec.Struct, frozen=True):
    payload: str


class Stripe(msgspec.Struct, frozen=True):
    authorization: str
    usage_events: list[StripeEvent]


class GatewayConfig(msgspec.Struct, frozen=True):
    """The fields a client may set. The defaults are those of a gateway of which nothing is said."""

    authentication: bool = False
    cache_invalidate_on_update: bool = True
    cache_ttl: Count | None = 0
    """Seconds; null is kept as 0."""
    collect_logs: bool = True
    rate_limiting_interval: Count | None = 0
    """Seconds; no limit where this or the next is 0 or null."""
    rate_limiting_limit: Count | None = 0
    rate_limiting_technique: Literal["fixed", "sliding"] | None = "fixed"
    log_management: Annotated[int, Meta(ge=10_000)] | None = None
    """Rows kept; None is what the account's plan allows."""
    log_management_strategy: Literal["STOP_INSERTING", "DELETE_OLDEST"] | None = None
    logpush: bool = False
    logpush_public_key: Annotated[str, Meta(min_length=16, max_length=1024)] | None = None
    retry_max_attempts: Annotated[int, Meta(ge=1, le=5)] | None = None
    retry_delay: Annotated[int, Meta(ge=0, le=60_000)] | None = None
    """Milliseconds."""
    retry_backoff: Backoff | None = None
    dlp: Dlp | None = Dlp(enabled=False, policies=[])
    guardrails: Guardrails | None = None
    otel: list[OtelExporter] | None = None
    spend_limits: SpendLimits | None = SpendLimits()
    store_id: str | None = None
    stripe: Stripe | None = None
    byok_only: bool = False
    log_classification: bool = False
    workers_ai_billing_mode: Literal["postpaid", "unified"] = "postpaid"
    zdr: bool = False


DEFAULT_GATEWAY_CONFIG = GatewayConfig(authentication=True)
"""What the gateway `default` is made with (contract 0.4)."""


def retry_policy(config: GatewayConfig) -> RetryPolicy:
    """How often a request is tried that does not say so itself."""
    asked = (config.retry_max_attempts or 1, config.retry_delay or 0, config.retry_backoff or "constant")
    return ONE_TRY if asked == (1, 0, "constant") else RetryPolicy(*asked)


MOST_USD: Final = 1e9
"""A limit past it is none that anybody reaches."""

MOST_S: Final = 1 << 40
"""Likewise of a window: 35,000 years."""


def limited_by(config: GatewayConfig) -> Limited | None:
    """The limits that are on; None where none is."""
    rate = None
    if config.rate_limiting_limit and config.rate_limiting_interval:
        technique = config.rate_limiting_technique or "fixed"
        rate = RateLimit(config.rate_limiting_limit, config.rate_limiting_interval, technique)
    asked = config.spend_limits
    rules = asked.rules if asked is not None and asked.enabled else []
    spend = tuple(_spend_limit(rule) for rule in rules if rule.enabled)
    return Limited(rate, spend) if rate or spend else None


def _spend_limit(rule: SpendRule) -> SpendLimit:
    models, by_model = _scope(rule.model)
    providers, by_provider = _scope(rule.provider)
    return SpendLimit(
        id=rule.id or "",
        limit_nano=max(round(min(rule.limit, MOST_USD) * 10**9), 1),
        said=format(Decimal(f"{rule.limit:.15g}"), "f"),
        window_s=min(rule.window, MOST_S),
        technique=rule.technique,
        models=models,
        providers=providers,
        by_model=by_model,
        by_provider=by_provider,
        metadata=tuple((key, _scope(scope)[0]) for key, scope in sorted((rule.metadata or {}).items())),
    )


def _scope(scope: SpendScope | UnsetType) -> tuple[frozenset[str] | None, bool]:
    """The values that it is for, None any, and whether each has a sum of its own."""
    if scope is UNSET:
        return None, False
    if scope.mode == "partition":
        return None, True
    return frozenset(scope.values or ()), False


def gateway_as(config: GatewayConfig, gateway: Gateway) -> Gateway:
    """The gateway as its fields now have it."""
    return msgspec.structs.replace(
        gateway,
        authentication=config.authentication,
        collect_logs=config.collect_logs,
        retry=retry_policy(config),
        limited=limited_by(config),
        cache_ttl_s=clamped_ttl_s(config.cache_ttl or 0),
    )


class GatewayRecord(msgspec.Struct, frozen=True):
    """A stored gateway in full."""

    gateway: Gateway
    config: GatewayConfig
    created_ms: int
    modified_ms: int

    @property
    def is_default(self) -> bool:
        return self.gateway.name == DEFAULT_GATEWAY
