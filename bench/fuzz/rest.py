"""Calls of the management API made by schemathesis from its description, valid ones and others, and judged by it."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from requests import RequestException, Session
from schemathesis import GenerationMode, Response
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err, Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.fuzz.account import DEADLINE_S, DESCRIPTION, Account, misshapen
from bench.fuzz.known import Known
from bench.machine import BenchFault

CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Operation = Any
Case = Any
"""Schemathesis's own, whose types are there only where the library is."""
A_ROUND: Final = 10
"""Calls of one kind to one path before it is the next one's turn."""
RARE: Final = 5
"""Paths a round of all, those among them that are not built yet and have one answer."""


class Fuzzer:
    """Calls one gateway. `tokens` are offered in turn, each as often as its weight says; None is no token."""

    def __init__(self, base_url: str, tokens: Mapping[str | None, int], number: int) -> None:
        self._base_url, self._tokens, self._number = base_url, tokens, number
        self._dice = random.Random(number)
        self._known = Known(self._dice)
        self._session = Session()
        self._session.trust_env = False
        self.account = Account()

    def run(self, calls: int, between: Callable[[], None] = lambda: None) -> Account:
        """At least so many calls; `between` two rounds of each path is called."""
        operations = self._operations()
        built = [one for one in operations if _is_built(one)]
        each = max(1, min(A_ROUND, calls // (2 * len(built))))
        self._dice.shuffle(built)
        while self.account.sent < calls:
            for operation in (*built, *self._dice.sample(operations, RARE)):
                self._try(operation, GenerationMode.POSITIVE, each)
                if len(operation.query) or len(operation.body):
                    self._try(operation, GenerationMode.NEGATIVE, each)
                if self.account.sent >= calls:
                    break
            between()
        return self.account

    def _operations(self) -> list[Operation]:
        answer = self._session.get(self._base_url + DESCRIPTION, timeout=DEADLINE_S)
        if answer.status_code != 200:
            raise BenchFault(f"no description: HTTP {answer.status_code}")
        found = list(schemathesis.openapi.from_dict(answer.json()).get_all_operations())
        if wrong := [one.err() for one in found if isinstance(one, Err)]:
            raise BenchFault(f"the description is wrong: {wrong[0]}")
        return [one.ok() for one in found if isinstance(one, Ok)]

    def _try(self, operation: Operation, mode: GenerationMode, calls: int) -> None:
        self._number += 1

        @seed(self._number)
        @settings(
            max_examples=calls,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(mode, path_parameters=self._known.parts(operation.method, operation.path)))
        def attempt(case: Case) -> None:
            self._call(case, valid=mode is GenerationMode.POSITIVE)

        with suppress(Unsatisfiable):  # what is text can be nothing else
            attempt()

    def _call(self, case: Case, *, valid: bool) -> None:
        case.path_parameters.update(self._known.parts(case.method, case.operation.path))
        if valid and isinstance(case.body, dict):
            self._known.guide(case.body)
        token = self._dice.choices(list(self._tokens), list(self._tokens.values()))[0]
        headers = {"authorization": f"Bearer {token}"} if token else {}
        case.headers.clear()
        try:
            response = case.call(self._base_url, self._session, headers, timeout=DEADLINE_S)
        except RequestException as error:
            self._blame(case, "no answer", type(error).__name__)
            return
        self.account.statuses[response.status_code] += 1
        for what, told in self._judged(case, response):
            self._blame(case, what, f"HTTP {response.status_code}: {told}")
        if response.status_code == 200:
            self._known.learn(case.method, case.operation.path, response.content)

    def _blame(self, case: Case, what: str, told: str) -> None:
        self.account.blame(f"{case.method} {case.operation.path}: {what}", f"{_shown(case)}\n{told}")

    def _judged(self, case: Case, response: Response) -> Iterator[tuple[str, str]]:
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            yield from ((found.title, found.message) for found in group.exceptions if isinstance(found, Failure))
        if response.status_code >= 400:
            yield from misshapen(case.operation.path, response.content)


def _is_built(operation: Operation) -> bool:
    return "200" in operation.definition.raw["responses"]


def _shown(case: Case) -> str:
    """The call, without the token."""
    return f"{case.method} {case.formatted_path} query={case.query!r} body={case.body!r}"
