"""The groups of a dataset: its arguments and the dimensions that are selected, asked of roll-ups."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
)
from graphql.execution import get_directive_values

from sluice.console.access import Caller
from sluice.console.graphql.conditions import Filter, parse_filter
from sluice.console.graphql.datasets import LABELS, TIMES, Dataset
from sluice.console.rest.analytics import shards_of, told_too_fine, told_too_many
from sluice.storage.ports import AnalyticsReader, TooFine, TooManyGroups, UsageReader
from sluice.values.gateway import GatewayRecord
from sluice.values.ids import wall_ms
from sluice.values.log import NANO
from sluice.values.rollup import GATEWAY, AllOf, Group, Label, RollupQuery, Step, fits

LARGEST_LIMIT: Final = 10_000
_STEPS: Final[tuple[tuple[str, Step], ...]] = (("datetimeMinute", "minute"), ("datetimeHour", "hour"), ("date", "day"))

Row = dict[str, Any]
"""One group as GraphQL reads it: dictionaries by the names of fields."""


@dataclass(frozen=True, slots=True)
class Context:
    """What resolvers ask."""

    caller: Caller
    gateways: Callable[[str], list[GatewayRecord]]
    """All gateways of an account; none where there is no such account."""
    analytics: AnalyticsReader
    usage: UsageReader
    deadline_s: float
    """By time.monotonic: no dataset is begun past it."""

    def seen(self, account: str) -> list[GatewayRecord]:
        """The gateways that the caller may see."""
        return [record for record in self.gateways(account) if self.caller.reaches(record.gateway.name)]


def groups_of(dataset: Dataset, account: str, info: GraphQLResolveInfo, arguments: dict[str, object]) -> list[Row]:
    context: Context = info.context
    limit = _limit(arguments.get("limit"))
    asked = parse_filter(arguments.get("filter"))
    selected = _selected(info)
    orders = _orders(dataset, arguments.get("orderBy"), selected)
    if time.monotonic() > context.deadline_s:
        raise GraphQLError("The time for this request is up: ask for fewer datasets at once.")
    if asked.from_ms >= asked.to_ms:
        return []
    rows = _stored(context, account, asked) if dataset.rows else _counted(dataset, context, account, asked, selected)
    for field, is_descending in reversed(orders):
        rows.sort(key=_sort_key(field), reverse=is_descending)
    return rows[:limit]


def _limit(given: object) -> int:
    if given is None:
        return LARGEST_LIMIT
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= LARGEST_LIMIT:
        raise GraphQLError(f"limit: expected a number from 1 to {LARGEST_LIMIT}.")
    return given


def _orders(dataset: Dataset, given: object, selected: Sequence[str]) -> list[tuple[str, bool]]:
    orders = []
    for order in given if isinstance(given, list) else [] if given is None else [given]:
        field, _, direction = str(order).rpartition("_")
        if field not in dataset.sortable or direction not in ("ASC", "DESC"):
            raise GraphQLError(f"orderBy: there is no {order}.")
        if field in dataset.dimensions and field not in selected:
            raise GraphQLError(f"orderBy: {order} needs {field} among the dimensions that are asked for.")
        orders.append((field, direction == "DESC"))
    return orders


def _sort_key(field: str) -> Callable[[Row], Any]:
    first, _, rest = field.partition("_")
    if first in ("sum", "max"):
        return lambda row: row[first][rest]
    if field == "count":
        return lambda row: row["count"]
    return lambda row: row["dimensions"][field]


def _counted(dataset: Dataset, context: Context, account: str, asked: Filter, selected: Sequence[str]) -> list[Row]:
    labels = tuple(field for field in selected if field in LABELS)
    group_by = tuple(dict.fromkeys(LABELS[field][0] for field in labels))
    step: Step = next((step for field, step in _STEPS if field in selected), "none")
    query = RollupQuery(asked.from_ms, asked.to_ms, step, group_by, where=AllOf((dataset.only, asked.test)))
    try:
        found = context.analytics.groups(shards_of(context.seen(account)), query)
    except TooFine as fault:
        raise GraphQLError(f"{told_too_fine(fault)}.") from None
    except TooManyGroups as fault:
        raise GraphQLError(f"{told_too_many(fault)}.") from None
    if not found.complete:
        raise GraphQLError("The time was up before all was counted: ask for a shorter time or fewer gateways.")
    return [_row(group, group_by, labels) for group in found.groups]


def _row(group: Group, group_by: Sequence[str], labels: Sequence[str]) -> Row:
    named = dict(zip(group_by, group.labels, strict=True))
    return {
        "count": group.requests,
        "sum": {
            "cachedRequests": group.cached,
            "erroredRequests": group.errors,
            "cachedTokensIn": group.cached_tokens_in,
            "cachedTokensOut": group.cached_tokens_out,
            "uncachedTokensIn": group.tokens_in - group.cached_tokens_in,
            "uncachedTokensOut": group.tokens_out - group.cached_tokens_out,
            "cost": group.cost_nano / NANO,
        },
        "dimensions": {field: _shown(field, named[LABELS[field][0]]) for field in labels} | _times(group.start_ms),
    }


def _shown(field: str, label: Label) -> str | int:
    if field == "cacheStatus":
        return "hit" if label else "miss"
    return int(label) if isinstance(label, bool) else label


def _times(start_ms: int | None) -> dict[str, str]:
    if start_ms is None:
        return {}
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    hour = start.replace(minute=0)
    texts = {"datetimeMinute": start, "datetimeHour": hour}
    return {"date": start.date().isoformat()} | {
        field: at.isoformat(timespec="seconds").replace("+00:00", "Z") for field, at in texts.items()
    }


def _stored(context: Context, account: str, asked: Filter) -> list[Row]:
    """Logs that are stored now: there is none of another time."""
    if not asked.from_ms <= wall_ms() < asked.to_ms:
        return []
    used = context.usage.of(account)
    rows = []
    for record in context.seen(account):
        found = used.get(record.gateway.id.hex())
        if fits(asked.test, {GATEWAY: record.gateway.name}):
            count = found.rows if found else 0
            rows.append({"max": {"rows": count}, "dimensions": {"gateway": record.gateway.name}})
    return rows


def _selected(info: GraphQLResolveInfo) -> tuple[str, ...]:
    """The dimensions that are asked for, each once."""
    asked = (
        field
        for group in _fields(info, info.field_nodes)
        if group.name.value == "dimensions"
        for field in _fields(info, [group])
    )
    names = dict.fromkeys(field.name.value for field in asked)
    return tuple(name for name in names if name in LABELS or name in TIMES)


def _fields(info: GraphQLResolveInfo, parents: Sequence[FieldNode]) -> Iterator[FieldNode]:
    """The fields that stand in these, those of fragments among them."""
    waiting: list[SelectionNode] = [
        node for parent in parents if parent.selection_set for node in parent.selection_set.selections
    ]
    while waiting:
        node = waiting.pop(0)
        if not _is_included(info, node):
            continue
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            waiting += info.fragments[node.name.value].selection_set.selections
        elif isinstance(node, InlineFragmentNode):
            waiting += node.selection_set.selections


def _is_included(info: GraphQLResolveInfo, node: SelectionNode) -> bool:
    skip = get_directive_values(GraphQLSkipDirective, node, info.variable_values)
    include = get_directive_values(GraphQLIncludeDirective, node, info.variable_values)
    return not (skip and skip["if"]) and not (include and not include["if"])
