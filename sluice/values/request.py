"""What a client asks of us, parsed once at the edge."""

from typing import Final, Literal, Protocol

import msgspec

from sluice.values.credential import Credential
from sluice.values.custom_provider import CustomProvider

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
        """Waits until it is whole, if it is known to be so short that it waits in memory anyway.

        Raises as `read` does.
        """
        ...

    async def take_in(self, most_bytes: int) -> None:
        """Waits until it is whole, proves longer than this, though its length may not be known, or finds no room.

        For what needs the whole: it may hold `most_bytes` in memory, past what otherwise waits there. Nothing is read,
        and where something was, nothing is waited for. Raises as `read` does.
        """
        ...


class BytesBody:
    """A request body that Sluice has made itself: it is always at hand."""

    __slots__ = ("_read", "length", "whole")

    def __init__(self, data: bytes) -> None:
        self.whole: bytes | None = data
        self.length: int | None = len(data)
        self._read = False

    async def read(self) -> bytes:
        data = b"" if self._read else self.whole or b""
        self._read = True
        return data

    async def gather(self, most_bytes: int) -> None:
        return None

    async def take_in(self, most_bytes: int) -> None:
        return None


Backoff = Literal["constant", "linear", "exponential"]


class RetryPolicy(msgspec.Struct, frozen=True, gc=False):
    """How often a step is tried, the first time included, and how long is waited between two tries."""

    max_attempts: int = 1
    delay_ms: int = 0
    backoff: Backoff = "constant"


ONE_TRY: Final = RetryPolicy()


class Options(msgspec.Struct, frozen=True, gc=False):
    """What a client asks in `cf-aig-*` headers. Raw values stay bytes: the keeper judges them (contract 7.5)."""

    collect_log: bool | None = None
    collect_payload: bool = True
    event_id: bytes = b""
    metadata: bytes = b""
    custom_cost: bytes = b""
    request_timeout_ms: int | None = None
    key_alias: str = ""
    """Which stored key is to be used, where the request has none of its own."""
    no_wholesale: bool = False
    """Whether the operator's own credentials must not be used."""
    max_attempts: int | None = None
    retry_delay_ms: int | None = None
    backoff: Backoff | None = None
    cache_ttl_s: int | None = None
    """0 is no caching at all."""
    skip_cache: bool = False
    cache_key: bytes = b""
    hops: int = 0
    """Through how many gateways it has come, each of which took it for a custom provider of the one before."""


DEFAULT_OPTIONS: Final = Options()


Dialect = Literal["gateway", "api", "openai", "anthropic"]
"""How errors of ours are told: as contract 12.1 has it, in the envelope of Cloudflare's API, and in that with what the
clients of a vendor read besides."""
Shape = Literal["chat", "responses", "converse", "messages", "plain"]
"""Chat completions or responses out of Anthropic's messages; chat completions out of Bedrock's Converse; messages out
of chat completions; as it comes."""


class Translation(msgspec.Struct, frozen=True):
    """How the reply to a step is to be told."""

    shape: Shape
    include_usage: bool = False
    """Whether a stream ends with a chunk of usage (`stream_options.include_usage`)."""
    dialect: Dialect = "gateway"
    """Where it is another, keys that the provider refuses are an error of ours in it (contract 1.5)."""
    enveloped: bool = False
    """Whether JSON, in that shape, is the `result` of an envelope of Cloudflare's API; streams and others are not."""


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
    id: str = ""
    """The client's name for it, by which later steps ask for its words; empty where it has none."""
    on_complete: tuple["Step", ...] = ()
    """What is to be done once it has succeeded: steps, tried in order (contract 2.6)."""
    tagged: bool = False
    """Whether words of earlier steps are to be put into it before it is sent."""
    model: str = ""
    """The model that it asks for, where that is known."""
    compat: bool = False
    """Whether it is asked in the one schema for all providers (contract 1.3)."""
    translation: Translation | None = None
    """Given where the provider does not speak that schema."""
    credential: Credential | None = None
    """The key that Sluice has put into the headers; None where the request has its own, or goes without."""
    custom: CustomProvider | None = None
    """Where it goes, for a provider that the account has brought itself; `headers` have its own already."""

    def __repr__(self) -> str:
        """Without headers, query and body: keys are in them."""
        return f"Step({self.index}, {self.provider!r})"


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
    connection_id: str = ""
    """Of the WebSocket that it came by, or is; empty for HTTP."""
    needs_token: bool = False
    """Whether it needs one even where its gateway asks for none."""
    dialect: Dialect = "gateway"
