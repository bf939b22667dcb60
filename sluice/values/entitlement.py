"""What an account may have, and what that leaves to each of its gateways (contract 7.4, 14)."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Plan = Literal["unlimited", "paid", "free"]
Most = Annotated[int, Meta(ge=0, le=2**53)]


class Entitlement(msgspec.Struct, frozen=True):
    """How much an account may have of each; None is without limit."""

    gateways: Most | None = None
    gateway_rows: Most | None = None
    """Stored logs of one gateway."""
    account_rows: Most | None = None
    """Stored logs of all gateways together."""
    gateway_bytes: Most | None = None
    """What the stored bodies of one gateway take on the disk, compressed."""
    retention_days: Most | None = None


class OwnEntitlement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an account may have other than its plan says: unset is as the plan has it, None is without limit."""

    gateways: Most | UnsetType | None = UNSET
    gateway_rows: Most | UnsetType | None = UNSET
    account_rows: Most | UnsetType | None = UNSET
    gateway_bytes: Most | UnsetType | None = UNSET
    retention_days: Most | UnsetType | None = UNSET


PLANS: Final[dict[Plan, Entitlement]] = {
    "unlimited": Entitlement(),
    "paid": Entitlement(gateways=20, gateway_rows=10_000_000),
    "free": Entitlement(gateways=10, account_rows=100_000),
}
AS_PLANNED: Final = OwnEntitlement()


def entitled(plan: Plan, own: OwnEntitlement) -> Entitlement:
    """What holds for an account."""
    given = {name: value for name, value in msgspec.structs.asdict(own).items() if value is not UNSET}
    return msgspec.structs.replace(PLANS[plan], **given)


class Quota(msgspec.Struct, frozen=True):
    """How much is kept of one gateway's logs; None is without limit."""

    rows: int | None = None
    account_rows: int | None = None
    bytes: int | None = None
    days: int | None = None
    deletes_oldest: bool = False
    """What happens at the limit: the oldest logs go, else new ones are not stored."""


UNLIMITED: Final = Quota()


def quota_of(entitlement: Entitlement, rows: int | None, deletes_oldest: bool) -> Quota:
    """Of a gateway whose own setting is to keep `rows` logs."""
    return Quota(
        least((rows, entitlement.gateway_rows)),
        entitlement.account_rows,
        entitlement.gateway_bytes,
        entitlement.retention_days,
        deletes_oldest,
    )


def least(limits: Iterable[int | None]) -> int | None:
    """The one that is reached first."""
    return min((limit for limit in limits if limit is not None), default=None)
