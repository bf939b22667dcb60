"""What the HTTP/1.1 codec reads out of bytes."""

from enum import Enum
from typing import Final

import msgspec

from sluice.values.request import Header


class EndOfMessage(Enum):
    END = 0


END: Final = EndOfMessage.END


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """`length` is None where the body is chunked. `upgrade` is true for websocket alone.

    `fields` has the last value of each header by its lower-case name.
    """

    method: bytes
    target: bytes
    headers: list[Header]
    fields: dict[bytes, bytes]
    length: int | None
    keep_alive: bool
    http11: bool
    expects_continue: bool
    upgrade: bool


class ReplyHead(msgspec.Struct, frozen=True, gc=False):
    """`length` is None where the body is chunked or ends with the connection; `fields` as in a request."""

    status: int
    reason: bytes
    headers: list[Header]
    fields: dict[bytes, bytes]
    length: int | None


RequestEvent = RequestHead | bytes | EndOfMessage
ReplyEvent = ReplyHead | bytes | EndOfMessage
