"""What a client offers as WebSocket subprotocols: browsers have no other place for a token (contract 3.1, 4.1)."""

from typing import Final

from sluice.values.request import Header

OURS: Final = b"cf-aig-"
TOKEN: Final = b"cf-aig-authorization."


def offered(headers: list[Header]) -> list[bytes]:
    """The subprotocols that a client offers, those it likes best first."""
    values = [value for name, _, value in headers if name == b"sec-websocket-protocol"]
    return [stripped for value in values for name in value.split(b",") if (stripped := name.strip())]


def fields_with(fields: dict[bytes, bytes], protocols: list[bytes]) -> dict[bytes, bytes]:
    """Header fields, and those of ours that were offered as `name.value`; real ones win."""
    found: dict[bytes, bytes] = {}
    for protocol in protocols:
        name, _, value = protocol.partition(b".")
        if value and name.lower().startswith(OURS):
            found.setdefault(name.lower(), value)
    return found | fields if found else fields


def chosen(protocols: list[bytes]) -> bytes | None:
    """What is answered: rather not the token. Clients hang up where nothing of what they offered is."""
    others = [protocol for protocol in protocols if not protocol.lower().startswith(OURS)]
    tokens = [protocol for protocol in protocols if protocol.lower().startswith(TOKEN)]
    return next(iter(others + tokens + protocols), None)
