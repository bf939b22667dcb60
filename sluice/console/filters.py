"""Filters of logs from the wire, in every order in which clients send them (contract 9.1)."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
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


def parse_filters(pairs: Iterable[Pair], most_values: int = MOST_VALUES) -> tuple[Filter, ...]:
    """All filters of a query, of so many values each. Raises ApiError."""
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
    asked += _in_rows(columns) if is_in_rows(columns) else _in_columns(columns)
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


def _in_columns(pairs: Sequence[Pair]) -> Iterator[_Asked]:
    """All keys, all operators, all values, in whatever order of these three."""
    columns: dict[str, list[str]] = {"key": [], "operator": [], "value": []}
    for name, text in pairs:
        columns[name].append(text)
    keys, operators, values = columns["key"], columns["operator"], columns["value"]
    if len(keys) != len(operators):
        raise _wrong("Every filter needs a key and an operator")
    if not keys and values:
        raise _wrong("A value needs a key and an operator")
    for key, operator, share in zip(keys, operators, _shares(keys, operators, values), strict=True):
        yield _Asked(key, operator, share)


def _shares(keys: Sequence[str], operators: Sequence[str], values: Sequence[str]) -> list[Sequence[str]]:
    """The values of each filter, one after another: surplus ones go to the earliest filter that takes several."""
    if len(keys) <= 1:
        return [values] * len(keys)
    if len(keys) == len(values):
        return [[value] for value in values]
    found = _divided(keys, operators, values)
    if found is None:
        raise _wrong("The values cannot be divided among the filters")
    return found


def _divided(keys: Sequence[str], operators: Sequence[str], values: Sequence[str]) -> list[Sequence[str]] | None:
    """The longest share for the first filter that leaves the others theirs, and so on; None where there is none."""
    places = range(len(values) + 1)
    behind = [place == len(values) for place in places]
    ways: list[list[int]] = []  # of each filter, the last one first: how many it may take from each place on
    for key, operator in zip(reversed(keys), reversed(operators), strict=True):
        sizes = [_longest(key, operator, values, place, behind) for place in places]
        ways.append(sizes)
        behind = [size > 0 for size in sizes]
    if not behind[0]:
        return None
    shares: list[Sequence[str]] = []
    place = 0
    for sizes in reversed(ways):
        shares.append(values[place : place + sizes[place]])
        place += sizes[place]
    return shares


def _longest(key: str, operator: str, values: Sequence[str], place: int, behind: Sequence[bool]) -> int:
    """How many values from `place` on the filter can have at most; 0 where it cannot have one."""
    most = 1 if operator in ("lt", "gt") else len(values) - place
    best = 0
    for size in range(1, most + 1):
        if place + size > len(values) or not fits(key, values[place + size - 1]):
            break
        if behind[place + size]:
            best = size
    return best


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
