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


class Model(msgspec.Struct, frozen=True):
    provider: Name
    model: Name


class Unpriced(msgspec.Struct, frozen=True):
    models: Annotated[list[Model], Meta(max_length=2000)]


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


async def want_prices(call: Call) -> Response:
    """Notes models whose price is to be looked up, and does not wait: the keeper finds it in control.db."""
    asked = parse_body(await call.body(), Unpriced)
    call.desk.wanted.add((one.provider, one.model) for one in asked.models)
    return reply({"wanted": len(asked.models)})
