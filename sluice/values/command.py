"""Commands: changes to stored logs, on their way from the console to the keeper (contract 7.6, 9.4)."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sluice.values.log import Scalar


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of a log's fields, as absolute values; what is UNSET stays as it is."""

    feedback: Literal[-1, 0, 1] | UnsetType | None = UNSET
    score: Annotated[float, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    metadata: dict[str, Scalar] | UnsetType | None = UNSET
    """All of it anew; None is none."""
    reprice: bool = False
    """Whether the cost is to be what the prices of today make of the tokens; then no other field is named."""


class Command(msgspec.Struct, frozen=True, array_like=True):
    """The meta of a command frame, msgpack in array form: new fields go to the end, with a default.

    To run it twice does what once does.
    """

    id: str
    """A ULID of its own, by which its outcome is asked for."""
    account: str
    log_ids: list[str]
    change: Change | None
    """None: the logs are deleted."""


class Outcome(msgspec.Struct, frozen=True):
    """What the keeper tells whoever asks what became of a command."""

    id: str
    found: int
    """How many of its logs there were."""
