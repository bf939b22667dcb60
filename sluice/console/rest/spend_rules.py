"""The rules of spend limits as they are saved (contract 6.2): each with an id, by which its sums are found again."""

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from sluice.console.envelope import invalid
from sluice.providers.registry import canonical, find
from sluice.values.gateway import GatewayConfig, SpendRule, SpendScope

LONGEST_ID: Final = 64
MOST_KEYS: Final = 5
"""Of metadata: a request has no more (contract 14)."""
MOST_VALUES: Final = 100


def with_rule_ids(config: GatewayConfig, present: Sequence[SpendRule]) -> GatewayConfig:
    """The same with an id for each rule: its own, that of a present one that says the same, or a new one."""
    if config.spend_limits is None:
        return config
    taken = {rule.id for rule in config.spend_limits.rules if rule.id}
    if len(taken) < sum(bool(rule.id) for rule in config.spend_limits.rules):
        raise invalid("Two rules have the same id", "body", "spend_limits")
    free = [rule for rule in present if rule.id not in taken]
    checked = [_checked(rule) for rule in config.spend_limits.rules]
    rules = [rule if rule.id else _named(rule, free) for rule in checked]
    return msgspec.structs.replace(config, spend_limits=msgspec.structs.replace(config.spend_limits, rules=rules))


def _named(rule: SpendRule, free: list[SpendRule]) -> SpendRule:
    known = next((one for one in free if msgspec.structs.replace(one, id=rule.id) == rule), None)
    if known is not None:
        free.remove(known)
    return msgspec.structs.replace(rule, id=known.id if known else secrets.token_hex(4))


def _checked(rule: SpendRule) -> SpendRule:
    if rule.id and not (len(rule.id) <= LONGEST_ID and rule.id.isascii() and rule.id.isprintable()):
        raise invalid(f"A rule's id is up to {LONGEST_ID} printable ASCII characters", "body", "spend_limits")
    metadata = rule.metadata or {}
    if len(metadata) > MOST_KEYS:
        raise invalid(f"A rule names at most {MOST_KEYS} metadata keys", "body", "spend_limits")
    for scope in (rule.model, rule.provider, *metadata.values()):
        _check_scope(scope)
    return msgspec.structs.replace(rule, provider=_canonical(rule.provider))


def _canonical(scope: SpendScope | UnsetType) -> SpendScope | UnsetType:
    """A filter of providers by the names that logs have of them, whatever clients call them."""
    if scope is UNSET or not scope.values:
        return scope
    for slug in scope.values:
        if find(slug) is None:
            raise invalid(f"There is no provider {slug[:64]!r}", "body", "spend_limits")
    return msgspec.structs.replace(scope, values=[canonical(slug) for slug in scope.values])


def _check_scope(scope: SpendScope | UnsetType) -> None:
    if scope is UNSET:
        return
    count = len(scope.values or ())
    if scope.mode == "filter" and not 0 < count <= MOST_VALUES:
        raise invalid(f"A filter has 1 to {MOST_VALUES} values", "body", "spend_limits")
    if scope.mode == "partition" and count:
        raise invalid("A partition has no values: each is counted by itself", "body", "spend_limits")
