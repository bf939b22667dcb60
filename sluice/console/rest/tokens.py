"""Tokens of an account. Ours: the product makes them elsewhere."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, not_found, reply, reply_page, unix_ms
from sluice.console.paging import Paging
from sluice.console.parsing import parse_body, parse_query
from sluice.storage.ports import NewToken, NotThere
from sluice.values.tenancy import PERMISSIONS, Permission, Token, TokenRecord

MOST_GRACE_S: Final = 30 * 86_400


class WantedToken(msgspec.Struct, frozen=True):
    permissions: Annotated[frozenset[Permission], Meta(min_length=1)]
    name: Annotated[str, Meta(max_length=200)] = ""
    gateway: str | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class WantedRotation(msgspec.Struct, frozen=True):
    grace_s: Annotated[int, Meta(ge=0, le=MOST_GRACE_S)] = 0
    """How long the old text is good for beside the new one; without grace no request that starts later is let in."""


class ShownToken(msgspec.Struct, frozen=True):
    """`token`, the text, is there in the reply to its making and never again."""

    id: str
    name: str
    permissions: list[Permission]
    gateway: str | None
    created_at: str
    expires_at: str | None
    token: str | UnsetType = UNSET


async def create(call: Call) -> Response:
    wanted = parse_body(await call.body(), WantedToken)
    call.caller.require_all(wanted.permissions)
    new = NewToken(
        call.account,
        wanted.permissions,
        gateway=wanted.gateway,
        name=wanted.name,
        expires_ms=unix_ms(wanted.expires_at) if wanted.expires_at else None,
    )
    try:
        record, text = await call.desk.ask(call.desk.control.create_token, new)
    except NotThere:
        raise invalid("There is no such gateway", "body", "gateway") from None
    return reply(_shown(record, text.reveal()))


async def rotate(call: Call) -> Response:
    wanted = parse_body(await call.body(), WantedRotation)

    def vouch(token: Token) -> None:
        call.caller.require_all(token.permissions)

    change = call.desk.control.rotate_token
    try:
        record, text = await call.desk.ask(change, call.account, call.named("token"), wanted.grace_s * 1000, vouch)
    except NotThere:
        raise not_found() from None
    return reply(_shown(record, text.reveal()))


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, Paging)
    records, total = await call.desk.ask(call.desk.control.tokens, call.account, asked.slice)
    return reply_page([_shown(record) for record in records], asked.info(records, total))


async def delete(call: Call) -> Response:
    try:
        record = await call.desk.ask(call.desk.control.delete_token, call.account, call.named("token"))
    except NotThere:
        raise not_found() from None
    return reply(_shown(record))


def _shown(record: TokenRecord, text: str | UnsetType = UNSET) -> ShownToken:
    token = record.token
    return ShownToken(
        id=token.id,
        name=record.name,
        permissions=[permission for permission in PERMISSIONS if permission in token.permissions],
        gateway=token.gateway,
        created_at=iso_ms(record.created_ms),
        expires_at=None if token.expires_ms is None else iso_ms(token.expires_ms),
        token=text,
    )
