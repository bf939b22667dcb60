"""What the supervisor and a child say to each other over their socketpair, a line each.

Down: the start orders as JSON, then `drain`, then `hasten`; end-of-file means `drain`, for so a dead supervisor speaks.
Up: `ready` once, then `beat` every second.
"""

from pathlib import Path
from typing import Final

import msgspec

from sluice.values.secret import Secret
from sluice.values.settings import Settings

READY: Final = b"ready\n"
BEAT: Final = b"beat\n"
DRAIN: Final = b"drain\n"
HASTEN: Final = b"hasten\n"


class Orders(msgspec.Struct, frozen=True):
    """All that a child needs to begin."""

    role: str
    slot: int
    """From 1, for the process title; a role with one process has 0."""
    settings: Settings
    listeners: list[int]
    """Inherited descriptors, with the numbers that they have in the child."""
    metrics: Path
    generation: int = 0


def encode(orders: Orders) -> bytes:
    return msgspec.json.encode(orders, enc_hook=_plain) + b"\n"


def decode(line: bytes) -> Orders:
    return msgspec.json.decode(line, type=Orders, dec_hook=_rich)


# What msgspec asks of its hooks for a type that they do not know is a NotImplementedError.


def _plain(value: object) -> str:
    """Orders alone carry secrets, over a socketpair."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"orders cannot carry a {type(value).__name__}")


def _rich(kind: type, value: object) -> Path | Secret:
    if kind in (Path, Secret) and isinstance(value, str):
        return Path(value) if kind is Path else Secret(value)
    raise NotImplementedError(f"orders cannot carry a {kind.__name__}")
