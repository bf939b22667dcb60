"""What a client asks of us, parsed once at the edge."""

from typing import Final, Protocol

import msgspec

Header = tuple[bytes, bytes, bytes]
"""A field line: its name in lower case, its name as it was sent, its value."""


class Body(Protocol):
    """A request body on its way in. It is read once, by one reader."""

    length: int | None
    """Its length in bytes, None where only its end will tell."""

    @property
    def whole(self) -> bytes | None:
        """All of it where it is in memory and nothing was read; it stays there, so it may be asked for again."""
        ...

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises BodyTooLarge and RequestTimeout."""
        ...


class ClientBody(Body, Protocol):
    """A body that a client may still be sending."""

    async def gather(self, most_bytes: int) -> None:
        """Waits until it is whole, if it is known to be no longer than this. Raises as `read` does."""
        ...


class Options(msgspec.Struct, frozen=True, gc=False):
    """What a client asks in `cf-aig-*` headers. Raw values stay bytes: the keeper judges them (contract 7.5)."""

    collect_log: bool | None = None
    collect_payload: bool = True
    event_id: bytes = b""
    metadata: bytes = b""
    custom_cost: bytes = b""
    request_timeout_ms: int | None = None
    key_alias: str = ""


DEFAULT_OPTIONS: Final = Options()


class Step(msgspec.Struct, frozen=True):
    """One exchange to be had with a provider. `headers` are those that go upstream."""

    index: int
    """Its place in the client's array, what `cf-aig-step` reports; 0 for a single request."""
    provider: str
    endpoint: bytes
    """The vendor's path without a leading slash, as the client gave it; likewise `query`, without its mark."""
    query: bytes
    method: bytes
    headers: list[Header]
    content_type: bytes
    content_encoding: bytes
    body: ClientBody
    options: Options


class Request(msgspec.Struct, frozen=True):
    """What a client asks of a gateway: steps, tried in order."""

    account: str
    gateway: str
    token: bytes | None
    """The gateway token as the client gave it, whichever way it came."""
    type: str
    """provider, universal, compat, websocket, realtime, workers-binding or rest (contract 7.1)."""
    user_agent: bytes
    options: Options
    steps: tuple[Step, ...]
