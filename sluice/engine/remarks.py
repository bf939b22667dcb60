"""What replies say that is ours: who answered, and why nobody did."""

from typing import Final

import msgspec

from sluice.values.errors import GatewayError
from sluice.values.limits import Permit
from sluice.values.reply import Reply, WholeBody
from sluice.values.request import Step

LONGEST_MODEL: Final = 256
"""That a reply's head tells; a body may name any."""


def origin(step: Step) -> bytes:
    """The field lines that say who answered, for requests that do not say it themselves."""
    line = b"cf-aig-provider: %b\r\n" % step.provider.encode()
    model = step.model
    if not model or len(model) > LONGEST_MODEL or not model.isascii() or not model.isprintable():
        return line
    return b"%bcf-aig-model: %b\r\n" % (line, model.encode())


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


def refusal(error: GatewayError, status: int) -> Reply:
    """A gateway error as a client reads it (contract 12.1)."""
    said = {"code": error.code, "message": error.said}
    body = msgspec.json.encode(
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
    lines = [b"Content-Type: application/json\r\nContent-Length: %d\r\n%b" % (len(body), error.lines)]
    return Reply(status, None, lines, len(body), WholeBody(body))
