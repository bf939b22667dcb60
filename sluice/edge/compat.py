"""The unified endpoint under /v1/{account}/{gateway}/compat/: OpenAI's shapes for all providers (contract 1.3)."""

from typing import Final

from sluice.edge.call import Call, Place
from sluice.edge.native import Names, forwardable
from sluice.edge.universal import opening
from sluice.edge.whole import read_whole
from sluice.engine.compat import COMPAT, PATHS
from sluice.engine.engine import Engine
from sluice.values.errors import MethodNotAllowed, PathNotFound
from sluice.values.reply import Reply
from sluice.values.request import BytesBody, Step

MODELS: Final = b"models"


async def compat(call: Call, place: Place, engine: Engine, names: Names) -> Reply:
    """POST compat/chat/completions and its like: one step, whose provider the body's model names."""
    endpoint = unversioned(place.endpoint)
    if endpoint not in PATHS:
        raise PathNotFound
    if call.head.method != b"POST":
        raise MethodNotAllowed
    request = opening(call, place, "compat")

    async def parse() -> tuple[Step, ...]:
        fields = call.head.fields
        return (
            Step(
                0,
                COMPAT,
                endpoint,
                call.query,
                b"POST",
                forwardable(call.head.headers, fields, names),
                fields.get(b"content-type", b""),
                b"",
                BytesBody(await read_whole(call)),
                request.options,
            ),
        )

    return await engine.serve_parsed(request, parse)


def unversioned(endpoint: bytes) -> bytes:
    """Without the `v1/` that some clients send."""
    return endpoint.removeprefix(b"v1/").rstrip(b"/")
