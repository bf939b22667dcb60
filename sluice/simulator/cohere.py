"""Cohere's wire: its paths, headers and errors. Start reading at `answer`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from sluice.simulator import openai, words
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.cohere_v1 import FirstChat, chat_v1
from sluice.simulator.cohere_v2 import SecondChat, chat_v2
from sluice.simulator.faults import base_model
from sluice.simulator.files import Shelf
from sluice.simulator.script import DATE, Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_MODELS: Final = ("command-a-03-2025", "command-r-plus", "command-r7b-12-2024", "embed-v4.0")
_DIMENSIONS: Final = {"embed-v4.0": 1536}
_COMPATIBLE: Final = "compatibility/v1/"

_ERRORS: Final[Mapping[int, str]] = {
    400: "invalid request",
    401: "invalid api token",
    404: "resource not found",
    405: "method not allowed",
    429: "You are past the limit of calls for your key. Please wait and try again later.",
    499: "request cancelled",
    500: "internal server error, this has been reported to our developers.",
    503: "service unavailable",
}
"""The words of an error; other statuses have those of their hundred."""


class _Embed(msgspec.Struct, frozen=True):
    texts: list[str] | None = None
    input_type: str | None = None
    embedding_types: list[str] | None = None
    output_dimension: int | None = None


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if call.path.startswith(_COMPATIBLE):
        return openai.answer(call, shelf)
    if is_unknown(call):
        raise Refused(404, f"model '{base_model(call.model)}' not found, make sure the correct model ID was used")
    return _dressed(call, _answered(call))


def refusal(call: Call, status: int, message: str) -> Script:
    """Cohere's error reply of this status."""
    return _dressed(call, json_script(_error(call, status, message), status=status))


def _error(call: Call, status: int, message: str) -> Json:
    said = message or _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    return {"id": _number(call)[:32], "message": said}


def _error_event(call: Call) -> Part:
    """A stream of the second chat ends in an error as it ends in peace; the first chat's likewise."""
    failed: Json = {"finish_reason": "ERROR", "error": "internal server error"}
    if call.path.startswith("v2/"):
        return event({"type": "message-end", "delta": failed}, "message-end")
    if call.path.startswith(_COMPATIBLE):
        return event(_error(call, 500, ""))
    end: Json = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR"}
    return event(end) if "event-stream" in call.header(b"accept") else Part(msgspec.json.encode(end) + b"\n")


def _answered(call: Call) -> Script:
    match ("GET" if call.method == "HEAD" else call.method, call.path):
        case ("POST", "v1/chat"):
            return chat_v1(call, read_body(call, FirstChat))
        case ("POST", "v2/chat"):
            return chat_v2(call, read_body(call, SecondChat))
        case ("POST", "v1/embed" | "v2/embed"):
            return _embed(call, read_body(call, _Embed))
        case ("GET", "v1/models"):
            listed: list[Json] = [_model(one) for one in _MODELS]
            return json_script({"models": listed, "next_page_token": ""})
        case (_, "v1/chat" | "v2/chat" | "v1/embed" | "v2/embed" | "v1/models"):
            raise Refused(405)
    if call.path.startswith("v1/models/"):
        return json_script(_model(base_model(call.path.removeprefix("v1/models/"))))
    raise Refused(404)


def _embed(call: Call, request: _Embed) -> Script:
    if not request.texts:
        raise Refused(400, "invalid request: texts must not be empty.")
    second = call.path.startswith("v2/")
    if second and request.input_type is None:
        raise Refused(400, "invalid request: valid input_type must be provided with the provided model")
    dimensions = request.output_dimension or _DIMENSIONS.get(base_model(call.model), 1024)
    vectors: list[Json] = [words.vector(one, max(1, min(dimensions, 1536))) for one in request.texts]
    typed = second or request.embedding_types is not None
    meta: dict[str, Json] = {"api_version": {"version": "2" if second else "1"}}
    if not call.faults.no_usage:
        meta["billed_units"] = {"input_tokens": sum(map(words.count, request.texts))}
    kind = "embeddings_by_type" if typed else "embeddings_floats"
    said: dict[str, Json] = {"id": _number(call)[:32], "texts": request.texts, "meta": meta, "response_type": kind}
    return json_script(said | {"embeddings": {"float": vectors} if typed else vectors})


def _model(name: str) -> Json:
    return {"name": name, "endpoints": ["embed"] if "embed" in name else ["chat"], "context_length": 128_000}


def _number(call: Call) -> str:
    return words.digest(f"{call.method} {call.target} {call.body.sha256}")


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Cohere sends."""
    headers = (
        ("Date", DATE),
        *script.headers,
        ("x-debug-trace-id", _number(call)[32:]),
        ("x-endpoint-monthly-call-limit", "1000"),
        ("Server", "sluice-simulator"),
    )
    return replace(script, headers=headers)


COHERE: Final = Vendor(answer, refusal, _error_event)
