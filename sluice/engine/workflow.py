"""The only interpreter of Plans."""

from sluice.engine.attempt import Attempts
from sluice.engine.recorder import Trace
from sluice.values.errors import UpstreamFailure
from sluice.values.plan import Outcome, Plan
from sluice.values.reply import Reply


class Workflow:
    """Runs plans, step by step."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def run(self, plan: Plan, trace: Trace) -> Reply:
        """The reply of the step that succeeded, else of the last one. Raises GatewayError where that had none."""
        position = 0
        while True:
            step = plan.steps[position]
            failure: UpstreamFailure | None = None
            reply: Reply | None = None
            outcome: Outcome = "failure"
            try:
                reply = await self._attempts.make(step, trace.begin(step))
                if reply.status < 400:
                    outcome = "success"
            except UpstreamFailure as error:
                failure = error
            following = plan.next(position, outcome)
            if following is None:
                if reply is None:
                    raise failure or AssertionError("a step has a reply or a failure")
                return reply
            position = following
