"""Vendors of speech. Their WebSockets echo what they are told; of their other calls there are only errors."""

from typing import Final, NoReturn

from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.live import Echo
from sluice.simulator.script import Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor


def _answer(call: Call, shelf: Shelf) -> NoReturn:
    raise Refused(404, f"The simulator has no {call.method} /{call.path} of {call.slug}")


def _refusal(call: Call, status: int, message: str) -> Script:
    return json_script({"detail": {"status": status, "message": message or "The request failed."}}, status=status)


def _error_event(call: Call) -> Part:
    return event({"detail": {"status": 500, "message": "The request failed."}})


VOICE: Final = Vendor(_answer, _refusal, _error_event, live=Echo)
