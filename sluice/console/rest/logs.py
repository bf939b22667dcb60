"""Logs of a gateway (contract 9.4): pages, one in full, and the bodies as they went over the wire."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from sluice.console.call import Call
from sluice.console.desk import BODY_SEARCH_S
from sluice.console.envelope import PageInfo, forbidden, invalid, not_found, reply, reply_page
from sluice.console.filters import parse_deprecated, parse_filters
from sluice.console.paging import Paging
from sluice.console.parsing import parse_query
from sluice.console.rest.gateways import require_gateway
from sluice.formats.encodings import PIECE_BYTES, coding_of, decoded
from sluice.insight.logs import HEAD_BYTES, log_detail, log_row
from sluice.storage.ports import Extremes, LogQuery, NumberOrder, OrderBy, Side
from sluice.values.log import NANO, LogEntry, ShardKey
from sluice.values.log_filter import LONGEST_VALUE, Filter

Direction = Literal["asc", "desc"]
NUMBER_ORDERS: Final[frozenset[str]] = frozenset(get_args(NumberOrder))
SHORTEST_BODY_TEXT: Final = 3
DEEPEST: Final = 10_000
"""No index has the order of a number: a page of it needs all logs before it in memory."""

BODY_HEADERS = {
    # What a provider or a client sent is shown from our origin: no browser may take it for a page of ours.
    "content-security-policy": "sandbox",
    "x-content-type-options": "nosniff",
    "vary": "accept-encoding",
}


class LogList(Paging, frozen=True):
    per_page: Annotated[int, Meta(ge=1, le=50)] = 20
    order_by: OrderBy = "created_at"
    order_by_direction: Direction | None = None
    direction: Direction | None = None
    """The same by its old name."""
    search: Annotated[str, Meta(max_length=LONGEST_VALUE)] = ""
    meta_info: bool = False
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """Ours: pages count from the log behind this one; `next_cursor` of the page before tells it."""
    body: Annotated[str, Meta(min_length=SHORTEST_BODY_TEXT, max_length=LONGEST_VALUE)] | None = None
    """Ours: a text in one of the bodies."""

    def query(self, filters: tuple[Filter, ...]) -> LogQuery:
        direction = self.order_by_direction or self.direction or "desc"
        if self.body is not None and (self.page != 1 or self.order_by != "created_at"):
            raise invalid("A body search goes by cursor, in the order of created_at, without pages", "query", "body")
        if self.cursor is not None and self.order_by != "created_at":
            raise invalid("A cursor needs the order of created_at", "query", "cursor")
        if self.order_by in NUMBER_ORDERS and self.page * self.per_page > DEEPEST:
            raise invalid(f"The order of {self.order_by} has no page past {DEEPEST} logs: filter", "query", "page")
        search = self.search.strip()
        return LogQuery(self.page, self.per_page, self.order_by, direction == "desc", filters, search, self.cursor)


class LogPageInfo(PageInfo, frozen=True, omit_defaults=True):
    """Ours are the last three: whether the count and the page are all there is, and where the next page begins."""

    total_count_exact: bool = True
    complete: bool = True
    next_cursor: str | None = None
    """Text: JavaScript knows no whole number so large."""


class BodySearchInfo(LogPageInfo, frozen=True, kw_only=True):
    """`total_count` is how many were found; `complete` says that no more logs are to be looked through."""

    looked_through: int


class ExtremesInfo(LogPageInfo, frozen=True, kw_only=True):
    """With `meta_info`: least and most of all logs that fit, null where none has a value or the time was up."""

    min_cost: float | None
    max_cost: float | None
    min_duration: int | None
    max_duration: int | None
    min_tokens_in: int | None
    max_tokens_in: int | None
    min_tokens_out: int | None
    max_tokens_out: int | None
    min_total_tokens: int | None
    max_total_tokens: int | None


async def listing(call: Call) -> Response:
    params = call.request.query_params
    asked = parse_query(params, LogList)
    query = asked.query((*parse_filters(params.multi_items()), *parse_deprecated(params)))
    shard = await shard_of(call)
    if asked.body is not None:
        return await _matching(call, shard, query, asked.body)
    page = await call.desk.read(call.desk.logs.page, shard, query)
    cursor = None if page.cursor is None else str(page.cursor)
    counts = (asked.page, asked.per_page, len(page.entries), page.total)
    info = LogPageInfo(*counts, page.total_exact, page.complete, cursor)
    if asked.meta_info:
        info = _with_extremes(info, await call.desk.read(call.desk.logs.extremes, shard, query))
    return reply_page([log_row(entry) for entry in page.entries], info)


async def _matching(call: Call, shard: ShardKey, query: LogQuery, text: str) -> Response:
    """Logs with a text in a body: only for whoever may read bodies, since to find is to read."""
    if not call.caller.may("read"):
        raise forbidden("To look through bodies needs a token with the permission read")
    found = await call.desk.search(call.desk.logs.matching, shard, query, text, BODY_SEARCH_S)
    count, cursor = len(found.entries), None if found.cursor is None else str(found.cursor)
    ended = found.cursor is None
    info = BodySearchInfo(1, query.per_page, count, count, ended, ended, cursor, looked_through=found.looked_through)
    return reply_page([log_row(entry) for entry in found.entries], info)


def _with_extremes(info: LogPageInfo, extremes: Extremes) -> ExtremesInfo:
    known = msgspec.structs.asdict(extremes)
    for end in ("min_cost", "max_cost"):
        known[end] = None if known[end] is None else known[end] / NANO
    return ExtremesInfo(**msgspec.structs.asdict(info), **known)


async def get(call: Call) -> Response:
    """Whoever may not read bodies does not see their beginnings either."""
    shard, entry = await _entry(call)
    request = response = None
    if call.caller.may("read"):
        request = await call.desk.read(call.desk.logs.head, shard, entry.id, "request", HEAD_BYTES)
        response = await call.desk.read(call.desk.logs.head, shard, entry.id, "response", HEAD_BYTES)
    return reply(log_detail(entry, request, response))


async def request_body(call: Call) -> Response:
    return await _body(call, "request")


async def response_body(call: Call) -> Response:
    return await _body(call, "response")


async def _body(call: Call, side: Side) -> Response:
    shard, entry = await _entry(call)
    pieces = await _pieces(call, shard, entry.id, side)
    if pieces is None:
        raise not_found()
    kind, encoding = (
        (entry.request_content_type, entry.request_encoding)
        if side == "request"
        else (entry.response_content_type, entry.response_encoding)
    )
    headers = {**BODY_HEADERS, "content-type": kind or "application/octet-stream"}
    plain = _unpacked(pieces, encoding, call.request.headers.get("accept-encoding", ""))
    if plain is None and encoding:
        headers["content-encoding"] = encoding
    return StreamingResponse(call.desk.read_all(plain or pieces), headers=headers)


async def _pieces(call: Call, shard: ShardKey, log_id: str, side: Side) -> Iterator[bytes] | None:
    """The stored body; to a HEAD, of which nothing but the headers is seen, none of it."""
    if call.request.method != "HEAD":
        return await call.desk.read(call.desk.logs.body, shard, log_id, side)
    kept = await call.desk.read(call.desk.logs.head, shard, log_id, side, 1)
    return None if kept is None else iter(())


def _unpacked(pieces: Iterator[bytes], encoding: str | None, accepted: str) -> Iterator[bytes] | None:
    """The body decoded for a client that did not say it can; None where it is to be sent as it is."""
    coding = coding_of((encoding or "").encode("latin-1", "replace"))
    if coding == "identity" or coding in (name.partition(";")[0].strip() for name in accepted.lower().split(",")):
        return None
    return decoded(_Joined(pieces), coding)


class _Joined:
    """Pieces as a file, so far as decoding needs one."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """At most `size` bytes, none only at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


async def _entry(call: Call) -> tuple[ShardKey, LogEntry]:
    shard = await shard_of(call)
    entry = await call.desk.read(call.desk.logs.get, shard, call.named("log"))
    if entry is None:
        raise not_found()
    return shard, entry


async def shard_of(call: Call) -> ShardKey:
    record = await require_gateway(call)
    return ShardKey(call.account, record.gateway.id.hex())
