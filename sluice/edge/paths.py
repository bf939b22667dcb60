"""The table of every path, and the way from a request to its handler."""

from collections.abc import Awaitable, Callable
from typing import Final

from sluice.edge.api_origin import api_origin, runs_model
from sluice.edge.call import Call, Place, segment
from sluice.edge.compat import MODELS, compat, models, unversioned
from sluice.edge.management import Management
from sluice.edge.native import Names, parse_native
from sluice.edge.options import KnownOptions
from sluice.edge.proxies import host_asked
from sluice.edge.realtime import RealtimeSockets
from sluice.edge.universal import universal
from sluice.edge.websocket import UniversalSockets
from sluice.engine.catalogue import Catalogue
from sluice.engine.compat import COMPAT
from sluice.engine.engine import Engine
from sluice.providers.registry import canonical
from sluice.values.errors import GatewayError, GatewayNotFound, MalformedRequest, MethodNotAllowed, PathNotFound
from sluice.values.reply import Reply, WholeBody
from sluice.values.request import Dialect
from sluice.values.settings import Settings

INFERENCE: Final = b"/v1/"
MANAGEMENT: Final = b"/client/v4/"
OWN_PATHS: Final = frozenset((b"/healthz", b"/readyz", b"/metrics"))
ANY_HOST: Final = b"*"
MOST_PLACES: Final = 4096
LONGEST_PLACE: Final = 256
LONGEST_NAME: Final = 3 * 64
"""Of an account or a gateway, were every character of it written in percent."""
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
    b"cf-aig-cache-status, cf-aig-provider, cf-aig-model\r\n"
)


class Paths:
    """Sends each request to its handler."""

    def __init__(
        self,
        engine: Engine,
        management: Management,
        settings: Settings,
        ready: Callable[[], bool],
        refuse: Callable[[GatewayError, bytes, Dialect], Reply],
        catalogue: Catalogue,
        sockets: UniversalSockets,
        realtime: RealtimeSockets,
    ) -> None:
        self._engine, self._management, self._ready, self._refuse = engine, management, ready, refuse
        self._catalogue, self._sockets, self._realtime = catalogue, sockets, realtime
        self._cors = settings.server.cors
        self._hosts = {name.lower().encode(): INFERENCE + mapped.encode() for name, mapped in settings.hosts.items()}
        self._default = self._hosts.pop(ANY_HOST, b"")
        """Where what is no path of ours belongs, whatever its host; empty for nowhere."""
        self._places: dict[bytes, Place] = {}
        self._names, self._options = Names(), KnownOptions()

    def answer(self, call: Call) -> Awaitable[Reply]:
        """The reply to a request. Raises GatewayError for paths that are not served."""
        path = call.path
        if self._hosts and (mapped := self._hosts.get(hostname(host_asked(call.head.fields, call.proxied)))):
            path = mapped + path  # contract 0.2: such a host serves nothing else
        elif not path.startswith(INFERENCE):
            if not self._default or is_own(call):
                shared = self._cors and b"origin" in call.head.fields and runs_model(path)
                return self._shared(call, path) if shared else self._other(call)
            path = self._default + path
        if self._cors and b"origin" in call.head.fields:
            return self._shared(call, path)
        return self._inference(call, path)

    def refuse(self, error: GatewayError, event_id: bytes, target: bytes) -> Reply:
        """The refusal of what never came to a handler, as its path has errors told."""
        return self._refuse(error, event_id, "api" if target.startswith(MANAGEMENT) else "gateway")

    def _inference(self, call: Call, path: bytes) -> Awaitable[Reply]:
        place = self._places.get(path) or self._find(path)
        provider = place.provider
        if call.head.upgrade:
            return self._upgrade(call, place)
        if not provider:
            if call.head.method != b"POST":
                raise MethodNotAllowed
            return universal(call, place, self._engine, self._names)
        if provider == COMPAT:
            if unversioned(place.endpoint) == MODELS:
                return models(call, place, self._engine, self._catalogue, self._names)
            return compat(call, place, self._engine, self._names)
        if provider == "run":
            raise MalformedRequest("/run is not available in this version of Sluice")
        return self._engine.serve(parse_native(call, place, self._names, self._options))

    def _upgrade(self, call: Call, place: Place) -> Awaitable[Reply]:
        """Requests for a WebSocket, which come by GET (RFC 6455, 4.1)."""
        if call.head.method != b"GET":
            raise MethodNotAllowed
        if place.provider:
            return self._realtime.open(call, place, self._names)
        return self._sockets.open(call, place, self._names)

    async def _shared(self, call: Call, path: bytes) -> Reply:
        """For a browser: preflights, and leave for any origin to read the reply (contract 11)."""
        if call.head.method == b"OPTIONS" and b"access-control-request-method" in call.head.fields:
            asked = call.head.fields.get(b"access-control-request-headers", b"*")
            return Reply(204, None, [PREFLIGHT % asked], 0, WholeBody(b""))
        try:
            reply = await (self._inference(call, path) if path.startswith(INFERENCE) else self._other(call))
        except GatewayError as error:
            reply = self.refuse(error, call.head.fields.get(b"cf-aig-event-id", b""), call.path)
        reply.lines = [line for line in reply.lines if line[:15].lower() != b"access-control-"]
        reply.lines.append(SHARED)
        return reply

    async def _other(self, call: Call) -> Reply:
        path = call.path
        if path == b"/healthz":
            return plain(200, b"ok\n")
        if path == b"/readyz":
            return plain(200, b"ready\n") if self._ready() else plain(503, b"not ready\n")
        if call.head.method == b"POST" and runs_model(path):
            return await api_origin(call, self._engine, self._names)
        if path == b"/" or path == b"/metrics" or path.startswith(MANAGEMENT):
            return await self._management.relay(call)
        raise PathNotFound

    def _find(self, path: bytes) -> Place:
        """Reads a path, and remembers what it names: clients call the same few over and over."""
        account, _, rest = path.removeprefix(INFERENCE).partition(b"/")
        gateway, _, rest = rest.partition(b"/")
        if not account or not gateway:
            raise PathNotFound
        if len(account) > LONGEST_NAME or len(gateway) > LONGEST_NAME:
            raise GatewayNotFound
        provider, _, endpoint = rest.lstrip(b"/").partition(b"/")  # a base URL may end with a slash, and so double it
        place = Place(segment(account), segment(gateway), canonical(segment(provider)), endpoint.lstrip(b"/"))
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        if len(path) <= LONGEST_PLACE:
            self._places[path] = place
        return place


def is_own(call: Call) -> bool:
    """Whether the path, which is not one of inference, is one of the server's own."""
    path = call.path
    if path == b"/":
        return call.head.method in (b"GET", b"HEAD") and not call.head.upgrade
    return path in OWN_PATHS or path.startswith(MANAGEMENT)


def hostname(host: bytes) -> bytes:
    """The Host header without its port, in lower case."""
    name = host.lower()
    return name if name.endswith(b"]") else name.rpartition(b":")[0] or name


def plain(status: int, body: bytes) -> Reply:
    """A short text of ours."""
    lines = [b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body)]
    return Reply(status, None, lines, len(body), WholeBody(body))
