"""Finds the gateway token among the headers (contract 3.1)."""

from typing import Final

from sluice.values.tenancy import TOKEN_PREFIX

PREFIX: Final = TOKEN_PREFIX.encode()
PROVIDER_SLOTS: Final = (b"authorization", b"x-api-key", b"x-goog-api-key")


def find_token(fields: dict[bytes, bytes]) -> bytes | None:
    """The gateway token, by whichever header it came; None where there is none."""
    value = fields.get(b"cf-aig-authorization") or fields.get(b"cf-aig-token")
    if value:
        return bare(value)
    for name in PROVIDER_SLOTS:
        value = fields.get(name)
        if value is not None and is_ours(value):
            return bare(value)
    return None


def bare(value: bytes) -> bytes:
    """A credential without its scheme: `Bearer` is optional, for published examples leave it out."""
    return value[7:].strip() if value[:7].lower() == b"bearer " else value.strip()


def is_ours(value: bytes) -> bool:
    """Whether a value in a provider's slot is meant for us."""
    return PREFIX in value and bare(value).startswith(PREFIX)
