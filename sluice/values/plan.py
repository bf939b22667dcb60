"""A request compiled to a graph of positions, each a step; what comes after it is decided by how it went."""

from typing import Final, Literal

import msgspec

from sluice.values.request import RetryPolicy, Step

Outcome = Literal["success", "failure"]
Links = tuple[int | None, ...]

NOWHERE: Final[Links] = (None,)
"""The links of a plan of one step."""


class Plan(msgspec.Struct, frozen=True):
    """Steps with their links: by position, where a run goes on after it, None where it ends. The first one is 0."""

    steps: tuple[Step, ...]
    policies: tuple[RetryPolicy, ...]
    after_success: Links = NOWHERE
    after_failure: Links = NOWHERE
    plain: bool = False
    """One step, tried once, whose reply is passed on as it comes: there is nothing to decide."""

    def next(self, position: int, outcome: Outcome) -> int | None:
        """The position to go on to, None where the run is over. Pure."""
        return (self.after_success if outcome == "success" else self.after_failure)[position]
