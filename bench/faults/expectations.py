"""What must come of each fault, by what the documentation promises, and never by what was seen.

- docs/errors.md: 2005 where connecting, TLS, the head or the bytes behind it fail, 2002 for what cannot be translated;
  a provider's own errors pass; what fails after the first byte ends without its proper end, and its log is `broken`.
- docs/universal.md: a step fails, and the next one is tried, up to the first byte of its body; never behind it.
- docs/life-of-a-request.md: the four endings, and that a stream is complete at its terminal event.
- docs/websocket.md: a stream that broke is done with an error; what was to go into one message is an error instead.
- docs/compat-anthropic.md, docs/compat-bedrock.md: what is translated is read to its end first, or, as a stream, ends
  without `[DONE]` where it breaks off or tells of an error.
"""

from typing import Final, Literal, NamedTuple

from bench.faults.seeing import View

Way = Literal["native", "universal", "socket", "unified"]
"""The provider's own path; a step with another one behind it, by HTTP and by WebSocket; the unified schema."""
Call = Literal["native", "universal", "socket", "held", "unified", "translated", "translated stream"]
"""What is `translated`, or `held` for a message of a WebSocket, is told once it is whole."""
Kind = Literal[
    "served", "unbegun", "bodiless", "broken", "status", "garbled", "error body", "error event", "endless", "tail"
]
WAYS: Final[tuple[Way, ...]] = ("native", "universal", "socket", "unified")


class Fault(NamedTuple):
    """A way to fail. `ask` is the suffix of the model's name that asks the simulator for it."""

    name: str
    ask: str
    kind: Kind
    streams_only: bool = False
    over_tls: bool = False
    framing: str = ""
    """How the simulator is to frame the reply; its own choice where it is not said."""


class Expected(NamedTuple):
    """What the client must see, and what the log must say of the step with the fault."""

    view: View
    status: int
    """The client's; where the step is fallen back from, that of the step behind it is 200."""
    code: int
    """Of an error of ours that the client gets; 0 where it gets the provider's reply."""
    ending: str
    log_status: int
    log_code: int
    success: bool
    falls_back: bool = False
    ends: bool = False
    """Whether a stream's terminal event must have come; where not, it must not have."""


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("no fault", "", "served"),
        Fault("slow head", "slow-head-150", "served"),
        Fault("slow first token", "slow-first-token-150", "served"),
        Fault("slow events", "pace-10", "served", streams_only=True),
        Fault("40 bytes at a time", "drip-40", "served"),
        Fault("wrong usage", "wrong-usage", "served"),
        Fault("no usage", "no-usage", "served"),
        Fault("TLS handshake fails", "", "unbegun", over_tls=True),
        Fault("closed without a reply", "drop", "unbegun"),
        Fault("not HTTP", "bad-head", "unbegun"),
        Fault("head too late", "slow-head-60000", "unbegun"),
        Fault("status 429", "status-429", "status"),
        Fault("status 500", "status-500", "status"),
        Fault("cut behind the head", "cut-0", "bodiless"),
        Fault("reset behind the head", "reset-0", "bodiless"),
        Fault("half-closed behind the head", "half-close-0", "bodiless"),
        Fault("malformed behind the head", "malformed-0", "bodiless"),
        Fault("stalled behind the head", "stall-0", "bodiless"),
        Fault("cut", "cut-3", "broken"),
        Fault("reset", "reset-3", "broken"),
        Fault("half-closed", "half-close-3", "broken"),
        Fault("malformed chunk", "malformed-3", "broken"),
        Fault("stalled", "stall-3", "broken"),
        Fault("damaged JSON", "garbled-3~pace-150", "garbled"),
        Fault("200 with an error", "error-200", "error body"),
        Fault("error event", "error-event-3~pace-150", "error event", streams_only=True),
        Fault("no terminal event", "no-tail", "endless", streams_only=True),
        Fault("cut, closing being the proper end too", "cut-3", "endless", framing="close"),
        Fault("cut behind the terminal event", "cut-1000000", "tail", streams_only=True),
        Fault("stalled behind the terminal event", "stall-1000000", "tail", streams_only=True),
    )
}

_WHOLE: Final = Expected("whole", 200, 0, "complete", 200, 0, success=True, ends=True)
_ENDLESS: Final = _WHOLE._replace(ends=False)
_CUT: Final = Expected("cut", 200, 0, "broken", 200, 2005, success=False)
_INSTEAD: Final = Expected("whole", 400, 2005, "broken", 200, 2005, success=False)
_CUT_AFTER_ALL: Final = _WHOLE._replace(view="cut")
_REFUSED: Final = Expected("whole", 400, 2005, "refused", 400, 2005, success=False)
_UNREADABLE: Final = _REFUSED._replace(code=2002, log_code=2002)
_STATUS: Final = Expected("whole", 0, 0, "complete", 0, 0, success=False)
"""The status is the fault's."""


def _next(outcome: Expected) -> Expected:
    """The same of a step, with the reply of the one behind it for the client."""
    return outcome._replace(view="whole", status=200, code=0, falls_back=True, ends=True)


def _all(native: Expected, universal: Expected, translated: Expected, stream: Expected) -> dict[Call, Expected]:
    cut = universal.view == "cut"
    return {
        "native": native,
        "unified": native,
        "universal": universal,
        "socket": _WHOLE if universal == _CUT_AFTER_ALL else universal,
        "held": _INSTEAD if cut else universal,
        "translated": translated,
        "translated stream": stream,
    }


EXPECTED: Final[dict[Kind, dict[Call, Expected]]] = {
    "served": _all(_WHOLE, _WHOLE, _WHOLE, _WHOLE),
    "unbegun": _all(_REFUSED, _next(_REFUSED), _REFUSED, _REFUSED),
    "status": _all(_STATUS, _next(_STATUS), _STATUS, _STATUS),
    "bodiless": _all(_CUT, _next(_CUT), _REFUSED, _REFUSED),
    "broken": _all(_CUT, _CUT, _REFUSED, _CUT),
    "garbled": _all(_WHOLE, _WHOLE, _UNREADABLE, _CUT._replace(log_code=2002)),
    "error body": _all(_ENDLESS, _ENDLESS, _UNREADABLE, _REFUSED),
    "error event": _all(_ENDLESS, _ENDLESS, _UNREADABLE, _CUT),
    "endless": _all(_ENDLESS, _ENDLESS, _UNREADABLE, _CUT),
    "tail": _all(_CUT_AFTER_ALL, _CUT_AFTER_ALL, _REFUSED, _CUT_AFTER_ALL),
}


def expected(fault: Fault, way: Way, translated: bool, stream: bool, told_as_events: bool) -> Expected:
    """What must come of a fault in a call of this way."""
    call: Call = way
    if way == "socket" and not (stream and told_as_events):
        call = "held"
    if way == "unified" and translated:
        call = "translated stream" if stream else "translated"
    outcome = EXPECTED[fault.kind][call]
    if fault.kind != "status":
        return outcome
    status = int(fault.ask.removeprefix("status-"))
    return outcome._replace(status=200 if outcome.falls_back else status, log_status=status)
