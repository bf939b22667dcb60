"""Baseten's wire: OpenAI's, and models of one's own that are called by their path."""

import re
from typing import Final

import msgspec

from sluice.simulator import answers, openai
from sluice.simulator.answers import Question
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.script import Refused, Script, json_script
from sluice.simulator.vendor import Vendor

_OWN: Final = re.compile(r"(?:model/([^/]+))?(?:/?(?:production|development|environments/[^/]+)/predict)?")


class _Input(msgspec.Struct, frozen=True):
    prompt: str = ""


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if not call.path or not _OWN.fullmatch(call.path):
        return openai.answer(call, shelf)
    if has_bad_key(call):
        raise Refused(401)
    if call.method != "POST":
        raise Refused(405, "Method Not Allowed")
    if is_unknown(call):
        raise Refused(404, "model not found")
    return json_script({"output": answers.answer(Question(read_body(call, _Input).prompt), call.faults).text})


BASETEN: Final = Vendor(answer, openai.refusal, openai.error_event, re.compile(r"(?:^model|(?:^|/)models)/([^/]+)"))
