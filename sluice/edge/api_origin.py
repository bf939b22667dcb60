"""Models by Cloudflare's own API, /client/v4/accounts/{account}/ai/: each call a step of a gateway (contract 1.5)."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from sluice.edge.auth import bare, find_token
from sluice.edge.call import Call, Place, segment
from sluice.edge.native import Names, forwardable
from sluice.edge.universal import opening
from sluice.edge.whole import read_whole
from sluice.engine.engine import Engine
from sluice.engine.model_ids import (
    CHAT,
    MESSAGES,
    RESPONSES,
    asked_by_run,
    asked_in_shape,
    is_cloudflares,
    model_and_input,
)
from sluice.values.errors import InputInvalid, MalformedRequest
from sluice.values.reply import Reply
from sluice.values.request import BytesBody, ClientBody, Dialect, Header, Request, Step
from sluice.values.tenancy import DEFAULT_GATEWAY

PATH: Final = re.compile(
    rb"/client/v4/accounts/([^/]{1,192})/ai/(?:run(?:/+(.{1,1024}?))?|v1/(chat/completions|responses|messages))/*"
)
DIALECTS: Final[dict[bytes, Dialect]] = {CHAT: "openai", RESPONSES: "openai", MESSAGES: "anthropic"}
OWN_TOKENS: Final = (b"cf-aig-authorization", b"cf-aig-token")


def runs_model(path: bytes) -> bool:
    """Whether a path of the API is inference, and not management."""
    return b"/ai/" in path and PATH.fullmatch(path) is not None


async def api_origin(call: Call, engine: Engine, names: Names) -> Reply:
    """POST /client/v4/accounts/{account}/ai/..., through the gateway that `cf-aig-gateway-id` names."""
    found = PATH.fullmatch(call.path)
    assert found is not None
    endpoint = found[3] or b""
    request = _opening(call, segment(found[1]), DIALECTS.get(endpoint, "api"))
    parse = (
        _in_shape(call, endpoint, request, names) if endpoint else _run(call, segment(found[2] or b""), request, names)
    )
    return await engine.serve_parsed(request, parse)


def _opening(call: Call, account: str, dialect: Dialect) -> Request:
    fields = call.head.fields
    gateway = fields.get(b"cf-aig-gateway-id", b"").decode("ascii", "replace").strip() or DEFAULT_GATEWAY
    token = find_token(fields)
    if token is None and b"authorization" in fields:
        token = bare(fields[b"authorization"])
    request = opening(call, Place(account, gateway, "", b""), "rest")
    return msgspec.structs.replace(request, token=token, needs_token=True, dialect=dialect)


Parse = Callable[[], Awaitable[tuple[Step, ...]]]


def _in_shape(call: Call, endpoint: bytes, request: Request, names: Names) -> Parse:
    async def parse() -> tuple[Step, ...]:
        return (asked_in_shape(_step(call, endpoint, BytesBody(await _whole(call)), request, names)),)

    return parse


def _run(call: Call, model_id: str, request: Request, names: Names) -> Parse:
    async def parse() -> tuple[Step, ...]:
        if is_cloudflares(model_id):  # whose bodies may be a long sound, and pass as they come
            return (asked_by_run(_step(call, b"", call.body, request, names), model_id),)
        body = await _whole(call)
        model, given = (model_id, body) if model_id else model_and_input(body)
        return (asked_by_run(_step(call, b"", BytesBody(given), request, names), model),)

    return parse


async def _whole(call: Call) -> bytes:
    try:
        return await read_whole(call)
    except MalformedRequest as error:
        if error.status != MalformedRequest.status:
            raise
        raise InputInvalid(error.said) from error


def _step(call: Call, endpoint: bytes, body: ClientBody, request: Request, names: Names) -> Step:
    fields = call.head.fields
    return Step(
        0,
        "",
        endpoint,
        call.query,
        b"POST",
        _passing(call, names),
        fields.get(b"content-type", b""),
        fields.get(b"content-encoding", b""),
        body,
        request.options,
    )


def _passing(call: Call, names: Names) -> list[Header]:
    """Authorization is for us here, unless the token came by a header of our own: then it is the provider's key."""
    fields = call.head.fields
    headers = forwardable(call.head.headers, fields, names)
    if any(name in fields for name in OWN_TOKENS):
        return headers
    return [header for header in headers if header[0] != b"authorization"]
