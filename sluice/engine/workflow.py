"""The only interpreter of Plans."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sluice.engine.custom_providers import Find, nobody
from sluice.engine.drain import drain
from sluice.engine.held import MOST_HELD_BYTES, Held, hold_beginning, hold_whole
from sluice.engine.planning import finished
from sluice.engine.recorder import Record, Trace
from sluice.engine.retry import Failure, next_delay_ms
from sluice.engine.translation import Outside, translated
from sluice.engine.words import words_of
from sluice.values.errors import (
    CredentialRequired,
    GatewayError,
    MalformedRequest,
    OutputUnreadable,
    Overloaded,
    UnknownKeyAlias,
    UpstreamFailure,
    UpstreamTimeout,
)
from sluice.values.plan import Plan
from sluice.values.reply import Reply
from sluice.values.request import Step

FAILURES: Final = (UpstreamFailure, OutputUnreadable, Overloaded, UnknownKeyAlias, CredentialRequired)
"""What ends a try, and not the request: another may do better."""
MOST_KEPT: Final = 2 * MOST_HELD_BYTES
"""The characters of all replies together that are kept for the steps behind them."""

Make = Callable[[Step, Record], Awaitable[Reply]]
"""Has a step's reply made. Links of this kind stand before each other: the cache before the attempt at a provider."""


class Workflow:
    """Runs plans. Of what a step goes through, it is handed the first link."""

    def __init__(self, make: Make, find: Find = nobody) -> None:
        self._make, self._find = make, find

    async def run(self, plan: Plan, trace: Trace) -> Reply:
        """The reply of the step that succeeded, else of the last one. Raises GatewayError where that had none."""
        if plan.plain:
            step = plan.steps[0]
            return await self._make(step, trace.begin(step))
        return await Run(self._make, plan, trace, self._find).reply()


class Tried:
    """How a step went: with a reply, a failure (an error, or the status of the reply), or both."""

    __slots__ = ("failure", "outside", "record", "reply")

    def __init__(self, record: Record, failure: Failure | None = None) -> None:
        self.record, self.failure = record, failure
        self.reply: Reply | None = None
        self.outside: Outside | None = None

    def give_up(self) -> None:
        """Lets the connection go: nobody will read the rest of the reply."""
        if self.reply is not None:
            self.reply.body.close(complete=True)


class Run:
    """One run of a plan: where it stands, and the words of the steps that have completed."""

    def __init__(self, make: Make, plan: Plan, trace: Trace, find: Find = nobody) -> None:
        self._make, self._plan, self._trace, self._find = make, plan, trace, find
        self._words: dict[str, str] = {}
        self._kept = 0

    async def reply(self) -> Reply:
        """The reply for the client, its first byte at hand. Raises GatewayError where there is none."""
        position = 0
        while True:
            tried = await self._step(position)
            following = self._plan.next(position, "success" if tried.failure is None else "failure")
            if following is None:
                return self._answer(tried)
            await self._leave(tried)
            position = following

    def _answer(self, tried: Tried) -> Reply:
        """Where the run ends: the reply as it is, an error status among them (contract 2.2)."""
        if isinstance(tried.failure, GatewayError):
            tried.give_up()
            raise tried.failure
        assert tried.reply is not None
        self._trace.outside = tried.outside
        return tried.reply

    async def _leave(self, tried: Tried) -> None:
        """Ends the record of a step whose reply does not go to the client."""
        if tried.reply is not None:
            if isinstance(tried.failure, GatewayError):
                tried.record.doubt(tried.failure)
            await drain(tried.record, tried.reply)
        elif isinstance(tried.failure, GatewayError):
            await self._trace.abandon(tried.failure)

    async def _step(self, position: int) -> Tried:
        """A step, tried as often as its policy says."""
        step = self._plan.steps[position]
        try:
            step = finished(step, self._words, self._trace.account, self._find) if step.tagged else step
        except GatewayError as error:
            return Tried(self._trace.begin(step), error)
        policy = self._plan.policies[position]
        continues = self._plan.next(position, "success") is not None
        is_last = self._plan.next(position, "failure") is None
        record = self._trace.begin(step)
        record.repeats = policy.max_attempts > 1
        attempt = 0
        while True:
            attempt += 1
            # There is nothing left to fall back to, so the provider is waited for (contract 2.5).
            waits = is_last and attempt == policy.max_attempts > 1
            tried = await self._try(position, step, record, None if waits else step.options.request_timeout_ms)
            if continues and tried.reply is not None and tried.failure is None:
                tried.failure = await self._keep_words(step, tried.record, tried.reply)
            delay_ms = next_delay_ms(policy, attempt, tried.failure)
            if delay_ms is None or not record.repeatable:
                return tried
            tried.give_up()
            record.idle = True
            await asyncio.sleep(delay_ms / 1000)
            record.idle = False

    async def _try(self, position: int, step: Step, record: Record, timeout_ms: int | None) -> Tried:
        """One exchange, up to the first byte of the body of a reply that may serve."""
        tried = Tried(record)
        try:
            if timeout_ms is None:
                await self._begin(step, tried)
            else:
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._begin(step, tried)
            if step.translation is not None and tried.reply is not None:
                tried.outside = await translated(tried.reply, record, step.translation)
        except FAILURES as error:
            tried.failure = error
        except MalformedRequest as error:
            if step is self._plan.steps[position]:
                raise
            tried.failure = error  # not the client wrote it so, but a model
        except TimeoutError:
            tried.failure = late = UpstreamTimeout("The provider did not answer in time")
            record.given_up += 1
            if tried.reply is not None:
                tried.reply.body = Held(None, None, late)
        return tried

    async def _begin(self, step: Step, tried: Tried) -> None:
        tried.reply = reply = await self._make(step, tried.record)
        if reply.status < 400:
            await hold_beginning(reply)
        else:
            tried.failure = reply.status

    async def _keep_words(self, step: Step, record: Record, reply: Reply) -> Failure | None:
        """Takes a reply in, for the steps behind it; why that cannot be done."""
        try:
            data = await hold_whole(reply)
        except FAILURES as error:
            return error
        if not step.id:
            return None
        words = await words_of(record.reply_type, record.reply_encoding, data)
        self._kept += len(words)
        if self._kept > MOST_KEPT:
            return OutputUnreadable(
                f"No more than {MOST_KEPT} characters of replies are kept for the steps behind them"
            )
        self._words[step.id] = words
        return None
