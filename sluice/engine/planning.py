"""Requests to Plans, pure."""

from sluice.engine.credentials import require_alias
from sluice.providers.registry import PROVIDERS
from sluice.values.errors import InvalidProvider
from sluice.values.plan import Plan
from sluice.values.request import Request


def compile_plan(request: Request) -> Plan:
    """The steps in their order; a call of a provider's own endpoint has one.

    Raises InvalidProvider and UnknownKeyAlias.
    """
    for step in request.steps:
        if step.provider not in PROVIDERS:
            raise InvalidProvider
        require_alias(step)
    return Plan(request.steps)
