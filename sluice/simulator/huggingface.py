"""Hugging Face's inference wire: a model is a path, and text comes back in a list. Start reading at `answer`."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec

from sluice.simulator import answers, openai, words
from sluice.simulator.answers import FILLER, Answer, Question
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import Shelf
from sluice.simulator.script import (
    DATE,
    FILL,
    Part,
    Refused,
    Script,
    filled_script,
    json_script,
    stream_script,
    to_json,
)
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_IN_PATH: Final = re.compile(r"^(?:models/)?([^/]+(?:/[^/]+)?)(?:/v1/.+)?$")
_COMPATIBLE: Final = re.compile(r".+/(v1/.+)")
_EMBEDS: Final = re.compile(r"sentence-transformers|bge-|e5-|embed")
_DIMENSIONS: Final = 384
_LOADING_S: Final = 20.0

_ERRORS: Final = {
    400: "Error in `inputs`: field required",
    401: "Invalid credentials in Authorization header",
    404: "Not Found",
    429: "Rate limit reached. Please log in or use your apiToken",
    503: "Model is currently loading",
}


class _Parameters(msgspec.Struct, frozen=True):
    max_new_tokens: int | None = None
    return_full_text: bool = True
    details: bool = False
    stop: list[str] = []


class _Input(msgspec.Struct, frozen=True):
    inputs: str | list[str]
    parameters: _Parameters = _Parameters()
    stream: bool | None = None


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if found := _COMPATIBLE.fullmatch(call.path):
        return openai.answer(call._replace(path=found[1]), shelf)
    if is_unknown(call) or not call.model:
        raise Refused(404, f"Model {base_model(call.model)} does not exist")
    if call.method != "POST":
        raise Refused(405, "Method Not Allowed")
    request = read_body(call, _Input)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    if _EMBEDS.search(base_model(call.model)):
        return _dressed(call, json_script([words.vector(one, _DIMENSIONS) for one in texts]))
    return _dressed(call, _generate(call, request, texts))


def refusal(call: Call, status: int, message: str) -> Script:
    """Hugging Face's error reply of this status."""
    error: dict[str, Json] = {"error": message or _ERRORS.get(status) or "Internal Server Error"}
    return _dressed(call, json_script(error | ({"estimated_time": _LOADING_S} if status == 503 else {}), status=status))


def _error_event(_: Call) -> Part:
    return _event({"error": "Request failed during generation: Server error", "error_type": "generation"})


def _generate(call: Call, request: _Input, texts: list[str]) -> Script:
    asked = request.parameters
    made = [answers.answer(Question(one, (), "", None, asked.max_new_tokens, asked.stop), call.faults) for one in texts]
    if request.stream and made:
        return stream_script(_events(made[0]))
    before = texts if asked.return_full_text else [""] * len(texts)
    told: list[Json] = [
        {"generated_text": text.replace(FILL, "") + one.filled} | ({"details": _details(one)} if asked.details else {})
        for text, one in zip(before, made, strict=True)
    ]
    return filled_script(told, FILLER, (call.faults.huge or 0) << 4)


def _events(made: Answer) -> Iterator[Part]:
    """A token an event; the last has the whole text too, and no other ends the stream."""
    for number, piece in enumerate(made.pieces(), 1):
        yield _event({"index": number, "token": _token(number, piece), "generated_text": None, "details": None})
    last: Json = {"token": _token(2, "</s>"), "generated_text": made.text, "details": _details(made)}
    yield Part(_event(last).data, tail=True)


def _details(made: Answer) -> Json:
    reason = "length" if made.cut_off else "eos_token" if made.stop is None else "stop_sequence"
    return {"finish_reason": reason, "generated_tokens": made.tokens, "seed": None}


def _token(number: int, text: str) -> Json:
    return {"id": number, "text": text, "logprob": 0, "special": text == "</s>"}


def _event(value: Json) -> Part:
    """An event without the space that most write behind the colon."""
    return Part(b"data:%b\n\n" % to_json(value))


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Hugging Face sends."""
    number = words.digest(f"{call.method} {call.target} {call.body.sha256}")
    headers = (
        ("Date", DATE),
        *script.headers,
        ("x-request-id", number[:22]),
        ("x-compute-type", "simulator"),
        ("x-compute-time", "0.010"),
        ("Server", "sluice-simulator"),
    )
    return replace(script, headers=headers)


HUGGINGFACE: Final = Vendor(answer, refusal, _error_event, _IN_PATH)
