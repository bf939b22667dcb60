"""What the store of provider keys promises, for every backend."""

from typing import NamedTuple, Protocol

import msgspec

from sluice.storage.ports import Slice
from sluice.values.credential import ProviderConfig
from sluice.values.secret import Secret


class SealedKey(NamedTuple):
    """A stored key as it lies in the database. `place` is what its seal binds it to."""

    sealed: bytes
    place: str


class ProviderKeyReader(Protocol):
    """What workers read of provider keys."""

    def sealed_key(self, key_id: str) -> SealedKey | None:
        """None where it was deleted."""
        ...


class NewProviderKey(msgspec.Struct, frozen=True):
    """A key to be stored. `secret_id` is the client's own name for it; empty has one made."""

    provider: str
    alias: str
    is_default: bool
    secret: Secret
    secret_id: str = ""
    rate_limit: int | None = None
    rate_limit_period_s: int = 60


class ProviderKeyChange(msgspec.Struct, frozen=True):
    """What is to be other from now on; None leaves it as it is."""

    secret: Secret | None = None
    make_default: bool = False
    """The one that was the default is it no longer."""


class AliasTaken(Exception):
    """The gateway has a key of this provider by this alias."""


class DefaultTaken(Exception):
    """Another key of this provider is the default."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias


class ProviderKeyStore(Protocol):
    """Provider keys of gateways, sealed at rest. Changes are durable and in force when a method returns.

    All raise NotThere where there is no such gateway or no such key of it.
    """

    def listed(self, account: str, gateway: str, slice: Slice) -> tuple[list[ProviderConfig], int]:
        """In the order of making, with the number of all."""
        ...

    def create(self, account: str, gateway: str, new: NewProviderKey) -> ProviderConfig:
        """Raises AliasTaken, DefaultTaken and TooMany."""
        ...

    def change(self, account: str, gateway: str, key_id: str, change: ProviderKeyChange) -> ProviderConfig: ...

    def delete(self, account: str, gateway: str, key_id: str) -> ProviderConfig: ...
