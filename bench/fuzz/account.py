"""What came of fuzzed calls, and what a refusal of the management API must look like."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

DESCRIPTION: Final = "/client/v4/openapi.json"
CODES: Final = frozenset((1002, 1003, 1004, 2004, 7000, 7001, 7002, 7003, 10000))
"""Those of docs/errors.md."""
DEADLINE_S: Final = 20.0
SHOWN: Final = 500


class Problem(msgspec.Struct, forbid_unknown_fields=True):
    code: int
    message: str
    path: list[str | int] = []


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """All of an error reply."""

    success: bool
    errors: list[Problem]
    messages: list[Problem]
    result: None


class GraphProblem(msgspec.Struct):
    message: str
    extensions: dict[str, int]


class GraphRefusal(msgspec.Struct):
    errors: list[GraphProblem]
    data: None


class Account:
    """How many calls were answered how, and what was wrong with the answers: of each kind the first."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.wrong: dict[str, str] = {}

    @property
    def sent(self) -> int:
        return self.statuses.total()

    def blame(self, what: str, how: str) -> None:
        """`how` is the call, without its token, and what was wrong."""
        if what not in self.wrong:
            self.wrong[what] = how[:SHOWN]
            print(f"- {what}\n{how[:SHOWN]}", file=sys.stderr)  # the rest of a long run may not be waited for

    def __str__(self) -> str:
        answers = ", ".join(f"{count:,} of {status}" for status, count in sorted(self.statuses.items()))
        faults = "".join(f"\n- {what}" for what in self.wrong)
        return f"{self.sent:,} calls: {answers}{faults}"


def misshapen(path: str, body: bytes) -> Iterator[tuple[str, str]]:
    """What is wrong with the envelope of a refusal."""
    try:
        if path.endswith("/graphql") and b'"data"' in body:
            codes = [one.extensions["code"] for one in msgspec.json.decode(body, type=GraphRefusal).errors]
        else:
            refusal = msgspec.json.decode(body, type=Refusal)
            codes = [] if refusal.success else [one.code for one in refusal.errors]
    except (msgspec.DecodeError, KeyError) as error:
        yield "a refusal without its envelope", f"{error}: {body[:200]!r}"
        return
    if not codes or not CODES.issuperset(codes):
        yield "a refusal without a code of the catalogue", f"{body[:200]!r}"
