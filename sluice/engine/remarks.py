"""What replies say that is ours: who answered, and why nobody did."""

import msgspec

from sluice.values.errors import GatewayError
from sluice.values.reply import Reply, WholeBody
from sluice.values.request import Step


def origin(step: Step) -> bytes:
    """The field lines that say who answered, for requests that do not say it themselves."""
    line = b"cf-aig-provider: %b\r\n" % step.provider.encode()
    model = step.model
    if not model or not model.isascii() or not model.isprintable():
        return line
    return b"%bcf-aig-model: %b\r\n" % (line, model.encode())


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
            "description": error.said,
        }
    )
    lines = [b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)]
    return Reply(status, None, lines, len(body), WholeBody(body))
