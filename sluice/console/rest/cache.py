"""Clearing the reply cache: what was kept is out of reach from the next request on."""

import msgspec
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import not_found, reply
from sluice.storage.ports import NotThere


class Cleared(msgspec.Struct, frozen=True):
    gateways: int
    """How many gateways' caches."""


async def clear_gateway(call: Call) -> Response:
    return await _clear(call, call.gateway)


async def clear_account(call: Call) -> Response:
    return await _clear(call, None)


async def _clear(call: Call, gateway: str | None) -> Response:
    try:
        cleared = await call.desk.ask(call.desk.control.clear_cache, call.account, gateway)
    except NotThere:
        raise not_found() from None
    return reply(Cleared(cleared))
