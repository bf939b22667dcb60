"""What replies say that is ours: who answered, and why nobody did."""

from typing import Final

import msgspec

from sluice.values.errors import GatewayError, Unauthorized
from sluice.values.limits import Permit
from sluice.values.reply import Reply, WholeBody
from sluice.values.request import Dialect, Step

LONGEST_MODEL: Final = 256
"""That a reply's head tells; a body may name any."""
AUTHENTICATION_ERROR: Final = (10000, "Authentication error")
"""What Cloudflare's API says of a token (contract 9.1)."""
KINDS: Final = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
"""What vendors call errors of these statuses."""


def origin(step: Step) -> bytes:
    """The field lines that say who answered, for requests that do not say it themselves."""
    line = b"cf-aig-provider: %b\r\n" % step.provider.encode()
    model = step.model
    if not model or len(model) > LONGEST_MODEL or not model.isascii() or not model.isprintable():
        return line
    return b"%bcf-aig-model: %b\r\n" % (line, model.encode())


def unlogged(request_id: bytes, event_id: bytes) -> bytes:
    """The field lines that name a request of which there is no log."""
    return b"cf-aig-cache-status: MISS\r\ncf-aig-request-id: %b\r\ncf-aig-event-id: %b\r\n" % (request_id, event_id)


def allowance(permit: Permit) -> bytes:
    """The field lines that say how many more requests a gateway's rate limit allows, and when it is more again."""
    return b"cf-aig-ratelimit-limit: %d\r\ncf-aig-ratelimit-remaining: %d\r\ncf-aig-ratelimit-reset: %d\r\n" % (
        permit.limit,
        permit.remaining,
        seconds(permit.reset_us),
    )


def seconds(us: int) -> int:
    """Whole seconds after which so many microseconds have passed."""
    return -(-us // 1_000_000)


def refusal(error: GatewayError, status: int, dialect: Dialect = "gateway") -> Reply:
    """A gateway error as a client reads it."""
    body = refused_at_gateway(error, status) if dialect == "gateway" else refused_at_api(error, status, dialect)
    lines = [b"Content-Type: application/json\r\nContent-Length: %d\r\n%b" % (len(body), error.lines)]
    return Reply(status, None, lines, len(body), WholeBody(body))


def refused_at_gateway(error: GatewayError, status: int) -> bytes:
    """The body of contract 12.1."""
    said = {"code": error.code, "message": error.said}
    return msgspec.json.encode(
        {
            "success": False,
            "result": [],
            "messages": [],
            "error": [said],
            "errors": [said],
            "name": "AiGatewayError",
            "httpCode": status,
            "internalCode": error.code,
            "message": error.said,
            "description": error.told or error.said,
        }
    )


def refused_at_api(error: GatewayError, status: int, dialect: Dialect) -> bytes:
    """The envelope of Cloudflare's API, and in it what the SDK of a vendor looks for (contract 1.5, 9.1)."""
    code, message = error.code, error.told or error.said
    if isinstance(error, Unauthorized):
        code, message = AUTHENTICATION_ERROR
    told: dict[str, object] = {
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
        "result": None,
    }
    kind = KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if dialect == "openai":
        told["error"] = {"message": message, "type": kind, "code": code, "param": None}
    elif dialect == "anthropic":
        told["type"], told["error"] = "error", {"type": kind, "message": message}
    return msgspec.json.encode(told)
