"""One exchange with a provider for a step: the request as the provider is to see it, its reply as the client is."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sluice.engine.recorder import Record
from sluice.engine.target import Target
from sluice.engine.targets import Targets
from sluice.upstream.http import HttpClient
from sluice.values.reply import Reply
from sluice.values.request import Step
from sluice.wire.events import ReplyHead

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
    b"cf-aig-provider",
    b"cf-aig-model",
    b"cf-aig-ratelimit-limit",
    b"cf-aig-ratelimit-remaining",
    b"cf-aig-ratelimit-reset",
}
"""Header fields of a reply that end here: those of the connection, and those that are ours to say."""
NONE: Final[frozenset[bytes]] = frozenset()
GATHERED_BYTES: Final = 64 * 1024
"""So long a body is waited for. Most clients send it after its head, and only a whole one can be sent a second time."""


Authorize = Callable[[Step], Awaitable[Step]]
"""Makes a step one that its provider lets in, by a stored key or the client's own. Raises GatewayError."""


class Attempts:
    """Makes attempts at steps."""

    def __init__(self, base_urls: Mapping[str, str], client: HttpClient, authorize: Authorize) -> None:
        self._client, self._authorize = client, authorize
        self._targets = Targets(base_urls, client)
        self._known = self._targets.known

    def target(self, step: Step, account: str) -> Target:
        """Where a step goes. Raises MalformedRequest for a path that leads nowhere."""
        return self._known.get((step.provider, step.endpoint)) or self._targets.find(step, account)

    async def make(self, step: Step, record: Record) -> Reply:
        """The provider's reply, whatever its status.

        Raises UpstreamFailure, Overloaded, MalformedRequest, and what reading the request body raises.
        """
        to = self.target(step, record.account)
        if to.provider.takes_documents:
            record.found(to.endpoint)
            step = await self._authorize(step)
            to = self.target(step, record.account)
        target = b"%b?%b" % (to.path, step.query) if step.query else to.path
        lines = [b"%b: %b\r\n" % (name, value) for _, name, value in step.headers]
        head = b"%b %b HTTP/1.1\r\n%b%b" % (step.method, target, to.host_line, b"".join(lines))
        if step.body.whole is None:
            record.found(to.endpoint)
            await step.body.gather(GATHERED_BYTES)
        body = record.called(to.endpoint, step.body)
        answer = await self._client.send(to.pool, step.method, head, body)
        reply_head = answer.head
        record.answered(reply_head.status, reply_head.fields, to.provider.terminal_line)
        return Reply(reply_head.status, reply_head.reason, passed_on(reply_head), reply_head.length, answer)


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
