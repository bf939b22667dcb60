"""Filters of logs from the wire, in every order in which clients send them (contract 9.1)."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import msgspec

from sluice.console.envelope import ApiError, invalid
from sluice.values.log import NANO
from sluice.values.log_filter import MOST_FILTERS, MOST_VALUES, Filter, FilterValue, WrongFilter, filter_of, fits

Pair = tuple[str, str]
NAME: Final = "filters"
_COLUMN: Final = re.compile(r"filters\.(key|operator|value)(?:\[\])?")
_INDEXED: Final = re.compile(r"filters\[(\d{1,4})\](?:\[(key|operator|value)\]|\.(key|operator|value))(?:\[\d*\])?")


class _Shape(msgspec.Struct, frozen=True):
    """A filter as JSON has it."""

    key: str
    operator: str
    value: list[FilterValue] | FilterValue


class _Asked(NamedTuple):
    key: str
    operator: str
    values: Sequence[FilterValue]


_decode: Final = msgspec.json.Decoder(list[_Shape])


def is_of_filters(name: str) -> bool:
    """Whether a parameter is a filter or a part of one."""
    return name.partition(".")[0].partition("[")[0] == NAME


def parse_filters(
    pairs: Iterable[Pair], most_values: int = MOST_VALUES, *, certain: bool = False
) -> tuple[Filter, ...]:
    """All filters of a query, of so many values each. Raises ApiError; if `certain`, rather than guess too."""
    columns: list[Pair] = []
    indexed: dict[int, list[Pair]] = {}
    asked: list[_Asked] = []
    for name, text in pairs:
        if found := _COLUMN.fullmatch(name):
            columns.append((found[1], text))
        elif found := _INDEXED.fullmatch(name):
            indexed.setdefault(int(found[1]), []).append((found[2] or found[3], text))
        elif name == NAME and text:
            asked += _from_json(text)
        elif name.startswith(NAME) and name != NAME:
            raise _wrong(f"{name[:64]} is no part of a filter")
    asked += _in_rows(columns) if is_in_rows(columns) else _in_columns(columns, certain=certain)
    for _, parts in sorted(indexed.items()):
        asked += _in_rows(parts)
    if len(asked) > MOST_FILTERS:
        raise _wrong(f"There are more than {MOST_FILTERS} filters")
    return tuple([_filter(each, most_values) for each in asked])


def is_in_rows(pairs: Sequence[Pair]) -> bool:
    """Whether a filter follows another: a name comes again after a different one, which in columns it never does."""
    changes = [name for name, _ in pairs[:1]] + [name for (before, _), (name, _) in pairwise(pairs) if name != before]
    return len(changes) != len(set(changes))


def _in_rows(pairs: Sequence[Pair]) -> Iterator[_Asked]:
    """A new filter begins where its key or operator would come twice."""
    parts: dict[str, str] = {}
    values: list[FilterValue] = []
    for name, text in pairs:
        if name == "value":
            values.append(text)
            continue
        if name in parts:
            yield _whole(parts, values)
            parts, values = {}, []
        parts[name] = text
    if parts or values:
        yield _whole(parts, values)


def _in_columns(pairs: Sequence[Pair], *, certain: bool) -> Iterator[_Asked]:
    """All keys, all operators, all values, in whatever order of these three."""
    columns: dict[str, list[str]] = {"key": [], "operator": [], "value": []}
    for name, text in pairs:
        columns[name].append(text)
    keys, operators, values = columns["key"], columns["operator"], columns["value"]
    if len(keys) != len(operators):
        raise _wrong("Every filter needs a key and an operator")
    if not keys and values:
        raise _wrong("A value needs a key and an operator")
    shares = _shares(keys, operators, values, certain=certain)
    for key, operator, share in zip(keys, operators, shares, strict=True):
        yield _Asked(key, operator, share)


def _shares(
    keys: Sequence[str], operators: Sequence[str], values: Sequence[str], *, certain: bool
) -> list[Sequence[str]]:
    """The values of each filter, one after another: surplus ones go to the earliest filter that takes several."""
    if len(keys) <= 1:
        return [values] * len(keys)
    if len(keys) == len(values):
        return [[value] for value in values]
    ways, found = _divided(keys, operators, values)
    if not ways:
        raise _wrong("The values cannot be divided among the filters")
    if certain and ways > 1:
        raise _wrong("The values can be divided among the filters in more than one way: send the filters as JSON")
    return found


def _divided(keys: Sequence[str], operators: Sequence[str], values: Sequence[str]) -> tuple[int, list[Sequence[str]]]:
    """In how many ways the filters can have the values; the one that gives the first filter most, and so on."""
    behind = [0] * len(values) + [1]
    ends: list[list[int]] = []  # of each filter, the last one first
    for key, operator in zip(reversed(keys), reversed(operators), strict=True):
        behind, furthest = _ways(key, operator, values, behind)
        ends.append(furthest)
    shares: list[Sequence[str]] = []
    place = 0
    for furthest in reversed(ends):
        shares.append(values[place : furthest[place]])
        place = furthest[place]
    return behind[0], shares


def _ways(key: str, operator: str, values: Sequence[str], behind: Sequence[int]) -> tuple[list[int], list[int]]:
    """In how many ways the filter and those behind it can have the values from each place on, 2 for more than one.

    Likewise where the filter's share ends at most. `behind` has the ways of the others.
    """
    before = [0, *accumulate(behind)]
    last = list(accumulate((end if ways else 0 for end, ways in enumerate(behind)), max))
    ways, furthest = [0] * len(behind), [0] * len(behind)
    fitting = 0
    for place in reversed(range(len(values))):
        fitting = fitting + 1 if fits(key, values[place]) else 0
        most = place + (min(fitting, 1) if operator in ("lt", "gt") else fitting)
        ways[place] = min(2, before[most + 1] - before[place + 1])
        furthest[place] = last[most]
    return ways, furthest


def _whole(parts: Mapping[str, str], values: Sequence[FilterValue]) -> _Asked:
    if len(parts) < 2:
        raise _wrong("Every filter needs a key and an operator")
    return _Asked(parts["key"], parts["operator"], list(values))


def _from_json(text: str) -> Iterator[_Asked]:
    try:
        shapes = _decode.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _wrong("filters is a JSON list of {key, operator, value}") from None
    for shape in shapes:
        yield _Asked(shape.key, shape.operator, shape.value if isinstance(shape.value, list) else [shape.value])


def _filter(asked: _Asked, most_values: int) -> Filter:
    try:
        return filter_of(*asked, most_values)
    except WrongFilter as wrong:
        raise _wrong(str(wrong)) from None


def _wrong(said: str) -> ApiError:
    return invalid(said, "query", NAME)


_MIN_MAX: Final = ("cost", "duration", "tokens_in", "tokens_out", "total_tokens")
_PLAIN: Final = (
    "success",
    "cached",
    "model",
    "model_type",
    "provider",
    "request_content_type",
    "response_content_type",
)


def parse_deprecated(query: Mapping[str, str]) -> tuple[Filter, ...]:
    """The same by the parameters of before: what they bound is within the bounds. Raises ApiError."""
    found: list[Filter] = []
    for name in _PLAIN:
        if query.get(name):
            found += _bounded(name, name, "eq", query[name])
    for name in _MIN_MAX:
        key = "tokens" if name == "total_tokens" else name
        for end, operator in (("min", "gt"), ("max", "lt")):
            if query.get(f"{end}_{name}"):
                found += _bounded(f"{end}_{name}", key, operator, query[f"{end}_{name}"])
    for name, operator in (("start_date", "gt"), ("end_date", "lt")):
        if query.get(name):
            found += _bounded(name, "created_at", operator, query[name])
    if query.get("feedback"):
        found += _bounded("feedback", "feedback", "eq", {"0": "-1"}.get(query["feedback"], query["feedback"]))
    return tuple(found)


def _bounded(name: str, key: str, operator: str, text: str) -> Iterator[Filter]:
    """A bound is within what it bounds: all kept numbers are whole, those of cost in billionths."""
    try:
        wanted = filter_of(key, operator, [text])
    except WrongFilter as wrong:
        raise invalid(str(wrong), "query", name) from None
    (bound,) = wanted.values
    if operator != "eq" and isinstance(bound, int | float):
        scale = NANO if key == "cost" else 1
        whole = round(bound * scale, 3)
        wanted = wanted._replace(
            values=((math.ceil(whole) - 1 if operator == "gt" else math.floor(whole) + 1) / scale,)
        )
    yield wanted
