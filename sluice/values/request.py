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


class Request(msgspec.Struct, frozen=True):
    """One call of a provider's own endpoint, for one gateway. `headers` are those that go upstream."""

    account: str
    gateway: str
    token: bytes | None
    """The gateway token as the client gave it, whichever way it came."""
    provider: str
    endpoint: bytes
    """What followed the provider in the path, and the query."""
    query: bytes
    method: bytes
    headers: list[Header]
    body: Body
    options: Options
    request_type: str
    content_type: bytes
    content_encoding: bytes
    user_agent: bytes
