"""The journey of a request, in the order of its lines."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from sluice.engine.custom_providers import Find, nobody
from sluice.engine.directory import Directory
from sluice.engine.planning import compile_plan, ready
from sluice.engine.realtime import Dialler, Opened
from sluice.engine.recorder import Recorder, Trace
from sluice.engine.workflow import Workflow
from sluice.storage.ports import StoreFault
from sluice.values.errors import GatewayError
from sluice.values.reply import Reply
from sluice.values.request import Request, Step
from sluice.values.tenancy import Admission

Parse = Callable[[], Awaitable[tuple[Step, ...]]]
"""Reads the steps of a request."""


class Engine:
    """Serves requests: every one is answered, and ended exactly once."""

    def __init__(
        self, directory: Directory, workflow: Workflow, recorder: Recorder, dialler: Dialler, find: Find = nobody
    ) -> None:
        self._directory, self._workflow, self._recorder, self._dialler = directory, workflow, recorder, dialler
        self._find = find

    async def serve(self, request: Request) -> Reply:
        """The reply, its body to be pulled. A refusal is a reply too."""
        with self._recorder.open(request) as trace:  # a crash or a hang-up is ended here too
            try:
                reply = await self._answer(request, trace)
            except GatewayError as error:
                reply = trace.refuse(error)
            return trace.follow(reply)  # ended just before the last byte leaves

    async def serve_parsed(self, request: Request, parse: Parse) -> Reply:
        """The same for a request whose steps are in its body: that is read only once its sender is let in."""
        with self._recorder.open(request) as trace:
            try:
                trace.admitted = admission = await self._admit(request)
                request = msgspec.structs.replace(request, steps=await parse())
                plan = compile_plan(request, admission.gateway.retry, self._find)
                reply = await self._workflow.run(plan, trace)
            except GatewayError as error:
                reply = trace.refuse(error)
            return trace.follow(reply)

    async def open(self, request: Request, subprotocols: Sequence[str]) -> Reply | Opened:
        """A realtime connection: the provider's side of it, or the reply that refuses it, ours or the provider's."""
        with self._recorder.open(request) as trace:
            try:
                trace.admitted = await self._admit(request)
                step = ready(request.steps[0], request.account, self._find)
                answer = await self._dialler.dial(step, trace.begin(step), subprotocols)
            except GatewayError as error:
                answer = trace.refuse(error)
            if isinstance(answer, Reply):
                return trace.follow(answer)
            trace.follow(answer.reply)
            answer.admitted = lambda: self._still_admits(request)
            return answer

    async def serve_own(self, request: Request, answer: Callable[[Admission], Reply]) -> Reply:
        """An answer of ours, for whoever is let in. It is not logged: no provider is asked."""
        with self._recorder.open(request) as trace:
            try:
                reply = answer(await self._admit(request))
            except GatewayError as error:
                reply = trace.refuse(error)
            return trace.follow(reply)

    async def _admit(self, request: Request) -> Admission:
        admission = self._directory.known(request) or await self._directory.admit(request)
        return self._directory.vouched(request, admission) if request.needs_token else admission

    def _still_admits(self, request: Request) -> bool:
        try:
            admission = self._directory.known(request)
            if admission is not None and request.needs_token:
                self._directory.vouched(request, admission)
        except GatewayError:
            return False
        except StoreFault:
            return True  # it is asked again in a second; nobody is cut off because a disk is slow
        return admission is not None

    async def _answer(self, request: Request, trace: Trace) -> Reply:
        admission = self._directory.known(request)  # of most requests, and without a coroutine for it
        if admission is None or request.needs_token:
            admission = await self._admit(request)
        trace.admitted = admission
        plan = compile_plan(request, admission.gateway.retry, self._find)  # all the same from here
        return await self._workflow.run(plan, trace)
