"""What a dataset's `filter` asks, as a test of dimensions and a time."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from graphql import GraphQLError

from sluice.console.envelope import unix_ms
from sluice.console.graphql.datasets import LABELS, TIMES
from sluice.values.rollup import AllOf, AnyOf, Condition, Label, Operator, Test

LATEST_MS: Final = 253_402_214_400_000
_DEEPEST: Final = 5
_MOST_VALUES: Final = 1_000
_UNIT_MS: Final = {"datetime": 1, "datetimeMinute": 60_000, "datetimeHour": 3_600_000, "date": 86_400_000}
_OPERATORS: Final[Mapping[str, Operator]] = {
    "": "eq", "neq": "neq", "in": "in", "geq": "geq", "leq": "leq", "gt": "gt", "lt": "lt"
}  # fmt: skip


class Filter(NamedTuple):
    from_ms: int
    to_ms: int
    test: Test

    def both(self, other: "Filter") -> "Filter":
        test = AllOf((self.test, other.test))
        return Filter(max(self.from_ms, other.from_ms), min(self.to_ms, other.to_ms), test)


ALL: Final = Filter(0, LATEST_MS, AllOf())


def parse_filter(given: object, depth: int = 0) -> Filter:
    """Raises GraphQLError for what roll-ups cannot tell apart."""
    if given is None:
        return ALL
    if not isinstance(given, dict) or depth > _DEEPEST:
        raise GraphQLError(f"A filter is an object of conditions, nested at most {_DEEPEST} deep.")
    found = ALL
    for name, value in given.items():
        if value is None:
            raise GraphQLError(f"{name}: null matches nothing; leave it out.")
        found = found.both(_condition(str(name), value, depth))
    return found


def _condition(name: str, value: object, depth: int) -> Filter:
    if name in ("AND", "OR"):
        return _combined(name, value, depth)
    field, _, operator = name.partition("_")
    if field in TIMES or field == "datetime":
        return _time(name, field, operator, value)
    dimension, _ = LABELS[field]
    values = value if operator == "in" else [value]
    if not isinstance(values, list) or len(values) > _MOST_VALUES:
        raise GraphQLError(f"{name}: expected a list of at most {_MOST_VALUES} values.")
    labels = tuple(_label(name, field, one) for one in values)
    return ALL._replace(test=Condition(dimension, _OPERATORS[operator], labels))


def _combined(name: str, value: object, depth: int) -> Filter:
    inner = [parse_filter(one, depth + 1) for one in (value if isinstance(value, list) else [value])]
    if name == "AND":
        found = ALL
        for one in inner:
            found = found.both(one)
        return found
    if any((one.from_ms, one.to_ms) != (ALL.from_ms, ALL.to_ms) for one in inner):
        raise GraphQLError("OR: times cannot stand in it; ask for each time by itself.")
    return ALL._replace(test=AnyOf(tuple(one.test for one in inner)))


def _label(name: str, field: str, value: object) -> Label:
    kind = LABELS[field][1]
    if kind == "uint8" and value in (0, 1):
        return bool(value)
    if kind == "cacheStatus" and value in ("hit", "miss"):
        return value == "hit"
    if kind == "uint16" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "string" and isinstance(value, str):
        return value
    wanted = {"uint8": "0 or 1", "cacheStatus": '"hit" or "miss"', "uint16": "a whole number", "string": "a text"}
    raise GraphQLError(f"{name}: expected {wanted[kind]}.")


def _time(name: str, field: str, operator: str, value: object) -> Filter:
    """A condition of a time cut down to a unit, as the times that meet it."""
    unit = _UNIT_MS[field]
    at_ms = _parse_time(name, field, value)
    floor, ceiling = at_ms // unit * unit, -(-at_ms // unit) * unit
    if unit == 1 and operator in ("gt", "leq"):  # of the minutes that roll-ups have, those up to it
        return ALL._replace(from_ms=at_ms) if operator == "gt" else ALL._replace(to_ms=at_ms)
    match operator:
        case "geq":
            return ALL._replace(from_ms=ceiling)
        case "gt":
            return ALL._replace(from_ms=floor + unit)
        case "leq":
            return ALL._replace(to_ms=floor + unit)
        case "lt":
            return ALL._replace(to_ms=ceiling)
    return ALL._replace(from_ms=floor, to_ms=floor + unit if at_ms == floor else floor)


def _parse_time(name: str, field: str, value: object) -> int:
    try:
        if not isinstance(value, str):
            raise ValueError
        if field == "date":
            day = date.fromisoformat(value)
            return unix_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
        found = datetime.fromisoformat(value)
        return unix_ms(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        example = "2026-01-31" if field == "date" else "2026-01-31T09:00:00Z"
        raise GraphQLError(f"{name}: expected a time like {example}.") from None
