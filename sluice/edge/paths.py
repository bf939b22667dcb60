"""The table of every path, and the way from a request to its handler."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from sluice.edge.call import Call
from sluice.edge.management import Management
from sluice.edge.native import native
from sluice.engine.engine import Engine
from sluice.values.errors import MalformedRequest, MethodNotAllowed, PathNotFound
from sluice.values.reply import Reply, WholeBody

INFERENCE: Final = b"/v1/"
MANAGEMENT: Final = (b"/client/v4", b"/metrics")
PREFLIGHT: Final = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD\r\n"
    b"Access-Control-Allow-Headers: %b\r\n"
    b"Access-Control-Max-Age: 86400\r\n"
    b"Vary: Access-Control-Request-Headers\r\n"
)
SHARED: Final = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Expose-Headers: *, cf-aig-step, cf-aig-log-id, cf-aig-request-id, cf-aig-event-id, "
    b"cf-aig-cache-status\r\n"
)


class Paths:
    """Sends each request to its handler."""

    def __init__(
        self, engine: Engine, management: Management, hosts: Mapping[str, str], cors: bool, ready: Callable[[], bool]
    ) -> None:
        self._engine, self._management, self._cors, self._ready = engine, management, cors, ready
        self._hosts = {name.lower().encode(): INFERENCE + mapped.encode() for name, mapped in hosts.items()}

    async def answer(self, call: Call) -> Reply:
        """The reply to a request. Raises GatewayError for paths that are not served."""
        path = call.path
        if self._hosts and (mapped := self._hosts.get(hostname(call.fields.get(b"host", b"")))):
            return await self._inference(call, mapped + path)  # contract 0.2: nothing else on such a host
        if path.startswith(INFERENCE):
            return await self._inference(call, path)
        if path == b"/healthz":
            return plain(200, b"ok\n")
        if path == b"/readyz":
            return plain(200, b"ready\n") if self._ready() else plain(503, b"not ready\n")
        if path == b"/" or path.startswith(MANAGEMENT):
            return await self._management.relay(call)
        raise PathNotFound

    async def _inference(self, call: Call, path: bytes) -> Reply:
        shared = self._cors and b"origin" in call.fields
        if shared and call.method == b"OPTIONS" and b"access-control-request-method" in call.fields:
            asked = call.fields.get(b"access-control-request-headers", b"*")
            return Reply(204, None, [PREFLIGHT % asked], 0, WholeBody(b""))
        reply = await self._gateway(call, path)
        if shared:
            reply.lines = [line for line in reply.lines if line[:15].lower() != b"access-control-"]
            reply.lines.append(SHARED)
        return reply

    async def _gateway(self, call: Call, path: bytes) -> Reply:
        """/v1/{account}/{gateway}/{provider}/{endpoint}"""
        pieces = path.split(b"/", 5)
        if len(pieces) < 4 or not pieces[2] or not pieces[3]:
            raise PathNotFound
        provider = pieces[4].lower() if len(pieces) > 4 else b""
        if not provider:
            if call.method not in (b"POST", b"GET"):
                raise MethodNotAllowed
            raise MalformedRequest("The universal endpoint is not available in this version of Sluice")
        if call.upgrade:
            raise MalformedRequest("WebSockets are not available in this version of Sluice")
        if provider in (b"compat", b"run"):
            raise MalformedRequest(f"/{provider.decode()} is not available in this version of Sluice")
        endpoint = pieces[5].lstrip(b"/") if len(pieces) > 5 else b""
        return await native(call, self._engine, segment(pieces[2]), segment(pieces[3]), segment(provider), endpoint)


def hostname(host: bytes) -> bytes:
    """The Host header without its port, in lower case."""
    name = host.lower()
    return name if name.endswith(b"]") else name.rpartition(b":")[0] or name


def segment(raw: bytes) -> str:
    """A path segment as text."""
    text = raw.decode("ascii", "replace")
    return unquote(text) if "%" in text else text


def plain(status: int, body: bytes) -> Reply:
    """A short text of ours."""
    lines = [b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body)]
    return Reply(status, None, lines, len(body), WholeBody(body))
