"""Accounts: their plans and what they have used (contract 7.4). For the operator's socket alone, but for `usage`."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, not_found, reply, reply_page
from sluice.console.paging import Paging
from sluice.console.parsing import parse_body, parse_query
from sluice.storage.ports import AlreadyThere, NotThere, Slice
from sluice.values.entitlement import AS_PLANNED, Entitlement, OwnEntitlement, Plan, Quota, quota_of
from sluice.values.gateway import GatewayRecord
from sluice.values.tenancy import NAME_PATTERN, Account

ACCOUNT_NAME = rf"^{NAME_PATTERN}\Z"
MOST_SHOWN = 1_000
"""Gateways whose usage is told, the oldest of them."""


class NewAccount(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(pattern=ACCOUNT_NAME)]
    plan: Plan = "unlimited"


class WantedEntitlement(OwnEntitlement, frozen=True, forbid_unknown_fields=True):
    """What may be set; no logs are kept for no days at all."""

    retention_days: Annotated[int, Meta(ge=1, le=2**53)] | UnsetType | None = UNSET


class AccountChange(msgspec.Struct, frozen=True):
    """What is not named stays as it is; a named `entitlement` replaces all that was the account's own before."""

    plan: Plan | UnsetType = UNSET
    entitlement: WantedEntitlement | UnsetType | None = UNSET


class ShownAccount(msgspec.Struct, frozen=True):
    id: str
    plan: str
    created_at: str
    entitlement: Entitlement


class Used(msgspec.Struct, frozen=True):
    """What one gateway has stored, as the keeper said within the last seconds, and how much it may."""

    gateway: str
    rows: int
    bytes: int
    refused: int
    """Logs that were not stored because of the quota."""
    quota: Quota


class ShownUsage(msgspec.Struct, frozen=True):
    plan: str
    entitlement: Entitlement
    rows: int
    bytes: int
    refused: int
    gateways: list[Used]


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


async def get(call: Call) -> Response:
    return reply(_shown(await _require(call)))


async def update(call: Call) -> Response:
    asked = parse_body(await call.body(), AccountChange)

    def change(account: Account) -> Account:
        plan = account.plan if asked.plan is UNSET else asked.plan
        own = account.own if asked.entitlement is UNSET else _own(asked.entitlement)
        return msgspec.structs.replace(account, plan=plan, own=own)

    try:
        return reply(_shown(await call.desk.ask(call.desk.control.change_account, call.account, change)))
    except NotThere:
        raise not_found() from None


def _own(asked: WantedEntitlement | None) -> OwnEntitlement:
    return AS_PLANNED if asked is None else OwnEntitlement(**msgspec.structs.asdict(asked))


async def delete(call: Call) -> Response:
    try:
        return reply(_shown(await call.desk.ask(call.desk.control.delete_account, call.account)))
    except NotThere:
        raise not_found() from None


async def usage(call: Call) -> Response:
    """What the account's gateways have stored; ours, for whoever may read the account."""
    account = await _require(call)
    reported = await call.desk.read(call.desk.usage.of, call.account)
    used = []
    for record in await _gateways(call):
        found = reported.get(record.gateway.id.hex())
        counts = (0, 0, 0) if found is None else (found.rows, found.bytes, found.refused)
        used.append(Used(record.gateway.name, *counts, _quota(account, record)))
    totals = (sum(one.rows for one in used), sum(one.bytes for one in used), sum(one.refused for one in used))
    return reply(ShownUsage(account.plan, account.entitlement, *totals, used))


async def _gateways(call: Call) -> list[GatewayRecord]:
    records, _ = await call.desk.ask(call.desk.control.gateways, call.account, Slice(0, MOST_SHOWN))
    return records


async def _require(call: Call) -> Account:
    account = await call.desk.ask(call.desk.control.account, call.account)
    if account is None:
        raise not_found()
    return account


def _quota(account: Account, record: GatewayRecord) -> Quota:
    config = record.config
    return quota_of(account.entitlement, config.log_management, config.log_management_strategy == "DELETE_OLDEST")


def _shown(account: Account) -> ShownAccount:
    return ShownAccount(account.id, account.plan, iso_ms(account.created_ms), account.entitlement)
