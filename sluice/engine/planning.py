"""Requests to Plans, pure."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sluice.engine.compat import COMPAT, addressed, model_asked
from sluice.engine.custom_providers import Find, customised, nobody
from sluice.engine.retry import policy_for
from sluice.engine.template import filled
from sluice.providers.registry import PROVIDERS
from sluice.values.plan import Plan
from sluice.values.request import ONE_TRY, Request, RetryPolicy, Step

ONE_TRIES: Final = (ONE_TRY,)


def compile_plan(request: Request, retry: RetryPolicy, find: Find = nobody) -> Plan:
    """The steps with what comes after each; `retry` is the gateway's own policy, `find` knows custom providers.

    Raises InvalidProvider, and for the unified schema what makes a step of it unfit.
    """
    steps = request.steps
    if len(steps) > 1 or steps[0].on_complete:
        return _Compiler(request.account, retry, find).plan(steps)
    step = ready(steps[0], request.account, find)
    policy = policy_for(step.options, retry)
    if step is not steps[0]:
        steps = (step,)
    if policy.max_attempts > 1 or step.options.request_timeout_ms is not None or step.translation is not None:
        return Plan(steps, (policy,))
    return Plan(steps, ONE_TRIES, plain=request.type != "universal")


def ready(step: Step, account: str, find: Find) -> Step:
    """The step as it can be sent; one that waits for the words of another stays as it is, for it cannot be yet."""
    if step.provider == COMPAT:
        if step.tagged:
            return step
        step = addressed(step)
        return step if step.provider in PROVIDERS else customised(step, account, find)
    provider = PROVIDERS.get(step.provider)
    if provider is None:
        done = customised(step, account, find)
        return step if step.tagged else done
    if provider.retarget is not None:
        step = provider.retarget(step)
    return step


def finished(step: Step, words: Mapping[str, str], account: str, find: Find) -> Step:
    """The step with the words that it waited for. Raises GatewayError where it cannot be made."""
    done = filled(step, words)
    model = model_asked(done.provider, done.endpoint, done.body.whole or b"")
    return ready(msgspec.structs.replace(done, model=model), account, find)


class _Compiler:
    """Lays steps out one behind another, each before what it leads to; links among them are by position."""

    def __init__(self, account: str, retry: RetryPolicy, find: Find) -> None:
        self._account, self._retry, self._find = account, retry, find
        self._steps: list[Step] = []
        self._after_success: list[int | None] = []
        self._after_failure: list[int | None] = []

    def plan(self, steps: Sequence[Step]) -> Plan:
        self._add(steps, None)
        policies = tuple(policy_for(step.options, self._retry) for step in self._steps)
        return Plan(tuple(self._steps), policies, tuple(self._after_success), tuple(self._after_failure))

    def _add(self, steps: Sequence[Step], otherwise: int | None) -> None:
        """Steps tried in order; the failure of the last one leads where the failure of what they belong to does."""
        for number, step in enumerate(steps):
            here = len(self._steps)
            following = here + size_of(step) if number + 1 < len(steps) else otherwise
            self._steps.append(ready(step, self._account, self._find))
            self._after_success.append(here + 1 if step.on_complete else None)
            self._after_failure.append(following)
            self._add(step.on_complete, following)


def size_of(step: Step) -> int:
    """How many positions a step and all that it leads to take."""
    return 1 + sum(size_of(further) for further in step.on_complete)
