"""The universal parser: steps, or an error of the catalogue that says why not, whatever the body is."""

from typing import Final

from bench.fuzz.cuts import Broken, given
from sluice.edge.native import Names
from sluice.edge.session import Cancel, NotExecuted, Session
from sluice.edge.steps import MOST_STEPS, parse_steps
from sluice.values.errors import LONGEST_DETAIL, GatewayError
from sluice.values.request import DEFAULT_OPTIONS, Request, Step

_OPENING: Final = Request("local", "default", None, "universal", b"", DEFAULT_OPTIONS, ())


def steps(raw: bytes) -> None:
    """The body of a universal request."""
    data = given(raw).data
    names = Names()
    try:
        found = parse_steps(data, DEFAULT_OPTIONS, names)
    except GatewayError as error:
        return _check_refusal(error)
    _check_steps(found)


def events(raw: bytes) -> None:
    """A message of the universal WebSocket."""
    data = given(raw).data
    try:
        asked = Session(_OPENING, Names()).read(data)
    except NotExecuted:
        return
    if isinstance(asked, Cancel):
        return
    if asked.fault is not None:
        return _check_refusal(asked.fault)
    _check_steps(asked.steps)


def _check_refusal(error: GatewayError) -> None:
    if not 400 <= error.status < 500 or not 0 < len(error.said) <= LONGEST_DETAIL:
        raise Broken(f"a refusal of {error.status} that says {error.said[:100]!r}")


def _check_steps(found: tuple[Step, ...]) -> None:
    count, waiting = 0, list(found)
    while waiting:
        step = waiting.pop()
        count += 1
        waiting += step.on_complete
        for _, name, value in step.headers:
            if any(byte in b"\r\n\0" for byte in name + value):
                raise Broken(f"a header that breaks out: {name!r} {value!r}")
        if any(byte <= 0x20 or byte == 0x7F for byte in step.endpoint.replace(b" ", b"")):
            raise Broken(f"an endpoint that breaks out: {step.endpoint!r}")
    if not 0 < count <= MOST_STEPS:
        raise Broken(f"{count} steps")
