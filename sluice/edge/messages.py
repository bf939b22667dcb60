"""The messages of a universal WebSocket as they are written, typed (contract 4.1)."""

import msgspec
from msgspec import Raw

EventName = str | int | None
"""What a client may call an event."""


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """A client's message as it writes it."""

    type: str
    request: Raw = Raw()
    event_id: EventName = None


class Named(msgspec.Struct, frozen=True, rename="camel"):
    """Of a step that may be wrong in all else, what its sender calls it."""

    event_id: EventName = None


class Untyped(msgspec.Struct, frozen=True, rename="camel"):
    """Of a message that may be wrong in all else, where its name may be."""

    request: Raw = Raw()
    event_id: EventName = None


class Said(msgspec.Struct, frozen=True):
    """An error as the catalogue has it."""

    code: int
    message: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is told of a reply beside itself."""

    cache_status: str = ""
    event_id: Raw
    log_id: str = ""
    step: str
    content_type: str = ""
    status_code: int = 0
    encoding: str = ""
    error: tuple[Said, ...] = ()
    cancelled: bool = False
