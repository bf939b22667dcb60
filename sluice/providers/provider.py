"""A provider is data: what most share is a default, what differs is a function."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from sluice.values.request import Header, Step

MostTokens = Literal["max_tokens", "max_completion_tokens"]


def as_given(endpoint: bytes) -> bytes:
    """The path as the client gave it."""
    return endpoint


def unversioned(endpoint: bytes) -> bytes:
    """Without the `v1/` that clients send once, twice or not at all: the base URL ends with it."""
    while endpoint.startswith(b"v1/"):
        endpoint = endpoint[3:]
    return endpoint


def versioned(endpoint: bytes) -> bytes:
    """Under `v1/`, which clients send once, twice or not at all (contract 1.2, column prefix)."""
    return b"v1/" + unversioned(endpoint)


def once(endpoint: bytes) -> bytes:
    """As the client gave it, but for a doubled `v1/`."""
    return versioned(endpoint) if endpoint.startswith(b"v1/v1/") else endpoint


def bearer(key: bytes) -> tuple[Header, ...]:
    """A key as most vendors take it."""
    return ((b"authorization", b"Authorization", b"Bearer " + key),)


def in_x_api_key(key: bytes) -> tuple[Header, ...]:
    """A key in the header `x-api-key`."""
    return ((b"x-api-key", b"x-api-key", key),)


class Address(msgspec.Struct, frozen=True):
    """Where an endpoint is: `path` under the vendor's own `base_url`."""

    base_url: str
    path: bytes
    endpoint: bytes
    """The path under a base URL of the operator's, which tells what the vendor's host may tell too; so it is logged."""


class Compat(msgspec.Struct, frozen=True):
    """The vendor's own endpoints in OpenAI's shape, as a client calls them behind the slug; None where it has none."""

    chat: bytes | None = b"v1/chat/completions"
    responses: bytes | None = b"v1/responses"
    embeddings: bytes | None = b"v1/embeddings"
    publisher: str = ""
    """What stands before the name of a model that has no slash in it."""
    most_tokens: MostTokens = "max_tokens"
    """The field of chat completions that bounds their length. All took the older one before OpenAI had another."""

    def name_of(self, model: str) -> str:
        """What the vendor calls the model that a client names."""
        return model if "/" in model else self.publisher + model


OPENAI_SHAPED: Final = Compat()
NOT_COMPATIBLE: Final = Compat(chat=None, responses=None, embeddings=None)


def as_asked(endpoint: bytes, query: bytes) -> tuple[bytes, bytes]:
    """The address of a WebSocket as the client gave it."""
    return endpoint, query


def at(path: bytes) -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    """Where a vendor has one WebSocket, a client need not name its path."""
    return lambda endpoint, query: (endpoint or path, query)


class Realtime(msgspec.Struct, frozen=True):
    """How a vendor's WebSockets are addressed (contract 4.2)."""

    route: Callable[[bytes, bytes], tuple[bytes, bytes]] = as_asked
    """Endpoint and query that those of a client stand for."""
    base_url: str = ""
    """Where they are on another host than the rest."""
    json_in_binary: bool = False
    """Whether messages of text come in binary frames."""
    key_subprotocols: tuple[str, ...] = ("openai-insecure-api-key.",)
    """What an offered subprotocol that is a client's key, or says that the next one is, begins with."""


REALTIME: Final = Realtime()


class Provider(msgspec.Struct, frozen=True):
    """A vendor. `endpoint` maps the path behind the slug to the vendor's own, neither with a leading slash."""

    name: str
    base_url: str
    """May name the client's `{account}`; what else stands in braces, `locate` fills in."""
    endpoint: Callable[[bytes], bytes] = as_given
    locate: Callable[[bytes], Address | None] | None = None
    """Where the path may choose the host too; None for a path that does not.

    Raises MalformedRequest for one that has to and names none."""
    retarget: Callable[[Step], Step] | None = None
    """Where a header may choose the endpoint. Raises MalformedRequest."""
    sign: Callable[[bytes], tuple[Header, ...]] = bearer
    """A provider key as header fields of the vendor's own."""
    key_headers: tuple[bytes, ...] = (b"authorization",)
    """Every header, in lower case, in which a client may send its key."""
    other_headers: tuple[bytes, ...] = ()
    """What is a key to another vendor, and to this one something that goes beside its key."""
    key_parameters: tuple[bytes, ...] = ()
    """Likewise, of the query."""
    takes_documents: bool = False
    """Whether a key may be a JSON document, which is signed with, or exchanged for a token (engine/authorizing.py)."""
    compat: Compat = OPENAI_SHAPED
    default_headers: tuple[Header, ...] = ()
    """What the vendor demands beside the key, for requests that a translation makes."""
    realtime: Realtime = REALTIME
    terminal_line: bytes = b"data: [DONE]"
    """The line of an event stream behind which nothing follows; clients may hang up at it, before the HTTP end.

    Native streams of some vendors have none and just end; those in OpenAI's shape have this one, whoever sends them.
    """

    @property
    def per_account(self) -> bool:
        """Whether its own base URL depends on who asks."""
        return "{account}" in self.base_url

    @property
    def over_websocket(self) -> "Provider":
        """The same vendor where its WebSockets are."""
        base_url = self.realtime.base_url
        return msgspec.structs.replace(self, base_url=base_url) if base_url else self

    def address(self, endpoint: bytes, account: str) -> Address:
        """Where a client's endpoint is. Raises MalformedRequest."""
        if self.locate is not None and (found := self.locate(endpoint)) is not None:
            return found
        path = self.endpoint(endpoint)
        return Address(self.base_url.replace("{account}", account), path, path)
