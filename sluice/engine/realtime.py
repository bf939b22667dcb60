"""Realtime connections: the provider's side is opened first, and a client gets its own only once that stands."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sluice.engine.attempt import Authorize, passed_on
from sluice.engine.credentials import Credentials
from sluice.engine.recorder import Record
from sluice.engine.targets import Targets
from sluice.engine.transcript import MEDIA_TYPE, Transcript
from sluice.providers.provider import Realtime
from sluice.providers.registry import PROVIDERS, row
from sluice.upstream.http import HttpClient
from sluice.values.errors import UpstreamFailure, UpstreamTimeout
from sluice.values.reply import Reply, WholeBody
from sluice.values.request import BytesBody, Step
from sluice.wire.events import ReplyHead
from sluice.wire.handshake import Offer

OVER_WEBSOCKET: Final = {name: provider.over_websocket for name, provider in PROVIDERS.items()}
NO_BODY: Final = BytesBody(b"")

Admit = Callable[[Step, Record], Awaitable[None]]


class Opened:
    """A provider's side of a connection, accepted. Whoever has it hands it to a relay, or closes it."""

    __slots__ = ("admitted", "reply", "rest", "subprotocol", "transcript", "transport")

    def __init__(
        self, reply: Reply, subprotocol: str | None, transport: asyncio.Transport, rest: bytes, transcript: Transcript
    ) -> None:
        self.reply = reply
        """The 101 for the client, without the lines of its own handshake."""
        self.subprotocol, self.transport, self.rest, self.transcript = subprotocol, transport, rest, transcript
        self.admitted: Callable[[], bool] = lambda: True
        """Whether its client would still be let in."""

    def close(self) -> None:
        """Gives it up: there is no client any more."""
        self.transport.abort()
        self.reply.body.close()


class Access(NamedTuple):
    """What gives a connection its key, lets it pass or raises why not, and makes of the key what its provider takes."""

    credentials: Credentials
    admit: Admit
    authorize: Authorize


class Dialler:
    """Opens WebSockets to providers."""

    def __init__(self, base_urls: Mapping[str, str], client: HttpClient, access: Access, timeout_s: float) -> None:
        self._client, self._access, self._timeout_s = client, access, timeout_s
        self._targets = Targets(base_urls, client, OVER_WEBSOCKET)

    async def dial(self, step: Step, record: Record, subprotocols: Sequence[str]) -> Reply | Opened:
        """The provider's side, or the reply by which it refuses.

        Raises UpstreamFailure, Overloaded, MalformedRequest, UnknownKeyAlias, CredentialRequired, and what `admit`
        raises.
        """
        realtime = row(step.provider).realtime
        subprotocols = offered_on(subprotocols, realtime)
        step = await self._access.credentials.dressed(step, record, subprotocols)
        await self._access.admit(step, record)
        to = self._targets.find(step, record.account)
        if to.provider.takes_documents:
            record.found(to.endpoint)
            step = await self._access.authorize(step)
            to = self._targets.find(step, record.account)
        target = b"%b?%b" % (to.path, step.query) if step.query else to.path
        lines = b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in step.headers])
        offer = Offer(subprotocols)
        record.called(to.endpoint, NO_BODY)
        head = b"GET %b HTTP/1.1\r\n%b%b%b" % (target, to.host_line, lines, offer.lines)
        timeout_ms = step.options.request_timeout_ms
        try:
            async with asyncio.timeout(self._timeout_s if timeout_ms is None else timeout_ms / 1000):
                answer = await self._client.send(to.pool, b"GET", head, NO_BODY, switches=True)
        except TimeoutError as error:
            raise UpstreamTimeout("The provider did not answer the handshake in time") from error
        found = answer.head
        if found.status != 101:
            record.answered(found.status, found.fields, b"")
            return Reply(found.status, found.reason, passed_on(found), found.length, answer)
        try:
            subprotocol = offer.accepted(found)
        except UpstreamFailure:
            answer.close()
            raise
        transport, rest = answer.release()
        record.answered(found.status, {b"content-type": MEDIA_TYPE}, b"")
        reply = Reply(found.status, None, _told(found), 0, WholeBody(b""))
        return Opened(reply, subprotocol, transport, rest, Transcript(record, realtime.json_in_binary))


def offered_on(subprotocols: Sequence[str], realtime: Realtime) -> Sequence[str]:
    """Without one that announces a key of the client's where none follows: that was our token, which ends here."""
    if len(subprotocols) == 1 and subprotocols[0].lower() in realtime.key_subprotocols:
        return ()
    return subprotocols


def _told(head: ReplyHead) -> list[bytes]:
    """The field lines of an acceptance that go on to the client: its handshake is another, and it has no body."""
    return [line for line in passed_on(head) if not line.lower().startswith((b"sec-websocket-", b"content-length:"))]
