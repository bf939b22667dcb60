"""Anthropic's wire: its paths, headers and errors. Start reading at `answer`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sluice.simulator import openai, words
from sluice.simulator.anthropic_messages import MessageRequest, prompt_tokens, send
from sluice.simulator.anthropic_rules import check
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import Shelf
from sluice.simulator.script import DATE, Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_MODELS: Final = (
    ("claude-sonnet-4-6", "Claude Sonnet 4.6"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
    ("claude-opus-4-8", "Claude Opus 4.8"),
)
_CREATED: Final = "2025-01-01T00:00:00Z"

_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}
"""Type and words of an error; other statuses have those of their hundred."""


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if call.path == "v1/chat/completions":
        return openai.answer(call, shelf)
    if not call.header(b"anthropic-version"):
        raise Refused(400, "anthropic-version: header is required")
    if is_unknown(call):
        raise Refused(404, f"model: {base_model(call.model)}")
    return _dressed(call, _answered(call))


def refusal(call: Call, status: int, message: str) -> Script:
    """Anthropic's error reply of this status."""
    numbered: dict[str, Json] = {"request_id": "req_" + _number(call)[:24]}
    return _dressed(call, json_script(_error(status, message) | numbered, status=status))


def _error(status: int, message: str) -> dict[str, Json]:
    kind, said = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    return {"type": "error", "error": {"type": kind, "message": message or said}}


def _error_event(_: Call) -> Part:
    return event(_error(529, ""), "error")


def _answered(call: Call) -> Script:
    method = "GET" if call.method == "HEAD" else call.method
    match (method, call.path.split("/")):
        case ("POST", ["v1", "messages"]):
            request = read_body(call, MessageRequest)
            check(request)
            return send(call, request)
        case ("POST", ["v1", "messages", "count_tokens"]):
            return json_script({"input_tokens": prompt_tokens(read_body(call, MessageRequest))})
        case ("GET", ["v1", "models"]):
            listed: list[Json] = [_model(name, shown) for name, shown in _MODELS]
            first, last = _MODELS[0][0], _MODELS[-1][0]
            return json_script({"data": listed, "has_more": False, "first_id": first, "last_id": last})
        case ("GET", ["v1", "models", name]):
            return json_script(_model(base_model(name), dict(_MODELS).get(base_model(name), base_model(name))))
        case (_, ["v1", "messages" | "models", *_]):
            raise Refused(405, "Method Not Allowed")
    raise Refused(404)


def _model(name: str, shown: str) -> Json:
    return {"type": "model", "id": name, "display_name": shown, "created_at": _CREATED}


def _number(call: Call) -> str:
    return words.digest(f"{call.method} {call.target} {call.body.sha256}")


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Anthropic sends."""
    limits = [
        (f"anthropic-ratelimit-{kind}-{name}", value)
        for kind, most in (("requests", 4000), ("input-tokens", 400_000), ("output-tokens", 80_000))
        for name, value in (("limit", str(most)), ("remaining", str(most - 1)), ("reset", _CREATED))
    ]
    headers = (
        ("Date", DATE),
        *script.headers,
        *(() if script.status == 401 else limits),
        ("request-id", "req_" + _number(call)[:24]),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("Server", "sluice-simulator"),
        ("X-Robots-Tag", "none"),
    )
    return replace(script, headers=headers)


ANTHROPIC: Final = Vendor(answer, refusal, _error_event, re.compile(r"^v1/models/(.+)$"))
