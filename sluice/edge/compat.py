"""The unified endpoint under /v1/{account}/{gateway}/compat/: OpenAI's shapes for all providers (contract 1.3)."""

from collections.abc import Iterable
from typing import Final

import msgspec

from sluice.edge.call import Call, Place
from sluice.edge.native import Names, forwardable
from sluice.edge.universal import opening
from sluice.edge.whole import read_whole
from sluice.engine.catalogue import Catalogue
from sluice.engine.compat import COMPAT, PATHS
from sluice.engine.engine import Engine
from sluice.values.errors import MethodNotAllowed, PathNotFound
from sluice.values.reply import Reply, WholeBody
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


async def models(call: Call, place: Place, engine: Engine, catalogue: Catalogue, names: Names) -> Reply:
    """GET compat/models: what is known here of the providers that the caller has a key of. Nobody is asked."""
    if call.head.method not in (b"GET", b"HEAD"):
        raise MethodNotAllowed
    sent = {name for name, _, _ in forwardable(call.head.headers, call.head.fields, names)}

    request = opening(call, place, "compat")
    return await engine.serve_own(
        request, lambda admission: model_list(catalogue.models(admission, request.options, sent))
    )


def model_list(known: Iterable[tuple[str, str]]) -> Reply:
    """Models as OpenAI lists them."""
    data = [
        {"id": f"{provider}/{model}", "object": "model", "created": 0, "owned_by": provider}
        for provider, model in known
    ]
    body = msgspec.json.encode({"object": "list", "data": data})
    lines = [b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)]
    return Reply(200, None, lines, len(body), WholeBody(body))


def unversioned(endpoint: bytes) -> bytes:
    """Without the `v1/` that some clients send."""
    return endpoint.removeprefix(b"v1/").rstrip(b"/")
