"""A WebSocket to a provider that speaks it: GET /v1/{account}/{gateway}/{provider}[/{path}] (contract 4.2)."""

from typing import Final
from urllib.parse import parse_qsl
from uuid import uuid4

from sluice.edge.auth import find_token, without_tokens
from sluice.edge.browser_keys import Offered, read_subprotocols, with_subprotocols
from sluice.edge.call import Call, Place
from sluice.edge.handover import switched
from sluice.edge.native import Names, forwardable
from sluice.edge.options import parse_options
from sluice.edge.relay import Relay
from sluice.engine.engine import Engine
from sluice.engine.transcript import MEDIA_TYPE
from sluice.metrics import Metrics
from sluice.providers.provider import as_asked
from sluice.providers.registry import PROVIDERS
from sluice.values.reply import Reply
from sluice.values.request import BytesBody, Request, Step
from sluice.values.settings import Settings
from sluice.wire.handshake import acceptance

HANDSHAKE: Final = b"sec-websocket-"
MOST_PARAMETERS: Final = 100


class RealtimeSockets:
    """Opens realtime connections, and counts them."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine, self._settings = engine, settings
        self._open = metrics.gauge("sluice_realtime_connections", "Realtime connections open.")

    async def open(self, call: Call, place: Place, names: Names) -> Reply:
        """The 101 behind which a relay goes on, once the provider has sent its own; else the reply that refuses."""
        lines = acceptance(call.head)
        offered = read_subprotocols(call.head.headers)
        request = parse_realtime(call, place, names, offered, self._settings.server.websocket_requires_auth)
        opened = await self._engine.open(request, offered.subprotocols)
        if isinstance(opened, Reply):
            return opened
        chosen = offered.echo if opened.subprotocol is None else opened.subprotocol.encode("latin-1")
        if chosen is not None:
            lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % chosen)
        lines.append(b"cf-aig-connection-id: %b\r\n" % request.connection_id.encode())
        relay = Relay(opened, self._settings.realtime, self._settings.limits, self._open)
        return switched(relay, lines + opened.reply.lines)


def parse_realtime(call: Call, place: Place, names: Names, offered: Offered, needs_token: bool) -> Request:
    """One step, whose body is all that will be said."""
    provider = PROVIDERS.get(place.provider)
    route = as_asked if provider is None else provider.realtime.route
    headers = with_subprotocols(call.head.headers, offered)
    fields = call.head.fields | {name: value for name, _, value in headers if name not in call.head.fields}
    endpoint, query = route(place.endpoint, without_tokens(call.query))
    step = Step(
        0,
        place.provider,
        endpoint,
        query,
        b"GET",
        [header for header in forwardable(headers, fields, names) if not header[0].startswith(HANDSHAKE)],
        MEDIA_TYPE,
        b"",
        BytesBody(b""),
        parse_options(fields),
        model=model_named(call.query),
    )
    return Request(
        place.account,
        place.gateway,
        find_token(fields),
        "realtime",
        fields.get(b"user-agent", b""),
        step.options,
        (step,),
        connection_id=str(uuid4()),
        needs_token=needs_token,
    )


def model_named(query: bytes) -> str:
    """The model that a query names; empty where it names none."""
    try:
        named = dict(parse_qsl(query.decode("latin-1"), max_num_fields=MOST_PARAMETERS))
    except ValueError:
        return ""
    return named.get("model", "")
