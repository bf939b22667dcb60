"""One HTTP request as the handlers see it."""

import msgspec

from sluice.edge.body import IncomingBody
from sluice.values.request import Header


class Call(msgspec.Struct, frozen=True):
    """`fields` maps each header's lower-case name to its last value."""

    method: bytes
    path: bytes
    query: bytes
    headers: list[Header]
    fields: dict[bytes, bytes]
    body: IncomingBody
    upgrade: bool


class Place(msgspec.Struct, frozen=True):
    """What an inference path names: /v1/{account}/{gateway}/{provider}/{endpoint}."""

    account: str
    gateway: str
    provider: str
    """In lower case; empty for the gateway itself."""
    endpoint: bytes
