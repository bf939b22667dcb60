"""One exchange with a provider for a step: the request as the provider is to see it, its reply as the client is."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sluice.engine.recorder import Record
from sluice.providers.provider import Provider
from sluice.providers.registry import PROVIDERS
from sluice.upstream.http import HttpClient
from sluice.upstream.pool import Origin
from sluice.values.plan import Step
from sluice.values.reply import Reply
from sluice.wire.http1 import ReplyHead, field

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Header fields that belong to one connection (RFC 9110, 7.6.1)."""


class Destination(msgspec.Struct, frozen=True):
    """Where a provider is to be found: its own base URL, or the one the operator set."""

    provider: Provider
    origin: Origin
    host_line: bytes
    prefix: bytes
    """The path of the base URL, without a slash at its end."""


class Attempts:
    """Makes attempts at steps."""

    def __init__(self, base_urls: Mapping[str, str], client: HttpClient) -> None:
        self._client = client
        self._destinations = {
            name: destination(provider, base_urls.get(name, provider.base_url)) for name, provider in PROVIDERS.items()
        }

    async def make(self, step: Step, record: Record) -> Reply:
        """The provider's reply, whatever its status.

        Raises UpstreamFailure, Overloaded, and what reading the request body raises.
        """
        to = self._destinations[step.provider]
        path = to.provider.endpoint(step.endpoint)
        record.called(path.decode("ascii", "replace"))
        target = b"%b/%b?%b" % (to.prefix, path, step.query) if step.query else b"%b/%b" % (to.prefix, path)
        lines = [b"%b: %b\r\n" % (name, value) for _, name, value in step.headers]
        head = b"%b %b HTTP/1.1\r\n%b%b" % (step.method, target, to.host_line, b"".join(lines))
        body = record.hear(step.body)
        answer = await self._client.send(to.origin, step.method, head, body, step.options.request_timeout_ms)
        content_type = encoding = b""
        for name, _, value in answer.head.headers:
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                encoding = value
        record.answered(answer.head.status, content_type, encoding, to.provider.terminal_line)
        return Reply(answer.head.status, answer.head.reason, passed_on(answer.head), answer.head.length, answer)


def passed_on(head: ReplyHead) -> list[bytes]:
    """The field lines that go on to the client: all but those of the connection and those that are ours to say."""
    dropped = HOP_BY_HOP
    for name, _, value in head.headers:
        if name == b"connection":
            dropped = dropped | nominated(value)
    return [
        field(sent, value)
        for name, sent, value in head.headers
        if name not in dropped and not name.startswith(b"cf-aig-")
    ]


def nominated(connection: bytes) -> frozenset[bytes]:
    """The fields that a Connection header declares to be of this connection alone."""
    return frozenset(name.strip().lower() for name in connection.split(b","))


def destination(provider: Provider, base_url: str) -> Destination:
    """Where to send what is meant for a provider. Raises ValueError for what is no http URL."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"providers.{provider.name}.base_url must be an http or https URL, not {base_url!r}")
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    host = url.netloc.rpartition("@")[2].encode("idna" if not url.netloc.isascii() else "ascii")
    prefix = url.path.rstrip("/").encode()
    if provider.endpoint(b"").startswith(b"v1/"):
        prefix = prefix.removesuffix(b"/v1")  # operators write both forms
    return Destination(provider, Origin(url.hostname, port, tls), field(b"Host", host), prefix)
