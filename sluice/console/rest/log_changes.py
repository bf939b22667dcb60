"""Changes to stored logs: feedback, score and metadata of one, and deletes of many (contract 7.6, 9.4)."""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.desk import SEARCH_S, Desk
from sluice.console.envelope import invalid, json_response, not_found, reply, unix_ms
from sluice.console.filters import is_of_filters, parse_filters
from sluice.console.parsing import parse_body, parse_query
from sluice.console.rest.analytics import Time
from sluice.console.rest.logs import Direction, shard_of
from sluice.providers.custom_pricing import fitting, rates_of
from sluice.providers.pricing import is_priced_by_model, list_cost
from sluice.storage.ports import LogQuery, OrderBy
from sluice.values.command import Change
from sluice.values.custom_provider import is_custom
from sluice.values.ids import number_of, text_of
from sluice.values.log import MAX_METADATA_BYTES, LogEntry, Scalar, ShardKey, kept_metadata
from sluice.values.log_filter import Filter, FilterValue
from sluice.values.rates import Rates

MOST_DELETED = 10_000
REPRICED_AT_ONCE = 500


class LogEdit(msgspec.Struct, frozen=True):
    """What is named is changed. Clients send numbers as they have them, 1 or 1.0."""

    feedback: float | UnsetType | None = UNSET
    score: Annotated[float, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    metadata: dict[str, Scalar] | UnsetType | None = UNSET


class LogDelete(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST_DELETED)] = MOST_DELETED
    order_by: OrderBy = "created_at"
    order_by_direction: Direction = "desc"


class Deleted(msgspec.Struct, frozen=True):
    """Not in an envelope: clients read it as it is."""

    success: bool = True


async def edit(call: Call) -> Response:
    shard = await shard_of(call)
    change = _change(parse_body(await call.body(), LogEdit))
    log_id = _log_id(call.named("log"))
    if log_id is None or not await call.desk.commands.give(shard, [log_id], change):
        raise not_found()
    return reply({})


class Reprice(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Logs made from one time up to, not including, another; `cursor` is `next_cursor` of the call before."""

    from_: Time
    to: Time
    cursor: str | None = None


class Repriced(msgspec.Struct, frozen=True):
    """How many logs were gone through, and where the next call goes on; null at the end."""

    count: int
    unpriced: int
    """Those among them that stay as they are because no price of their model is known."""
    next_cursor: str | None


async def reprice(call: Call) -> Response:
    """Some of the logs of a time, from the oldest: who asks calls again until there is no cursor."""
    shard = await shard_of(call)
    asked = parse_body(await call.body(), Reprice)
    cursor = None if asked.cursor is None else _cursor(asked.cursor)
    since, until = unix_ms(asked.from_), unix_ms(asked.to)
    if since >= until:
        raise invalid("The time must end after it begins", "body", "to")
    filters = (Filter("created_at", "gt", (since - 1,)), Filter("created_at", "lt", (until,)))
    query = LogQuery(1, REPRICED_AT_ONCE, "created_at", False, filters, "", cursor, count=False)
    page = await call.desk.search(call.desk.logs.page, shard, query)
    unpriced = 0
    if page.entries:
        unpriced = await call.desk.ask(_unpriced, call.desk, shard.account, page.entries)
        await call.desk.commands.give(shard, [entry.id for entry in page.entries], Change(reprice=True))
    return reply(Repriced(len(page.entries), unpriced, None if page.cursor is None else str(page.cursor)))


def _unpriced(desk: Desk, account: str, entries: Sequence[LogEntry]) -> int:
    rates = cache(lambda provider, model: _rates(desk, account, provider, model))
    asked = ((entry, rates(entry.provider, entry.model)) for entry in entries if is_priced_by_model(entry))
    return sum(found is None or list_cost(entry.usage, found) is None for entry, found in asked)


def _rates(desk: Desk, account: str, provider: str, model: str) -> Rates | None:
    if not is_custom(provider):
        return desk.control.rates(provider, model)
    price = fitting(desk.customs.prices(account, provider), model)
    return None if price is None else rates_of(price)


def _cursor(text: str) -> int:
    if not text.isdigit() or len(text) > 19:
        raise invalid("No such cursor", "body", "cursor")
    return int(text)


async def delete(call: Call) -> Response:
    shard = await shard_of(call)
    if log_ids := await _chosen(call, shard):
        await call.desk.commands.give(shard, log_ids, None)
    return json_response(Deleted())


def _change(asked: LogEdit) -> Change:
    return Change(_feedback(asked.feedback), asked.score, _metadata(asked.metadata))


def _feedback(asked: float | UnsetType | None) -> Literal[-1, 0, 1] | UnsetType | None:
    if asked is None or isinstance(asked, UnsetType):
        return asked
    if asked not in (-1, 0, 1):
        raise invalid("Feedback must be -1, 0, 1 or null", "body", "feedback")
    return cast(Literal[-1, 0, 1], int(asked))


def _metadata(asked: dict[str, Scalar] | UnsetType | None) -> dict[str, Scalar] | UnsetType | None:
    if not asked or isinstance(asked, UnsetType):
        return asked
    if len(msgspec.json.encode(asked)) > MAX_METADATA_BYTES:
        raise invalid(f"Metadata must have at most {MAX_METADATA_BYTES} bytes", "body", "metadata")
    try:
        return kept_metadata(asked)
    except OverflowError:
        raise invalid("Number out of range", "body", "metadata") from None


async def _chosen(call: Call, shard: ShardKey) -> list[str]:
    """The ids of the logs to be deleted. What is not clear is refused: ignored or guessed, it would delete too much."""
    filters, rest = [], {}
    for name, value in call.request.query_params.multi_items():
        if is_of_filters(name):
            filters.append((name, value))
        elif name in LogDelete.__struct_fields__:
            rest[name] = value
        else:
            raise invalid("A delete has no such parameter", "query", name)
    asked = parse_query(rest, LogDelete)
    descending = asked.order_by_direction == "desc"
    conditions = parse_filters(filters, MOST_DELETED, certain=True)
    if filters and not conditions:
        raise invalid("There is no filter in it", "query", "filters")
    match conditions:
        case (Filter("id", "eq", values),) if asked.order_by == "created_at":
            return sorted(_known(values), reverse=descending)[: asked.limit]
    query = LogQuery(1, asked.limit, asked.order_by, descending, parse_filters(filters))
    return await call.desk.search(call.desk.logs.ids, shard, query, SEARCH_S)


def _known(values: Sequence[FilterValue]) -> set[str]:
    """The ids among them, of which a delete may name more than another filter has values."""
    return {log_id for value in values if (log_id := _log_id(str(value)))}


def _log_id(text: str) -> str | None:
    """As the log bears it, whatever the case of the text; None where it is no log's."""
    try:
        return text_of(number_of(text))
    except ValueError:
        return None
