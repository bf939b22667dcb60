"""OpenAI's errors to Anthropic's."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat import messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.usage import UNREADABLE

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class _Problem(msgspec.Struct, frozen=True):
    message: str


class _Failure(msgspec.Struct, frozen=True):
    error: _Problem | str | None = None
    message: str | None = None
    """Where some vendors have it."""


_FAILURE: Final = msgspec.json.Decoder(_Failure)


def from_chat_error(status: int, body: bytes) -> bytes:
    """The error that Anthropic's clients read, of the type that its status has there."""
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    said = told_in(body) or f"The provider answered with status {status}"
    return ENCODER.encode({"type": "error", "error": messages.Problem(kind, said)})


def told_in(body: bytes) -> str | None:
    """What an error in OpenAI's shape, or one much like it, says; None where nobody can tell."""
    try:
        failure = _FAILURE.decode(body)
    except UNREADABLE:
        return None
    error = failure.error
    said = error.message if isinstance(error, _Problem) else error
    return said or failure.message
