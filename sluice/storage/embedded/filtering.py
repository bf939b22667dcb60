"""Filters and searches as conditions on the rows of one segment, pure (storage.md 3.8)."""

import re
from collections.abc import Callable, Sequence, Set
from typing import Final, NamedTuple

import msgspec

from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.rows import (
    CONTENT_TYPE,
    METADATA_KEY,
    MODEL,
    MODEL_TYPE,
    PROVIDER,
    REQUEST_TYPE,
    USER_AGENT,
    term,
)
from sluice.values.ids import number_of
from sluice.values.log import NANO
from sluice.values.log_filter import Filter, FilterValue, Operator

Bound = int | float | str | bytes


class Among(NamedTuple):
    """A query that tells keys, each once, of which the wanted ones are some."""

    sql: str
    values: tuple[Bound, ...]


LOG: Final = frozenset(("log",))
DET: Final = frozenset(("det",))


class Only(NamedTuple):
    """A condition on the rows of a log, to be put behind another one."""

    sql: str
    values: tuple[Bound, ...] = ()
    tables: frozenset[str] = LOG
    """Whose columns it is about."""
    among: Among | None = None

    @property
    def source(self) -> str:
        """What is to stand behind FROM, with `log` in it. The tables are looked into in this order.

        Details come last, for a row of theirs is long, but first where nothing else is asked for: then they are read
        from end to end instead of being looked up one by one.
        """
        tables = ["log"] if "det" not in self.tables else ["log", "det"] if "log" in self.tables else ["det", "log"]
        first, *others = [*([f"({self.among.sql})"] if self.among else []), *tables]
        return first + "".join(f" CROSS JOIN {table} USING (k)" for table in others)

    @property
    def bound(self) -> tuple[Bound, ...]:
        """The values within `source`."""
        return self.among.values if self.among else ()


ALL: Final = Only("", (), frozenset())
TOKENS: Final = "(CASE WHEN tin IS NULL AND tout IS NULL THEN NULL ELSE ifnull(tin, 0) + ifnull(tout, 0) END)"
"""In and out together, as far as they are known."""
_COMPARED: Final[dict[Operator, str]] = {"eq": "=", "neq": "<>", "lt": "<", "gt": ">"}

_WORDS: Final[dict[str, tuple[str, int]]] = {
    "provider": ("provider", PROVIDER),
    "model": ("model", MODEL),
    "model_type": ("mtype", MODEL_TYPE),
    "request_type": ("rtype", REQUEST_TYPE),
    "request_content_type": ("rqct", CONTENT_TYPE),
    "response_content_type": ("rsct", CONTENT_TYPE),
    "user_agent": ("ua", USER_AGENT),
}
"""Keys whose values are words in `name`: their column, their kind of words."""
_FLAGS: Final[dict[str, int]] = {"success": 0, "cached": 1, "authentication": 3, "wholesale": 4, "compatibilityMode": 6}
"""Keys that are bits of `flags`."""
_NUMBERS: Final[dict[str, str]] = {
    "cost": "cost",
    "tokens": TOKENS,
    "tokens_in": "tin",
    "tokens_out": "tout",
    "duration": "duration",
    "feedback": "feedback",
    "created_at": "(k >> 21)",
}
"""Keys that are numbers. The time is the one inside the id, by which lists are ordered."""

_IS_SET: Final[dict[Operator, dict[bool, str]]] = {
    "eq": {True: "<> 0", False: "= 0"},
    "neq": {True: "= 0", False: "<> 0"},
}


def both(one: Only, other: Only) -> Only:
    return Only(one.sql + other.sql, one.values + other.values, one.tables | other.tables, one.among or other.among)


def conditions(filters: Sequence[Filter]) -> Only:
    """All of them together. Where some name what is indexed, the one with the fewest logs says where to look."""
    found = ALL
    for each in filters:
        found = both(found, _condition(each))
    indexed = [each for each in filters if each.key in AMONG and each.operator == "eq" and None not in each.values]
    if not indexed:
        return found
    best = min(indexed, key=lambda each: list(AMONG).index(each.key))
    return found._replace(among=_joined([part for value in best.values for part in AMONG[best.key](str(value))]))


def named(text: str) -> Only:
    """The logs that have this id: their own, their event's or their request's."""
    among = [*_of_id(text), *_of_term("event", text, "event_id"), *_of_term("request", text, "request_id")]
    return ALL._replace(among=_joined(among))


def mentioned(text: str) -> Only:
    """The logs with this somewhere in their metadata."""
    has, values = _contains("meta", text)
    return Only(f" AND {has}", values, DET)


def _joined(among: Sequence[Among]) -> Among:
    sql = " UNION ".join(each.sql for each in among) or "SELECT k FROM log WHERE 0"
    return Among(sql, tuple(value for each in among for value in each.values))


def _of_id(text: str) -> list[Among]:
    try:
        number = number_of(text)
    except ValueError:
        return []
    key = number >> 59  # a log may lie a little above, where another had that key
    place = (key, key + PROBES - 1, number.to_bytes(16, "big"))
    return [Among("SELECT k FROM det WHERE k BETWEEN ? AND ? AND id = ?", place)]


def _of_event(text: str) -> list[Among]:
    """An event without a name of its own has its log's id."""
    return [*_of_id(text), *_of_term("event", text, "event_id")]


def _of_term(kind: str, text: str, column: str) -> list[Among]:
    """A hash may be shared: what it finds is looked at again."""
    sql = f"SELECT term.k AS k FROM term CROSS JOIN det USING (k) WHERE h = ? AND {column} = ?"
    return [Among(sql, (term(kind, text), text))]


def _of_value(text: str) -> list[Among]:
    return [Among("SELECT k FROM term WHERE h = ?", (term("value", text),))]


AMONG: Final[dict[str, Callable[[str], list[Among]]]] = {
    "id": _of_id,
    "event_id": _of_event,
    "metadata.value": _of_value,
}
"""Keys whose values are indexed, those that few logs share first."""


def _condition(wanted: Filter) -> Only:
    key, operator, values = wanted
    if key in _WORDS:
        return _words(*_WORDS[key], operator, values)
    if key in _FLAGS:
        return _flags(1 << _FLAGS[key], operator, {bool(value) for value in values if value is not None})
    if key in _NUMBERS:
        scale = NANO if key == "cost" else 1
        return _numbers(_NUMBERS[key], operator, [_scaled(value, scale) for value in values])
    if key in _TEXTS:
        return _texts(_TEXTS[key], operator, values)
    return _negated(Only(" AND 1" if None in values else " AND 0"), operator)  # what no log has


def _numbers(column: str, operator: Operator, values: Sequence[int | float | None]) -> Only:
    if operator in ("lt", "gt"):
        return Only(f" AND {column} {_COMPARED[operator]} ?", tuple(value for value in values if value is not None))
    return _negated(_one_of(column, values), operator)


def _flags(bit: int, operator: Operator, values: Set[bool]) -> Only:
    """Written as the indexes of failures and of hits are. Every log has every flag."""
    if len(values) == 1:
        (value,) = values
        return Only(f" AND (flags & {bit}) {_IS_SET[operator][value]}")
    return _negated(Only(" AND 1" if values else " AND 0"), operator)


def _scaled(value: FilterValue, scale: int) -> int | float | None:
    if value is None or isinstance(value, str):
        return None
    return round(value * scale) if scale != 1 and abs(value * scale) < 2**62 else value


def _words(column: str, kind: int, operator: Operator, values: Sequence[FilterValue]) -> Only:
    """The number of a word is looked up once, not in every row."""
    texts = [str(value) for value in values if value is not None]
    if operator == "contains":
        inside = " OR ".join(["contains_text(v, ?)"] * len(texts))
        return Only(f" AND {column} IN (SELECT id FROM name WHERE kind = ? AND ({inside}))", (kind, *texts))
    number = "(SELECT id FROM name WHERE kind = ? AND v = ?)"
    found = [f"{column} = {number}"] * len(texts) + [f"{column} IS NULL"] * (None in values)
    bound = [part for text in texts for part in (kind, text)]
    return _negated(Only(f" AND ({' OR '.join(found)})", tuple(bound)), operator)


def _one_of(column: str, values: Sequence[Bound | None]) -> Only:
    given = [value for value in values if value is not None]
    found = [f"{column} = ?"] * len(given) + [f"{column} IS NULL"] * (len(given) < len(values))
    return Only(f" AND ({' OR '.join(found)})", tuple(given))


def _negated(only: Only, operator: Operator) -> Only:
    """For `neq`; what is compared with an absent value is unknown, and so does not fit."""
    if operator != "neq":
        return only
    return only._replace(sql=f" AND NOT ifnull({only.sql.removeprefix(' AND ')}, 0)")


Fits = Callable[[str, bool], tuple[str, tuple[Bound, ...]]]
"""A condition on a row of `det`: whether it has this text, or this part of one."""


def _texts(fits: Fits, operator: Operator, values: Sequence[FilterValue]) -> Only:
    """Of fields that are no words: each value by itself."""
    found = [_absent(fits) if value is None else fits(str(value), operator == "contains") for value in values]
    sql = " OR ".join(one for one, _ in found)
    bound = tuple(value for _, some in found for value in some)
    return _negated(Only(f" AND ({sql})", bound, DET), operator)


def _absent(fits: Fits) -> tuple[str, tuple[Bound, ...]]:
    return "meta IS NULL" if fits in (_metadata_key, _metadata_value) else "0", ()


def _id(text: str, part: bool) -> tuple[str, tuple[Bound, ...]]:
    if part:
        return "contains_text(log_id(id), ?)", (text,)
    try:
        return "id = ?", (number_of(text).to_bytes(16, "big"),)
    except ValueError:
        return "0", ()


def _event_id(text: str, part: bool) -> tuple[str, tuple[Bound, ...]]:
    if part:
        return "contains_text(ifnull(event_id, log_id(id)), ?)", (text,)
    own, number = _id(text, False)
    return f"(event_id = ? OR event_id IS NULL AND {own})", (text, *number)


def _metadata_key(text: str, part: bool) -> tuple[str, tuple[Bound, ...]]:
    """Where no log has such a key, none is looked at."""
    test = "contains_text({}, ?)" if part else "{} = ?"
    known = f"EXISTS (SELECT 1 FROM name WHERE kind = {METADATA_KEY} AND {test.format('v')})"
    has = f"EXISTS (SELECT 1 FROM json_each(meta) WHERE {test.format('key')})"
    if part:
        return f"({known} AND {has})", (text, text)
    return f"({known} AND instr(meta, ?) > 0 AND {has})", (text, msgspec.json.encode(text).decode() + ":", text)


def _metadata_value(text: str, part: bool) -> tuple[str, tuple[Bound, ...]]:
    if not part:
        return _has_value(text)
    if _PLAIN.fullmatch(text):  # as it stands in the JSON, if at all: few are looked at closely
        return f"({_LIKE} AND metadata_contains(meta, ?))", (_pattern(text), text)
    return "metadata_contains(meta, ?)", (text,)


def _has_value(text: str) -> tuple[str, tuple[Bound, ...]]:
    """Whether a metadata value is this text. A string that could be nothing else stands in the JSON as it is encoded
    here, and only where a value stands: within another string its quotes would be escaped."""
    if _NO_STRING.match(text):
        return "metadata_has(meta, ?)", (text,)
    return "instr(meta, ?) > 0", (":" + msgspec.json.encode(text).decode(),)


def _contains(column: str, text: str) -> tuple[str, tuple[Bound, ...]]:
    """In whatever case. SQLite's own operator knows the case of ASCII alone, and takes a twentieth of the time."""
    if text.isascii():
        return _LIKE.replace("meta", column), (_pattern(text),)
    return f"contains_text({column}, ?)", (text,)


def _pattern(text: str) -> str:
    return f"%{_WILD.sub(_ESCAPED, text)}%"


_LIKE: Final = "meta LIKE ? ESCAPE '\\'"
_WILD: Final = re.compile(r"[%_\\]")
_ESCAPED: Final = r"\\\g<0>"
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]+")
"""ASCII that JSON leaves as it is."""
_NO_STRING: Final = re.compile(r"-?\d|true|false|null")
"""What a number or a flag may begin with, as JSON."""


_TEXTS: Final[dict[str, Fits]] = {
    "id": _id,
    "event_id": _event_id,
    "metadata.key": _metadata_key,
    "metadata.value": _metadata_value,
}
