"""Google AI Studio's wire: its paths, headers and errors. Start reading at `answer`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from sluice.simulator import openai, words
from sluice.simulator.bodies import Request, has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import Shelf
from sluice.simulator.google_content import (
    Content,
    GenerateRequest,
    camel,
    counted,
    generate,
    google_event,
    prompt_tokens,
    stream_generate,
)
from sluice.simulator.google_live import open_session
from sluice.simulator.script import DATE, Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_MODELS: Final = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash", "gemini-embedding-001")
_METHODS: Final = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
_DIMENSIONS: Final = 3072
_BAD_KEY: Final = "API key not valid. Please pass a valid API key."
_COMPATIBLE: Final = re.compile(r"v1(?:beta)?/openai/.+")
_ADDRESS: Final = re.compile(r"v1(?:beta|alpha)?/(?:models|tunedModels)(?:/([^:/]+)(?::(\w+))?)?")
_IN_PATH: Final = re.compile(r"(?:^|/)(?:models|tunedModels)/([^:/]+)")

_STATUSES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    501: ("UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
"""Google's name and words for a status; others have those of their hundred."""


class _Embed(msgspec.Struct, frozen=True, rename="camel"):
    content: Content
    output_dimensionality: int | None = None


class _EmbedBatch(msgspec.Struct, frozen=True):
    requests: list[_Embed]


class _Count(msgspec.Struct, frozen=True, rename="camel"):
    contents: list[Content] = []
    generate_content_request: GenerateRequest | None = None


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(400, _BAD_KEY)
    if _COMPATIBLE.fullmatch(call.path):
        return openai.answer(call, shelf)
    found = _ADDRESS.fullmatch(call.path)
    if found is None:
        raise Refused(404)
    return _dressed(call, _answered(call, found[1], found[2]))


def refusal(call: Call, status: int, message: str) -> Script:
    """Google's error reply of this status; under the path that is compatible with OpenAI's it is in a list."""
    error = _error(status, message)
    listed = bool(_COMPATIBLE.fullmatch(call.path)) or call.path.endswith(":streamGenerateContent")
    body: Json = [error] if listed and call.query.get("alt") != "sse" else error
    return _dressed(call, json_script(body, status=status))


def _error(status: int, message: str) -> Json:
    name, said = _STATUSES.get(status) or _STATUSES[500 if status >= 500 else 400]
    error: dict[str, Json] = {"code": status, "message": message or said, "status": name}
    if message == _BAD_KEY:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    return {"error": error}


def _error_event(call: Call) -> Part:
    error = _error(503, "")
    if _COMPATIBLE.fullmatch(call.path):
        return event(error)
    if call.query.get("alt") == "sse":
        return google_event(error)
    return Part(b",\r\n" + msgspec.json.encode(error) + b"]")


def _answered(call: Call, model: str | None, verb: str | None) -> Script:
    if verb is None:
        if call.method not in ("GET", "HEAD"):
            raise Refused(404)
        return json_script({"models": [_model(one) for one in _MODELS]} if model is None else _model(base_model(model)))
    if call.method != "POST":
        raise Refused(404)
    if is_unknown(call):
        said = "is not found for API version v1beta, or is not supported for"
        raise Refused(404, f"models/{base_model(call.model)} {said} {verb}. Call ListModels to see what is.")
    match verb:
        case "generateContent":
            return generate(call)
        case "streamGenerateContent":
            return stream_generate(call)
        case "countTokens":
            return _count(call)
        case "embedContent":
            return json_script({"embedding": _embedding(_converted(call, _Embed))})
        case "batchEmbedContents":
            return json_script({"embeddings": [_embedding(one) for one in _converted(call, _EmbedBatch).requests]})
    raise Refused(404)


def _converted(call: Call, kind: type[Request]) -> Request:
    try:
        return msgspec.convert(camel(read_body(call, dict[str, object])), kind)
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid JSON payload received. {error}.") from error


def _embedding(one: _Embed) -> Json:
    return {"values": words.vector(one.content.text, max(1, min(one.output_dimensionality or _DIMENSIONS, 3072)))}


def _count(call: Call) -> Script:
    asked = _converted(call, _Count)
    tokens = prompt_tokens(asked.generate_content_request or GenerateRequest(asked.contents))
    return json_script({"totalTokens": tokens, "promptTokensDetails": counted("TEXT", tokens)})


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": _METHODS,
    }


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Google sends."""
    kept = [
        (name, "application/json; charset=UTF-8" if value == "application/json" else value)
        for name, value in script.headers
    ]
    headers = (
        *kept,
        ("Vary", "Origin"),
        ("Vary", "X-Origin"),
        ("Vary", "Referer"),
        ("Date", DATE),
        ("Server", "sluice-simulator"),
        ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server-Timing", f"gfet4t7; dur={call.body.length % 1000}"),
    )
    return replace(script, headers=headers)


GOOGLE: Final = Vendor(answer, refusal, _error_event, _IN_PATH, open_session)
