"""A provider's own endpoint under /v1/{account}/{gateway}/{provider}/: the request as it came (contract 1.2)."""

from typing import Final

from sluice.edge.auth import PROVIDER_SLOTS, find_token, is_ours
from sluice.edge.call import Call, Place
from sluice.edge.options import OPTION_HEADERS, parse_options
from sluice.engine.attempt import HOP_BY_HOP, NONE, nominated
from sluice.values.request import DEFAULT_OPTIONS, Header, Request, Step

OURS: Final = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"cf-cache-ttl",
    b"cf-skip-cache",
    b"cf-connecting-ip",
}
"""Header fields that end here (contract 0.5), beside those of OUR_PREFIXES."""
OUR_PREFIXES: Final = (b"cf-aig-", b"x-forwarded-", b"cf-access-")
SHARED_SLOTS: Final = frozenset({b"cookie", *PROVIDER_SLOTS})
"""Fields that may be meant for us or for the provider."""
ACCESS_COOKIE: Final = b"CF_Authorization="


def parse_native(call: Call, place: Place) -> Request:
    """ANY /v1/{account}/{gateway}/{provider}/{endpoint}: one step."""
    fields = call.fields
    headers, asks = forwardable(call.headers, fields.get(b"connection"))
    options = parse_options(fields) if asks else DEFAULT_OPTIONS
    step = Step(
        0,
        place.provider,
        place.endpoint,
        call.query,
        call.method,
        headers,
        fields.get(b"content-type", b""),
        fields.get(b"content-encoding", b""),
        call.body,
        options,
    )
    user_agent = fields.get(b"user-agent", b"")
    return Request(place.account, place.gateway, find_token(fields), "provider", user_agent, options, (step,))


def forwardable(headers: list[Header], connection: bytes | None) -> tuple[list[Header], bool]:
    """The fields that go on to the provider, and whether an option was among the others."""
    own = NONE if connection is None else nominated(connection)
    passing: list[Header] = []
    asks = False
    for header in headers:
        name = header[0]
        if name in OURS:
            continue
        if name in SHARED_SLOTS:
            kept = kept_of(header)
            if kept is not None:
                passing.append(kept)
        elif name.startswith(OUR_PREFIXES):
            asks = asks or name in OPTION_HEADERS
        elif name not in own:
            passing.append(header)
    return passing, asks


def kept_of(header: Header) -> Header | None:
    """What the provider may see of a field that may be meant for us."""
    name, sent, value = header
    if name != b"cookie":
        return None if is_ours(value) else header
    if ACCESS_COOKIE not in value:
        return header
    rest = [part for part in value.split(b";") if not part.strip().startswith(ACCESS_COOKIE)]
    return (name, sent, b";".join(rest).strip()) if rest else None
