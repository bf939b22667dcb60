"""Requests, tokens, cost, errors and speed over time (contract 8.5), counted from roll-ups alone."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.datastructures import QueryParams
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, reply, unix_ms
from sluice.console.parsing import parse_query
from sluice.console.rest.gateways import require_gateway
from sluice.storage.ports import Slice, TooFine, TooManyGroups
from sluice.values.gateway import GatewayRecord
from sluice.values.ids import wall_ms
from sluice.values.log import NANO, ShardKey
from sluice.values.rollup import (
    CACHED,
    DIMENSIONS,
    GATEWAY,
    METADATA,
    MODEL,
    PROVIDER,
    WITH_METADATA,
    AllOf,
    Condition,
    Group,
    Label,
    Percentiles,
    Rollup,
    RollupQuery,
    Step,
)

MOST_GATEWAYS: Final = 1_000
"""The oldest of the account, as `usage` has them."""
_DAY_MS: Final = 86_400_000
_LATEST_MS: Final = 253_402_214_400_000
_GROUPED_BY: Final = (GATEWAY, PROVIDER, MODEL, "status_code", CACHED)
_TESTED: Final = (GATEWAY, PROVIDER, MODEL)

Time = Annotated[datetime, Meta(tz=True)]


class Asked(msgspec.Struct, frozen=True):
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None
    step: Step = "hour"


class ShownPercentiles(msgspec.Struct, frozen=True):
    p50: int
    p95: int
    p99: int


class ShownGroup(msgspec.Struct, frozen=True):
    start: str | None
    dimensions: dict[str, Label]
    requests: int
    errors: int
    cached: int
    tokens_in: int
    tokens_out: int
    cached_tokens_in: int
    """Of requests that the cache answered."""
    cached_tokens_out: int
    cost: float
    duration: ShownPercentiles | None
    latency: ShownPercentiles | None
    """To the first byte; null where nothing came."""


class ShownRollup(msgspec.Struct, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str
    step: Step
    group_by: tuple[str, ...]
    complete: bool
    groups: list[ShownGroup]


async def of_gateway(call: Call) -> Response:
    return await _answer(call, [await require_gateway(call)])


async def of_account(call: Call) -> Response:
    records, _ = await call.desk.ask(call.desk.control.gateways, call.account, Slice(0, MOST_GATEWAYS))
    return await _answer(call, records)


async def _answer(call: Call, records: list[GatewayRecord]) -> Response:
    query = _query(call.request.query_params, call.desk.settings.logs.rollup_metadata)
    try:
        found = await call.desk.read(call.desk.analytics.groups, shards_of(records), query)
    except TooFine as fault:
        raise invalid(told_too_fine(fault), "query", "from") from None
    except TooManyGroups as fault:
        raise invalid(told_too_many(fault), "query") from None
    return reply(_shown(query, found))


def shards_of(records: list[GatewayRecord]) -> dict[str, ShardKey]:
    return {record.gateway.name: ShardKey(record.gateway.account, record.gateway.id.hex()) for record in records}


def told_too_fine(fault: TooFine) -> str:
    return f"Minutes are kept since {iso_ms(fault.since_ms)} only: begin there, or ask by the hour"


def told_too_many(fault: TooManyGroups) -> str:
    return f"There are more than {fault.most} groups: ask for a shorter time, a longer step or fewer dimensions"


def _query(params: QueryParams, metadata_keys: tuple[str, ...]) -> RollupQuery:
    asked = parse_query(params, Asked)
    to_ms = min(unix_ms(asked.to) if asked.to else wall_ms(), _LATEST_MS)
    from_ms = max(unix_ms(asked.from_) if asked.from_ else to_ms - _DAY_MS, 0)
    if from_ms >= to_ms:
        raise invalid("The time ends before it begins", "query", "to")
    group_by = tuple(name for text in params.getlist("group_by") for name in text.split(",") if name)
    key = _metadata_key(group_by, metadata_keys)
    tests = tuple(Condition(name, "in", tuple(values)) for name in _TESTED if (values := params.getlist(name)))
    if key:
        _refuse_beside_metadata((*group_by, *(test.dimension for test in tests)))
    return RollupQuery(from_ms, to_ms, asked.step, group_by, key, AllOf(tests), percentiles=True)


def _metadata_key(group_by: tuple[str, ...], metadata_keys: tuple[str, ...]) -> str:
    """The one metadata key that is grouped by, if any is."""
    if len(set(group_by)) < len(group_by):
        raise invalid("A dimension is named twice", "query", "group_by")
    keys = [name.removeprefix(METADATA) for name in group_by if name.startswith(METADATA)]
    for name in group_by:
        if not name.startswith(METADATA) and name not in _GROUPED_BY:
            known = ", ".join((*_GROUPED_BY, *(METADATA + key for key in metadata_keys)))
            raise invalid(f"There is no dimension {name}: known are {known}", "query", "group_by")
    for key in keys:
        if key not in metadata_keys:
            raise invalid(f"Metadata {key} is not counted: name it in logs.rollup_metadata", "query", "group_by")
    if len(keys) > 1:
        raise invalid("Metadata keys are counted each by itself: group by one of them", "query", "group_by")
    return keys[0] if keys else ""


def _refuse_beside_metadata(dimensions: tuple[str, ...]) -> None:
    for name in dimensions:
        if name in DIMENSIONS and name not in WITH_METADATA:
            raise invalid(f"Metadata values are counted without {name}", "query", "group_by")


def _shown(query: RollupQuery, found: Rollup) -> ShownRollup:
    groups = [_shown_group(query.group_by, group) for group in found.groups]
    return ShownRollup(
        iso_ms(max(found.from_ms, 0)), iso_ms(found.to_ms), query.step, query.group_by, found.complete, groups
    )


def _shown_group(group_by: tuple[str, ...], group: Group) -> ShownGroup:
    return ShownGroup(
        None if group.start_ms is None else iso_ms(group.start_ms),
        dict(zip(group_by, group.labels, strict=True)),
        *group[2:9],
        group.cost_nano / NANO,
        _shown_percentiles(group.duration),
        _shown_percentiles(group.latency),
    )


def _shown_percentiles(found: Percentiles | None) -> ShownPercentiles | None:
    return None if found is None else ShownPercentiles(*found)
