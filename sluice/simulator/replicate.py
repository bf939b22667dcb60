"""Replicate's wire: a prediction is made, and asked after until it is done. Start reading at `answer`."""

import re
from dataclasses import replace
from typing import Final

import msgspec

from sluice.simulator import answers, words
from sluice.simulator.answers import Question
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import NONE, base_model
from sluice.simulator.files import File, Shelf
from sluice.simulator.script import DATE, Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_PATH: Final = re.compile(r"v1/(?:(?:models|deployments)/([^/]+/[^/]+)/)?predictions")
_ONE: Final = re.compile(r"v1/predictions/([^/]+)(/cancel)?")
_MODEL: Final = re.compile(r"v1/models/([^/]+/[^/]+)")
_IN_PATH: Final = re.compile(r"^v1/(?:models|deployments)/([^/]+/[^/]+)")
_CREATED: Final = "2025-01-01T00:00:00.000Z"
_API: Final = "https://api.replicate.com/v1/predictions"

_ERRORS: Final = {
    400: ("Invalid request", "The request is malformed."),
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    404: ("Not found", "The requested resource could not be found."),
    422: ("Input validation failed", "- input: input is required\n"),
    429: ("Too many requests", "Request was throttled. Expected available in 1 second."),
    500: ("Internal server error", "Something went wrong."),
}


class _Prediction(msgspec.Struct, frozen=True):
    input: dict[str, object]


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if is_unknown(call):
        raise Refused(422, "- version: The specified version does not exist.\n")
    return _dressed(call, _answered(call, shelf))


def refusal(call: Call, status: int, message: str) -> Script:
    """Replicate's error reply of this status, a problem as of RFC 7807."""
    return _dressed(call, json_script(_error(status, message), status=status))


def _error(status: int, message: str) -> Json:
    title, said = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    return {"title": title, "detail": message or said, "status": status}


def _error_event(_: Call) -> Part:
    return event(_error(500, ""), "error")


def _answered(call: Call, shelf: Shelf) -> Script:
    method = "GET" if call.method == "HEAD" else call.method
    if _PATH.fullmatch(call.path) and method == "POST":
        return _predict(call, shelf)
    if _PATH.fullmatch(call.path) and method == "GET":
        kept: list[Json] = [_told(one, "succeeded") for one in shelf.all() if one.purpose == "prediction"]
        return json_script({"next": None, "previous": None, "results": kept})
    if (one := _ONE.fullmatch(call.path)) and (file := shelf.get(f"prediction-{one[1]}")):
        return json_script(_told(file, "canceled" if one[2] else "succeeded"))
    if (model := _MODEL.fullmatch(call.path)) and method == "GET":
        owner, _, name = base_model(model[1]).partition("/")
        return json_script({"owner": owner, "name": name, "visibility": "public"})
    raise Refused(404)


def _predict(call: Call, shelf: Shelf) -> Script:
    """A prediction that starts, or with `Prefer: wait` is done; what it was asked is kept on the shelf."""
    request = read_body(call, _Prediction)
    number = words.digest(f"{call.path} {call.body.sha256}")[:26]
    data = msgspec.json.encode({"model": base_model(call.model), "input": request.input})
    file = File(f"prediction-{number}", base_model(call.model), "prediction", len(data), data)
    shelf.put(file)
    status = "succeeded" if call.header(b"prefer").startswith("wait") else "starting"
    return json_script(_told(file, status), status=201)


def _told(file: File, status: str) -> Json:
    """A prediction as it stands: the output follows from its prompt."""
    number, kept = file.id.removeprefix("prediction-"), msgspec.json.decode(file.data or b"{}")
    url = f"{_API}/{number}"
    told: dict[str, Json] = {
        "id": number,
        "model": file.filename,
        "version": "hidden",
        "input": kept["input"],
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "status": status,
        "created_at": _CREATED,
        "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"https://replicate.com/p/{number}"},
    }
    if status != "succeeded":
        return told
    prompt = str(kept["input"].get("prompt", ""))
    said = answers.answer(Question(prompt), NONE).text
    counts: Json = {
        "predict_time": 0.01,
        "input_token_count": words.count(prompt),
        "output_token_count": words.count(said),
    }
    return told | {"output": words.tokens(said), "completed_at": _CREATED, "metrics": counts}


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Replicate sends."""
    headers = (
        ("Date", DATE),
        *script.headers,
        ("ratelimit-remaining", "599"),
        ("ratelimit-reset", "1"),
        ("Server", "sluice-simulator"),
    )
    return replace(script, headers=headers)


REPLICATE: Final = Vendor(answer, refusal, _error_event, _IN_PATH)
