"""Accounts: for the operator's socket alone."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, not_found, reply, reply_page
from sluice.console.paging import Paging
from sluice.console.parsing import parse_body, parse_query
from sluice.storage.ports import AlreadyThere, NotThere
from sluice.values.tenancy import NAME_PATTERN, Account, Plan

ACCOUNT_NAME = rf"^{NAME_PATTERN}\Z"


class NewAccount(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(pattern=ACCOUNT_NAME)]
    plan: Plan = "unlimited"


class ShownAccount(msgspec.Struct, frozen=True):
    id: str
    plan: Plan
    created_at: str


async def create(call: Call) -> Response:
    new = parse_body(await call.body(), NewAccount)
    try:
        return reply(_shown(await call.desk.ask(call.desk.control.create_account, new.id, new.plan)))
    except AlreadyThere:
        raise invalid("An account with this id exists already", "body", "id") from None


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, Paging)
    accounts, total = await call.desk.ask(call.desk.control.accounts, asked.slice)
    return reply_page([_shown(account) for account in accounts], asked.info(accounts, total))


async def delete(call: Call) -> Response:
    try:
        return reply(_shown(await call.desk.ask(call.desk.control.delete_account, call.account)))
    except NotThere:
        raise not_found() from None


def _shown(account: Account) -> ShownAccount:
    return ShownAccount(account.id, account.plan, iso_ms(account.created_ms))
