"""The universal endpoint: steps in a JSON body, tried in order, each with what is to follow it (contract 2)."""

from sluice.edge.auth import find_token
from sluice.edge.call import Call, Place
from sluice.edge.native import Names
from sluice.edge.options import parse_options
from sluice.edge.steps import parse_steps
from sluice.edge.whole import read_whole
from sluice.engine.engine import Engine
from sluice.values.reply import Reply
from sluice.values.request import Request, Step


async def universal(call: Call, place: Place, engine: Engine, names: Names) -> Reply:
    """POST /v1/{account}/{gateway}: steps, tried in order."""
    request = opening(call, place, "universal")

    async def parse() -> tuple[Step, ...]:
        return parse_steps(await read_whole(call), request.options, names)

    return await engine.serve_parsed(request, parse)


def opening(call: Call, place: Place, kind: str) -> Request:
    """A request of which the head is known and no step yet."""
    fields = call.head.fields
    user_agent = fields.get(b"user-agent", b"")
    return Request(place.account, place.gateway, find_token(fields), kind, user_agent, parse_options(fields), ())
