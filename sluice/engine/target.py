"""Where an attempt goes."""

import re
from typing import Final
from urllib.parse import SplitResult

import msgspec

from sluice.providers.provider import Provider
from sluice.upstream.pool import Pool
from sluice.values.errors import MalformedRequest
from sluice.wire.lines import field

_DOTS: Final = re.compile(rb"(?:^|[/\\;]|%2f|%5c)(?:\.|%2e){1,2}(?:$|[/\\;]|%2f|%5c)", re.IGNORECASE)
"""With all that some server takes for a slash: words of a model are put into paths, their slashes in percent."""
_NOT_OF_A_PATH: Final = re.compile(rb"[\x00-\x20\x7f?#]")
"""They end a path, or the line that it is in (RFC 9112, 3)."""


class Target(msgspec.Struct, frozen=True):
    """A provider's endpoint, found: where it is, and the path there."""

    provider: Provider
    pool: Pool
    host_line: bytes
    path: bytes
    """With the path of the base URL before it."""
    endpoint: str
    """Without it, for the log."""


def leads_upwards(endpoint: bytes) -> bool:
    """Whether a path leads out of what it is put behind: an account, a resource."""
    return _DOTS.search(endpoint) is not None


def check_path(endpoint: bytes) -> None:
    """Raises MalformedRequest for what leads upwards, or is no path."""
    if leads_upwards(endpoint):
        raise MalformedRequest("A provider's path must not lead upwards")
    if _NOT_OF_A_PATH.search(endpoint):
        raise MalformedRequest("A provider's path must not contain spaces, control characters, '?' or '#'")


def port_of(url: SplitResult) -> int:
    """Of an http URL, the scheme's own where it names none."""
    return url.port or (443 if url.scheme == "https" else 80)


def host_line(url: SplitResult) -> bytes:
    """The field line that names the host of a URL."""
    host = url.netloc.rpartition("@")[2]
    return field(b"Host", host.encode("ascii" if host.isascii() else "idna"))
