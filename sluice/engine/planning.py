"""Requests to Plans, pure."""

from sluice.providers.registry import PROVIDERS
from sluice.values.errors import InvalidProvider
from sluice.values.plan import Plan, Step
from sluice.values.request import Request


def compile_plan(request: Request) -> Plan:
    """A call of a provider's own endpoint is a plan of one step. Raises InvalidProvider."""
    if request.provider not in PROVIDERS:
        raise InvalidProvider
    step = Step(
        0,
        request.provider,
        request.endpoint,
        request.query,
        request.method,
        request.headers,
        request.body,
        request.options,
    )
    return Plan((step,))
