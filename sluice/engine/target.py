"""Where an attempt goes."""

import msgspec

from sluice.providers.provider import Provider
from sluice.upstream.pool import Pool


class Target(msgspec.Struct, frozen=True):
    """A provider's endpoint, found: where it is, and the path there."""

    provider: Provider
    pool: Pool
    host_line: bytes
    path: bytes
    """With the path of the base URL before it."""
    endpoint: str
    """Without it, for the log."""
