"""One exchange with a provider for a step: the request as the provider is to see it, its reply as the client is."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sluice.engine.recorder import Record
from sluice.engine.target import Target
from sluice.providers.provider import Provider
from sluice.providers.registry import PROVIDERS
from sluice.upstream.http import HttpClient
from sluice.upstream.origin import Origin
from sluice.values.reply import Reply
from sluice.values.request import Step
from sluice.wire.events import ReplyHead
from sluice.wire.http1 import field

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
NOT_PASSED: Final = HOP_BY_HOP | {
    b"cf-aig-step",
    b"cf-aig-log-id",
    b"cf-aig-request-id",
    b"cf-aig-event-id",
    b"cf-aig-cache-status",
}
"""Header fields of a reply that end here: those of the connection, and those that are ours to say."""
NONE: Final[frozenset[bytes]] = frozenset()
MOST_TARGETS: Final = 4096
LONGEST_TARGET: Final = 256
GATHERED_BYTES: Final = 64 * 1024
"""So long a body is waited for. Most clients send it after its head, and only a whole one can be sent a second time."""


class Attempts:
    """Makes attempts at steps."""

    def __init__(self, base_urls: Mapping[str, str], client: HttpClient) -> None:
        self._client = client
        self._roots = {
            name: root_of(provider, base_urls.get(name, provider.base_url), client)
            for name, provider in PROVIDERS.items()
        }
        self._targets: dict[tuple[str, bytes], Target] = {}

    async def make(self, step: Step, record: Record) -> Reply:
        """The provider's reply, whatever its status.

        Raises UpstreamFailure, Overloaded, and what reading the request body raises.
        """
        to = self._targets.get((step.provider, step.endpoint)) or self._find(step)
        target = b"%b?%b" % (to.path, step.query) if step.query else to.path
        lines = [b"%b: %b\r\n" % (name, value) for _, name, value in step.headers]
        head = b"%b %b HTTP/1.1\r\n%b%b" % (step.method, target, to.host_line, b"".join(lines))
        if step.body.whole is None:
            record.found(to.endpoint)
            await step.body.gather(GATHERED_BYTES)
        body = record.called(to.endpoint, step.body)
        timeout_ms = step.options.request_timeout_ms
        if timeout_ms is None:
            answer = await self._client.send(to.pool, step.method, head, body)
        else:
            answer = await self._client.send_within(timeout_ms, to.pool, step.method, head, body)
        reply_head = answer.head
        record.answered(reply_head.status, reply_head.fields, to.provider.terminal_line)
        return Reply(reply_head.status, reply_head.reason, passed_on(reply_head), reply_head.length, answer)

    def _find(self, step: Step) -> Target:
        """Finds an endpoint, and remembers it: clients call the same few over and over."""
        root = self._roots[step.provider]
        endpoint = root.provider.endpoint(step.endpoint)
        path = b"%b/%b" % (root.path, endpoint)
        target = msgspec.structs.replace(root, path=path, endpoint=endpoint.decode("ascii", "replace"))
        if len(self._targets) >= MOST_TARGETS:
            self._targets.clear()
        if len(path) <= LONGEST_TARGET:
            self._targets[step.provider, step.endpoint] = target
        return target


def passed_on(head: ReplyHead) -> list[bytes]:
    """The field lines that go on to the client."""
    dropped = NOT_PASSED
    if b"connection" in head.fields:
        dropped |= nominated(head.fields[b"connection"])
    return [b"%b: %b\r\n" % (sent, value) for name, sent, value in head.headers if name not in dropped]


def nominated(connection: bytes) -> frozenset[bytes]:
    """The further fields that a Connection header declares to be of this connection alone.

    The length is not among them whatever it says: a reply without it would have no end.
    """
    if connection.lower() in (b"keep-alive", b"close"):
        return NONE
    return frozenset(name.strip().lower() for name in connection.split(b",")) - {b"content-length"}


def root_of(provider: Provider, base_url: str, client: HttpClient) -> Target:
    """Where to send what is meant for a provider. Raises ValueError for what is no http URL."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"providers.{provider.name}.base_url must be an http or https URL, not {base_url!r}")
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    host = url.netloc.rpartition("@")[2].encode("idna" if not url.netloc.isascii() else "ascii")
    path = url.path.rstrip("/").encode()
    if provider.endpoint(b"").startswith(b"v1/"):
        path = path.removesuffix(b"/v1")  # operators write both forms
    return Target(provider, client.pool(Origin(url.hostname, port, tls)), field(b"Host", host), path, "")
