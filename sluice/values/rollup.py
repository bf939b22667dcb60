"""What may be asked of roll-ups: requests counted by time and kind, from which nobody can tell one log any more."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

Step = Literal["minute", "hour", "day", "none"]
Label = str | int | bool
"""What a dimension of a group is called."""
Operator = Literal["eq", "neq", "in", "gt", "lt", "geq", "leq"]

PROVIDER: Final = "provider"
MODEL: Final = "model"
STATUS_CODE: Final = "status_code"
CACHED: Final = "cached"
ERROR: Final = "error"
GATEWAY: Final = "gateway"
METADATA: Final = "metadata."
"""Begins the dimension of a metadata key."""
DIMENSIONS: Final = (GATEWAY, PROVIDER, MODEL, STATUS_CODE, CACHED, ERROR)
WITH_METADATA: Final = (GATEWAY, CACHED, ERROR)
"""What can be told apart beside a metadata value, which is counted without provider, model and status."""
OTHER: Final = "(other)"
"""The model or the metadata value of all requests past the bound on how many are told apart."""
LONGEST_LABEL: Final = 200
"""Characters; of a longer model or metadata value the rest is cut off."""
MOST_METADATA_KEYS: Final = 5


class Condition(msgspec.Struct, frozen=True):
    """A test of one dimension; for `in` the value is any of `values`, else the first of them."""

    dimension: str
    operator: Operator
    values: tuple[Label, ...]


class AllOf(msgspec.Struct, frozen=True):
    tests: tuple["Test", ...] = ()


class AnyOf(msgspec.Struct, frozen=True):
    tests: tuple["Test", ...] = ()


Test = Condition | AllOf | AnyOf


class RollupQuery(msgspec.Struct, frozen=True):
    """Groups from one time up to, not including, another."""

    from_ms: int
    to_ms: int
    step: Step = "none"
    group_by: tuple[str, ...] = ()
    """Some of DIMENSIONS; with a metadata key, some of WITH_METADATA."""
    metadata_key: str = ""
    """Counts requests that have it, by its value: the dimension METADATA + key may then be grouped by and tested."""
    where: Test = AllOf()
    percentiles: bool = False


class Percentiles(NamedTuple):
    """Milliseconds."""

    p50: int
    p95: int
    p99: int


class Group(NamedTuple):
    """Sums over requests; unknown tokens and costs count as 0. `error` is what is not a success."""

    start_ms: int | None
    """When its step begins; None without steps."""
    labels: tuple[Label, ...]
    """In the order of `group_by`."""
    requests: int
    errors: int
    cached: int
    tokens_in: int
    tokens_out: int
    cached_tokens_in: int
    cached_tokens_out: int
    cost_nano: int
    duration: Percentiles | None = None
    latency: Percentiles | None = None


class Rollup(NamedTuple):
    groups: list[Group]
    """By time, then by requests, most first."""
    from_ms: int
    """What was counted in truth: edges lie on whole minutes, or, where those are gone, on whole hours."""
    to_ms: int
    complete: bool
    """False where the time was up before all was counted."""


def fits(test: Test, labels: Mapping[str, Label]) -> bool:
    """Whether a kind of request passes the test."""
    match test:
        case AllOf(tests):
            return all(fits(inner, labels) for inner in tests)
        case AnyOf(tests):
            return any(fits(inner, labels) for inner in tests)
        case Condition(dimension, operator, values):
            return _holds(labels[dimension], operator, values)


def _holds(label: Label, operator: Operator, values: tuple[Label, ...]) -> bool:
    if operator == "in":
        return label in values
    value = values[0]
    if operator == "eq":
        return label == value
    if operator == "neq":
        return label != value
    if isinstance(label, str) != isinstance(value, str):
        return False
    rank = (label > value) - (label < value)  # type: ignore[operator]  # both texts or both numbers, as was seen to above
    return {"gt": rank > 0, "lt": rank < 0, "geq": rank >= 0, "leq": rank <= 0}[operator]
