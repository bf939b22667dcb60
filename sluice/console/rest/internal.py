"""What workers and the keeper ask of the console. No client's path leads here."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import not_found, reply
from sluice.console.parsing import parse_body
from sluice.storage.ports import NotThere

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Priced(msgspec.Struct, frozen=True):
    provider: Name
    model: Name


class MadeGateway(msgspec.Struct, frozen=True):
    id: str
    internal_id: str


async def ensure_default(call: Call) -> Response:
    """The gateway `default` (contract 0.4), made if it is missing."""
    try:
        record = await call.desk.ask(call.desk.control.ensure_default, call.account)
    except NotThere:
        raise not_found() from None
    return reply(MadeGateway(record.gateway.name, record.gateway.id.hex()))


async def resolve_price(call: Call) -> Response:
    """Looks a model up in the price list and keeps what it finds, or that it finds nothing."""
    asked, desk = parse_body(await call.body(), Priced), call.desk

    def resolve() -> bool:
        rates = desk.resolve_rates(asked.provider, asked.model)
        desk.control.put_rates(asked.provider, asked.model, rates)
        return rates is not None

    return reply({"known": await desk.ask(resolve)})
