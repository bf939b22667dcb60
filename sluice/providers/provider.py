"""A provider is data: what most share is a default, what differs is a function."""

from collections.abc import Callable

import msgspec


def as_given(endpoint: bytes) -> bytes:
    """The path as the client gave it."""
    return endpoint


def versioned(endpoint: bytes) -> bytes:
    """Under `v1/`, which clients send once, twice or not at all (contract 1.2, column prefix)."""
    while endpoint.startswith(b"v1/"):
        endpoint = endpoint[3:]
    return b"v1/" + endpoint


class Provider(msgspec.Struct, frozen=True):
    """A vendor. `endpoint` maps the path behind the slug to the vendor's own, neither with a leading slash."""

    name: str
    base_url: str
    endpoint: Callable[[bytes], bytes] = as_given
    terminal_line: bytes = b""
    """The line of an event stream behind which nothing follows; clients may hang up at it, before the HTTP end."""
