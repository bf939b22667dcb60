"""Rows of `control.db` and what they say."""

from typing import Final

import msgspec

from sluice.values.entitlement import OwnEntitlement, Plan
from sluice.values.gateway import GatewayConfig, gateway_as
from sluice.values.rates import Rates
from sluice.values.tenancy import (
    PERMISSIONS,
    Account,
    Gateway,
    Token,
    TokenRecord,
)

GATEWAY: Final = "id, account, name, authentication, collect_logs, config, cache_epoch"
ACCOUNT: Final = "accounts.id, accounts.plan, accounts.created_ms, accounts.own"
TOKEN: Final = "id, account, gateway, permissions, expires_ms"
ABSENT: Final = Rates(None, None)
"""The rates of a model that the price list does not know."""

decode_rates = msgspec.json.Decoder(Rates).decode
decode_config = msgspec.json.Decoder(GatewayConfig).decode
decode_own = msgspec.json.Decoder(OwnEntitlement).decode
AccountRow = tuple[str, Plan, int, bytes]
GatewayRow = tuple[bytes, str, str, int, int, bytes, int]
TokenRow = tuple[str, str, str | None, str, int | None]
TokenRecordRow = tuple[str, str, str | None, str, int | None, str, int]


def account_of(row: AccountRow) -> Account:
    account, plan, created_ms, own = row
    return Account(account, plan, created_ms, decode_own(own))


def gateway_of(row: GatewayRow) -> Gateway:
    gateway_id, account, name, _, _, config, cache_epoch = row
    return gateway_as(decode_config(config), Gateway(gateway_id, account, name, False, False, cache_epoch=cache_epoch))


def token_of(row: TokenRow) -> Token:
    token_id, account, gateway, permissions, expires_ms = row
    held = permissions.split(",")
    return Token(token_id, account, gateway, frozenset(p for p in PERMISSIONS if p in held), expires_ms)


def token_record_of(row: TokenRecordRow) -> TokenRecord:
    return TokenRecord(token_of(row[:5]), row[5], row[6])
