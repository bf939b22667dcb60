"""Hands the management paths on to the console over its unix socket; inference never waits for it."""

from typing import Final

import msgspec

from sluice.edge.call import Call
from sluice.edge.proxies import FORWARDED
from sluice.engine.attempt import HOP_BY_HOP, nominated, passed_on
from sluice.upstream.http import HttpClient, UpstreamReply
from sluice.upstream.origin import Origin
from sluice.values.errors import Overloaded, UpstreamFailure
from sluice.values.reply import Part, Ready, Reply, WholeBody
from sluice.wire.lines import field

NOT_RELAYED: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
GATHERED_BYTES: Final = 1024 * 1024


class Management:
    """A bounded number of relays to the console; more, or no console, is a 503 in the management envelope."""

    def __init__(self, client: HttpClient, socket_path: str, most_requests: int) -> None:
        self._client, self._most = client, most_requests
        self._console = client.pool(Origin("", 0, False, socket_path))
        self._running = 0

    async def relay(self, call: Call) -> Reply:
        """The console's reply as it comes."""
        await call.body.gather(GATHERED_BYTES)  # a slow sender must not hold one of the few places
        if self._running >= self._most:
            return unavailable("The console is busy, try again")
        self._running += 1
        try:
            answer = await self._client.send(self._console, call.head.method, head_for(call), call.body)
        except (UpstreamFailure, Overloaded):
            self._running -= 1
            return unavailable("The console does not answer, try again")
        except BaseException:
            self._running -= 1
            raise
        head = answer.head
        return Reply(head.status, head.reason, passed_on(head), head.length, Relayed(self, answer))

    async def create_default(self, account: str) -> None:
        """Has the console make the account's `default` gateway. Raises Overloaded where that cannot be done now."""
        head = b"PUT /internal/accounts/%b/default-gateway HTTP/1.1\r\nHost: console\r\n" % account.encode()
        try:
            answer = await self._client.send(self._console, b"PUT", head, EMPTY)
            try:
                while not (await answer.read()).last:
                    pass
            except BaseException:
                answer.close()
                raise
        except UpstreamFailure as error:  # the console's, and not the provider's
            raise Overloaded(detail=error.detail) from error

    def done(self) -> None:
        self._running -= 1


class Relayed:
    """The body of a relayed reply: its end makes room for another."""

    def __init__(self, management: Management, answer: UpstreamReply) -> None:
        self._management, self._answer = management, answer

    def poll(self) -> Part | None:
        part = self._answer.poll()
        return part if part is None else self._counted(part)

    async def read(self) -> Part:
        return self._counted(await self._answer.read())

    def alert(self, ready: Ready | None) -> bool:
        return self._answer.alert(ready)

    def close(self, complete: bool = False) -> None:
        self._answer.close(complete)
        self._management.done()

    def _counted(self, part: Part) -> Part:
        if part.last:
            self._management.done()
        return part


class NoBody:
    """The body of a request that has none."""

    length: int | None = 0
    whole: bytes | None = b""

    async def read(self) -> bytes:
        return b""


EMPTY: Final = NoBody()


def head_for(call: Call) -> bytes:
    """The request's head as the console is to see it: what is forwarded in it is from a trusted proxy."""
    dropped = NOT_RELAYED | nominated(call.head.fields.get(b"connection", b""))
    target = b"%b?%b" % (call.path, call.query) if call.query else call.path
    lines = [
        field(sent, value)
        for name, sent, value in call.head.headers
        if name not in dropped and (call.proxied or not name.startswith(FORWARDED))
    ]
    return b"%b %b HTTP/1.1\r\nHost: console\r\n%b" % (call.head.method, target, b"".join(lines))


def unavailable(message: str) -> Reply:
    """503 in the envelope of the management API (contract 9.1)."""
    body = msgspec.json.encode(
        {"success": False, "errors": [{"code": 7000, "message": message}], "messages": [], "result": None}
    )
    lines = [b"Content-Type: application/json\r\nRetry-After: 1\r\nContent-Length: %d\r\n" % len(body)]
    return Reply(503, None, lines, len(body), WholeBody(body))
