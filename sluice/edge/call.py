"""One HTTP request as the handlers see it."""

from urllib.parse import unquote

import msgspec

from sluice.edge.body import ArrivedBody, IncomingBody
from sluice.wire.events import RequestHead


class Call(msgspec.Struct, frozen=True):
    """A request's head, its target taken apart, and its body."""

    head: RequestHead
    path: bytes
    query: bytes
    body: IncomingBody | ArrivedBody
    proxied: bool = False
    """Whether it came from a trusted proxy, whose `x-forwarded-*` fields are believed."""


class Place(msgspec.Struct, frozen=True):
    """What an inference path names: /v1/{account}/{gateway}/{provider}/{endpoint}."""

    account: str
    gateway: str
    provider: str
    """In lower case and no alias; empty for the gateway itself."""
    endpoint: bytes


def segment(raw: bytes) -> str:
    """A segment of a path as text."""
    text = raw.decode("ascii", "replace")
    return unquote(text) if "%" in text else text
