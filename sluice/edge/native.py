"""A provider's own endpoint under /v1/{account}/{gateway}/{provider}/: the request as it came (contract 1.2)."""

from typing import Final

from sluice.edge.auth import PROVIDER_SLOTS, find_token, is_ours, without_tokens
from sluice.edge.call import Call, Place
from sluice.edge.options import OPTION_HEADERS, KnownOptions
from sluice.edge.proxies import FORWARDED
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
OUR_PREFIXES: Final = (b"cf-aig-", FORWARDED, b"cf-access-")
MOST_NAMES: Final = 4096
LONGEST_NAME: Final = 64
NO_OPTIONS: Final = OPTION_HEADERS.keys().isdisjoint
ACCESS_COOKIE: Final = b"CF_Authorization="


def parse_native(call: Call, place: Place, names: "Names", known: KnownOptions) -> Request:
    """ANY /v1/{account}/{gateway}/{provider}/{endpoint}: one step."""
    fields = call.head.fields
    options = DEFAULT_OPTIONS if NO_OPTIONS(fields) else known.of(fields)
    step = Step(
        0,
        place.provider,
        place.endpoint,
        without_tokens(call.query),
        call.head.method,
        forwardable(call.head.headers, fields, names),
        fields.get(b"content-type", b""),
        fields.get(b"content-encoding", b""),
        call.body,
        options,
    )
    user_agent = fields.get(b"user-agent", b"")
    return Request(place.account, place.gateway, find_token(fields), "provider", user_agent, options, (step,))


def forwardable(headers: list[Header], fields: dict[bytes, bytes], names: "Names") -> list[Header]:
    """The fields that go on to the provider."""
    dropped = NONE
    for slot in PROVIDER_SLOTS:
        if slot in fields and is_ours(fields[slot]):
            dropped |= {slot}
    if b"connection" in fields:
        dropped |= nominated(fields[b"connection"])
    passing = [header for header in headers if not names[header[0]] and header[0] not in dropped]
    if len(headers) != len(fields):  # of a field that came twice only the last was looked at
        passing = [header for header in passing if header[0] not in PROVIDER_SLOTS or not is_ours(header[2])]
    return [kept for header in passing if (kept := without_access(header))] if b"cookie" in fields else passing


class Names(dict[bytes, bool]):
    """Remembers of each header name whether it ends here; clients send the same few over and over."""

    def __missing__(self, name: bytes) -> bool:
        ends = name in OURS or name.startswith(OUR_PREFIXES)
        if len(self) < MOST_NAMES and len(name) <= LONGEST_NAME:
            self[name] = ends
        return ends


def without_access(header: Header) -> Header | None:
    """A cookie header without the cookie that is meant for us; None where it has no other."""
    name, sent, value = header
    if name != b"cookie" or ACCESS_COOKIE not in value:
        return header
    kept = [pair.strip() for pair in value.split(b";") if not pair.strip().startswith(ACCESS_COOKIE)]
    return (name, sent, b"; ".join(kept)) if kept else None
