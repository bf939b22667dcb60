"""Logs of a gateway (contract 9.4): pages, one in full, and the bodies as they went over the wire."""

from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal, cast

from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from sluice.console.call import Call
from sluice.console.envelope import not_found, reply, reply_page
from sluice.console.paging import Paging
from sluice.console.parsing import parse_query
from sluice.console.rest.gateways import require_gateway
from sluice.console.unbuilt import refuse_unbuilt_parameters
from sluice.formats.encodings import coding_of, decoded
from sluice.insight.logs import HEAD_BYTES, log_detail, log_row
from sluice.storage.ports import LogQuery, OrderBy, Side
from sluice.values.log import LogEntry, ShardKey

Direction = Literal["asc", "desc"]

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

    @property
    def query(self) -> LogQuery:
        direction = self.order_by_direction or self.direction or "desc"
        return LogQuery(self.page, self.per_page, self.order_by, direction == "desc")


async def listing(call: Call) -> Response:
    refuse_unbuilt_parameters(call.request.query_params.multi_items())
    asked = parse_query(call.request.query_params, LogList)
    page = await call.desk.read(call.desk.logs.page, await shard_of(call), asked.query)
    return reply_page([log_row(entry) for entry in page.entries], asked.info(page.entries, page.total))


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
    return decoded(cast(BinaryIO, _Joined(pieces)), coding)


class _Joined:
    """Pieces as a file, so far as decoding needs one."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._position = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none only at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position


async def _entry(call: Call) -> tuple[ShardKey, LogEntry]:
    shard = await shard_of(call)
    entry = await call.desk.read(call.desk.logs.get, shard, call.named("log"))
    if entry is None:
        raise not_found()
    return shard, entry


async def shard_of(call: Call) -> ShardKey:
    record = await require_gateway(call)
    return ShardKey(call.account, record.gateway.id.hex())
