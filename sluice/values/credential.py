"""The keys that requests go to their providers with: as people keep them, and as the request path uses them."""

from typing import Final

import msgspec

from sluice.values.secret import Secret

UNIFIED: Final = "unified"
"""The id of the operator's own credential for a provider."""
FALLBACK_ALIAS: Final = "default"
"""Whose key is used where none is marked as the default (contract 3.3)."""


class KeyLimit(msgspec.Struct, frozen=True):
    """How many requests one stored key may serve in a period. `id` is the key's, by which they are counted."""

    id: str
    limit: int
    period_s: int


class StoredKey(msgspec.Struct, frozen=True):
    """A stored key as the request path knows it before it is opened: never its text."""

    id: str
    provider: str
    alias: str
    is_default: bool
    version: int
    """Grows with each rotation."""
    limit: KeyLimit | None = None


class Keyring(msgspec.Struct, frozen=True):
    """What a gateway has to say about credentials."""

    keys: tuple[StoredKey, ...] = ()
    byok_only: bool = False
    """Whether the operator's own credentials are none of its business."""


class Credential(msgspec.Struct, frozen=True):
    """A key, opened, that Sluice puts into a request."""

    provider: str
    id: str
    """The stored key's id, or `unified`."""
    secret: Secret
    limit: KeyLimit | None = None

    @property
    def stored(self) -> bool:
        return self.id != UNIFIED


class ProviderConfig(msgspec.Struct, frozen=True):
    """A stored key as people see it in a list: never its text."""

    id: str
    gateway: str
    """The gateway's public name."""
    provider: str
    alias: str
    is_default: bool
    secret_id: str
    preview: str
    """Enough of the text to know it again."""
    rate_limit: int | None
    rate_limit_period_s: int
    modified_ms: int
