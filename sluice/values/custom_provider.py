"""Providers that accounts bring themselves (contract 1.4), as the request path sees them."""

import re
from typing import Final

import msgspec

PREFIX: Final = "custom-"
"""Before its slug wherever a client names one, also before a slug that itself begins so."""
SLUG_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"
_NAMED: Final = re.compile(rf"{PREFIX}{SLUG_PATTERN}", re.IGNORECASE | re.ASCII)
MOST_HEADERS: Final = 50
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
_CONNECTION: Final = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
_OURS: Final = frozenset((*_CONNECTION, "content-length", "expect", "host"))
_OUR_PREFIXES: Final = ("cf-aig-", "sec-websocket-")
"""Fields by which a request is framed and routed, and a WebSocket opened."""
_decode: Final = msgspec.json.Decoder(dict[str, str]).decode

FieldLine = tuple[bytes, bytes, bytes]
"""A name in lower case, as it is sent, and the value: what values/request.py calls a Header."""


class CustomProvider(msgspec.Struct, frozen=True):
    """One that is enabled. As long as its account does not change it stays the same object."""

    id: str
    name: str
    """As clients and logs name it: `custom-` and the slug, in lower case."""
    base_url: str
    headers: tuple[FieldLine, ...] = ()
    """Each takes the place of the client's field of that name. Their values may be secret."""

    def __repr__(self) -> str:
        return f"CustomProvider({self.name!r}, {self.base_url!r})"

    def completed(self, headers: list[FieldLine]) -> list[FieldLine]:
        """A client's fields with its own."""
        names = {name for name, _, _ in self.headers}
        return [*(line for line in headers if line[0] not in names), *self.headers]


def is_custom(name: str) -> bool:
    """Whether a provider's name is that of one which an account may have brought."""
    return _NAMED.fullmatch(name) is not None


def parse_headers(text: str) -> tuple[FieldLine, ...]:
    """Header fields from a JSON object. Raises ValueError, which says what is wrong and quotes no value."""
    try:
        given = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("must be a JSON object of names and texts") from None
    if len(given) > MOST_HEADERS:
        raise ValueError(f"must be at most {MOST_HEADERS}")
    if len({name.lower() for name in given}) < len(given):
        raise ValueError("must not have one name twice")
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise ValueError("must have names of header fields")
        if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
            raise ValueError(f"must not have {name}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"must not have control characters: {name} has")
    return tuple((name.lower().encode(), name.encode(), value.strip().encode()) for name, value in given.items())
