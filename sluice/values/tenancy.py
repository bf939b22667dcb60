"""Accounts, gateways and the tokens that let clients in."""

import hashlib
from typing import Literal

import msgspec

from sluice.values.credential import Keyring
from sluice.values.entitlement import AS_PLANNED, Entitlement, OwnEntitlement, Plan, entitled
from sluice.values.limits import Limited
from sluice.values.request import ONE_TRY, RetryPolicy

Permission = Literal["run", "read", "edit", "metadata_read"]
PERMISSIONS: tuple[Permission, ...] = ("run", "read", "edit", "metadata_read")

DEFAULT_GATEWAY = "default"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""What accounts and gateways may be called."""
TOKEN_PREFIX = "sluice_"
"""All our tokens begin so: secret scanners look for it, and what begins so never goes to a provider."""


class Account(msgspec.Struct, frozen=True):
    """A tenant; `id` is its public name in URLs."""

    id: str
    plan: Plan
    created_ms: int
    own: OwnEntitlement = AS_PLANNED

    @property
    def entitlement(self) -> Entitlement:
        return entitled(self.plan, self.own)


class Gateway(msgspec.Struct, frozen=True):
    """What the request path needs to know of one gateway.

    `id` is immutable, 16 random bytes, and names the shard and the frames; `name` is the public id in URLs.
    """

    id: bytes
    account: str
    name: str
    authentication: bool
    collect_logs: bool
    retry: RetryPolicy = ONE_TRY
    """What holds for requests that do not say themselves how often they are to be tried."""
    keyring: Keyring | None = None
    """Where there is something to know; not in the gateways of a GatewayRecord, which are for people."""
    limited: Limited | None = None
    cache_ttl_s: int = 0
    """How long replies are kept for requests that do not say so themselves; 0 is not at all."""
    cache_epoch: int = 0
    """Counts how often its cache was cleared: what was kept before is out of reach."""


class Token(msgspec.Struct, frozen=True):
    """A token's scope. `digest` is the SHA-256 of its text; the text itself is kept nowhere."""

    id: str
    account: str
    gateway: str | None
    """The only gateway (public id) it is good for; None is the whole account."""
    permissions: frozenset[Permission]
    expires_ms: int | None = None


class TokenRecord(msgspec.Struct, frozen=True):
    """A token as people see it in a list: never its text."""

    token: Token
    name: str
    created_ms: int


def token_digest(text: str) -> bytes:
    """What is kept of a token, and what it is looked up by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Admission(msgspec.Struct, frozen=True, gc=False):
    """A request let in: to which gateway, and whether a token vouched for it."""

    gateway: Gateway
    authenticated: bool
