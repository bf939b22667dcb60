"""A request compiled to a graph of positions, each a step; what comes after it is decided by how it went."""

from typing import Literal

import msgspec

from sluice.values.request import Step

Outcome = Literal["success", "failure"]


class Plan(msgspec.Struct, frozen=True):
    """Steps to be tried in order until one succeeds."""

    steps: tuple[Step, ...]

    def next(self, position: int, outcome: Outcome) -> int | None:
        """The position to go on to, None where the run is over. Pure."""
        if outcome == "success" or position + 1 == len(self.steps):
            return None
        return position + 1
