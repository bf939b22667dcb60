"""Keys for providers that a browser can send as WebSocket subprotocols alone (contract 4.2)."""

from typing import Final, NamedTuple

from sluice.edge.auth import PREFIX
from sluice.edge.subprotocols import OURS, offered
from sluice.values.request import Header

CREDENTIALS: Final[dict[bytes, tuple[bytes, bytes]]] = {
    b"authorization": (b"authorization", b"Bearer "),
    b"fal-api-key": (b"authorization", b"Key "),
    b"x-api-key": (b"x-api-key", b""),
    b"xi-api-key": (b"xi-api-key", b""),
}
"""What stands before the dot of a subprotocol: the header that it becomes, and what goes before its value."""


class Offered(NamedTuple):
    """What the offered subprotocols say."""

    headers: list[Header]
    """Those that are headers in truth."""
    subprotocols: list[str]
    """The others, which are the provider's."""
    echo: bytes | None
    """What to choose where the provider chooses none: a browser that was chosen nothing closes the connection."""


def read_subprotocols(headers: list[Header]) -> Offered:
    """Takes the offered subprotocols apart. A token of ours never stays among the provider's."""
    found: list[Header] = []
    rest: list[str] = []
    echo: bytes | None = None
    for text in offered(headers):
        header = _header(text)
        if header is None:
            rest.append(text.decode("latin-1"))
        else:
            found.append(header)
            echo = echo or text
    return Offered(found, rest, echo)


def with_subprotocols(headers: list[Header], said: Offered) -> list[Header]:
    """The header fields of a handshake as a client that can set headers would have sent them, which come first."""
    given = {name for name, _, _ in headers}
    return [*headers, *(header for header in said.headers if header[0] not in given)]


def _header(text: bytes) -> Header | None:
    """The header that a subprotocol stands for."""
    name, dot, value = text.partition(b".")
    lower = name.lower()
    if dot and lower.startswith(OURS):
        return lower, lower, value
    if dot and lower in CREDENTIALS:
        header, before = CREDENTIALS[lower]
        return header, header, before + value
    before, token, rest = text.partition(PREFIX)
    if token and (not before or before.endswith(b".")):  # in a place for the provider's key
        return b"cf-aig-authorization", b"cf-aig-authorization", token + rest
    return None
