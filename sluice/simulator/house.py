"""What all connections of one simulator share, and the way from a received request to a script."""

from collections import OrderedDict
from dataclasses import replace
from typing import Final, NamedTuple

from sluice.simulator.bodies import has_bad_key, is_unknown
from sluice.simulator.call import EMPTY, Body, Call, address_of, header_of, model_of
from sluice.simulator.faults import NONE, FaultError, Faults, parse_faults, without_faults
from sluice.simulator.files import Shelf
from sluice.simulator.journal import Journal
from sluice.simulator.live import Live
from sluice.simulator.own import PREFIX, echo, own, wants_echo
from sluice.simulator.script import Refused, Script
from sluice.simulator.staging import Framing, Stage
from sluice.simulator.vendor import Vendor
from sluice.simulator.vendors import VENDORS
from sluice.wire.events import RequestHead

BODIES_BYTES: Final = 64 * 1024 * 1024
"""Bodies that all connections may hold; past it they are digested only."""
_COUNTED: Final = 1000
_SUBPROTOCOLS: Final = ("realtime", "token", "convai")
_FRAMINGS: Final[dict[str, Framing]] = {"length": "length", "chunked": "chunked", "close": "close"}


class Cue(NamedTuple):
    """A script with all that is to be known to perform it."""

    script: Script
    stage: Stage
    faults: Faults
    provider: str


class Opening(NamedTuple):
    """A WebSocket that is to be opened, after a while, or in vain."""

    live: Live
    faults: Faults
    provider: str
    subprotocol: bytes | None


class House:
    """One simulator's memory, all of it bounded: the journal, the files, the hits of faults that end."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.bodies_bytes = 0
        self._shelf = Shelf()
        self._hits: OrderedDict[str, int] = OrderedDict()

    async def cue(self, head: RequestHead, body: Body, connection: int, number: int) -> Cue:
        """The answer to one request. A fault that is none is a 400."""
        target = head.target.decode("latin-1")
        slug, path = address_of(target, VENDORS)
        vendor = VENDORS[slug]
        model = model_of(path, body, vendor.model_in_path)
        call = Call(head.method.decode("latin-1"), target, slug, path, head.headers, body, model, NONE)
        stage = self._stage(head, call, number, vendor)
        if target.startswith(PREFIX) or target.partition("?")[0] in ("", "/"):
            return Cue(await own(call, self.journal), stage, NONE, slug)
        try:
            call = call._replace(faults=self._faults(call))
            return Cue(self._script(vendor, call, connection, number), stage, call.faults, slug)
        except FaultError as error:
            return Cue(vendor.refusal(call, 400, str(error)), stage, NONE, slug)
        except Refused as refused:
            return Cue(vendor.refusal(call, refused.status, refused.message), stage, call.faults, slug)

    async def opening(self, head: RequestHead, connection: int, number: int) -> Cue | Opening:
        """The answer to a request for a WebSocket: a conversation, or a reply that refuses one."""
        target = head.target.decode("latin-1")
        slug, path = address_of(target, VENDORS)
        vendor = VENDORS[slug]
        call = Call("GET", target, slug, path, head.headers, EMPTY, "", NONE)
        call = call._replace(model=call.query.get("model", ""))
        stage = self._stage(head, call, number, vendor)
        try:
            call = call._replace(faults=self._faults(call))
            if call.faults.status is not None or call.faults.retry_after is not None:
                return Cue(self._script(vendor, call, connection, number), stage, call.faults, slug)
            if has_bad_key(call) or is_unknown(call) or vendor.live is None:
                raise Refused(401 if has_bad_key(call) else 404)
            return Opening(vendor.live(call), call.faults, slug, _chosen(call))
        except FaultError as error:
            return Cue(vendor.refusal(call, 400, str(error)), stage, NONE, slug)
        except Refused as refused:
            return Cue(vendor.refusal(call, refused.status, refused.message), stage, call.faults, slug)

    def _script(self, vendor: Vendor, call: Call, connection: int, number: int) -> Script:
        faults = call.faults
        status = 429 if faults.retry_after is not None and faults.status is None else faults.status
        if status is not None:
            return vendor.refusal(call, status, "")
        if wants_echo(call):
            return echo(call, connection, number)
        script = vendor.answer(call, self._shelf)
        if faults.error_200 is None:
            return script
        if script.events:
            return replace(script, parts=(vendor.error_event(call),))
        failed = vendor.refusal(call, 500, "")
        return replace(failed, status=200)

    def _faults(self, call: Call) -> Faults:
        """The faults to apply now: `first` has let them go once its requests have been."""
        faults = parse_faults(call.model, call.header(b"x-sluice-fault"))
        if faults.first is None:
            return faults
        kind = "\0".join((call.target, call.model, call.header(b"x-sluice-marker")))
        hits = self._hits.pop(kind, 0)
        self._hits[kind] = hits + 1
        if len(self._hits) > _COUNTED:
            self._hits.popitem(last=False)
        return faults if hits < faults.first else without_faults(faults)

    def _stage(self, head: RequestHead, call: Call, number: int, vendor: Vendor) -> Stage:
        zipped = call.header(b"x-sluice-encoding") == "gzip" and "gzip" in header_of(call.headers, b"accept-encoding")
        return Stage(
            first=number == 1,
            keep_alive=head.keep_alive and not head.upgrade,
            http11=head.http11,
            head_only=head.method == b"HEAD",
            framing=_FRAMINGS.get(call.header(b"x-sluice-framing")),
            gzip=zipped,
            error_event=vendor.error_event(call),
        )


def _chosen(call: Call) -> bytes | None:
    """The subprotocol that vendors choose of those offered."""
    offered = [name.strip() for name in call.header(b"sec-websocket-protocol").split(",")]
    return next((name.encode() for name in offered if name in _SUBPROTOCOLS), None)
