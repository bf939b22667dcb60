"""Replies that are kept to be given again, and for how long (contract 5)."""

from typing import Final, NamedTuple

import msgspec

SHORTEST_TTL_S: Final = 60
LONGEST_TTL_S: Final = 2_592_000
"""A month."""
NAMED_TTL_S: Final = 300
"""For a request that names its key where nothing else says how long."""


def clamped_ttl_s(asked_s: float) -> int:
    """A time to live, brought within what may be; 0 stays 0, which is no caching."""
    return int(min(max(asked_s, SHORTEST_TTL_S), LONGEST_TTL_S)) if asked_s > 0 else 0


def ttl_s(asked_s: int | None, is_named: bool, of_gateway_s: int) -> int:
    """How long a reply is kept, 0 for not at all: what the request asks for stands over the gateway's setting."""
    if asked_s is not None:
        return asked_s
    return of_gateway_s or (NAMED_TTL_S if is_named else 0)


class Place(NamedTuple):
    """Where a reply is kept. Gateway and epoch are in the key too; they are told so that what is dead is found."""

    key: bytes
    """32 bytes."""
    gateway: bytes
    epoch: int


class KeptReply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A whole reply as its provider gave it. On disk it is msgpack in array form: new fields go to the end."""

    status: int
    reason: bytes | None
    content_type: bytes
    content_encoding: bytes
    lines: bytes
    """Field lines, whole, all that is told of its head; with its length where `ends` is empty."""
    body: bytes
    expires_s: float
    """Unix time from which it is not given out any more."""
    ends: tuple[int, ...] = ()
    """Of a stream: where each of the parts in which it came ends."""

    @property
    def size(self) -> int:
        """What it takes in memory, about."""
        return len(self.body) + len(self.lines) + END_BYTES * len(self.ends) + ENTRY_BYTES


END_BYTES: Final = 40
ENTRY_BYTES: Final = 512
"""What a kept reply takes beside its bytes."""
