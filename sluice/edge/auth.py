"""Finds the gateway token among the headers (contract 3.1)."""

from typing import Final
from urllib.parse import unquote_to_bytes

from sluice.values.tenancy import TOKEN_PREFIX

PREFIX: Final = TOKEN_PREFIX.encode()
PROVIDER_SLOTS: Final = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"xi-api-key")
SCHEMES: Final = frozenset((b"bearer", b"token", b"api-key", b"key"))
"""Before a key in Authorization; the last three are some vendors' own (contract 1.2)."""


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
    """A credential without its scheme, which is optional, for published examples leave it out."""
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if rest and scheme.lower() in SCHEMES else value.strip()


def without_tokens(query: bytes) -> bytes:
    """A query without tokens of ours, which some put where a vendor wants its key: they go to no provider."""
    if PREFIX not in query and b"%" not in query:
        return query
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if not unquote_to_bytes(pair.partition(b"=")[2]).startswith(PREFIX)]
    return query if len(kept) == len(pairs) else b"&".join(kept)


def is_ours(value: bytes) -> bool:
    """Whether a value in a provider's slot is meant for us."""
    return PREFIX in value and bare(value).startswith(PREFIX)
