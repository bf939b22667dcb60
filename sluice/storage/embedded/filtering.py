"""Filters and searches as conditions on the rows of one segment, pure (storage.md 3.8)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

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


class Only(NamedTuple):
    """A condition on rows of `log`, to be put behind another one."""

    sql: str
    values: tuple[Bound, ...] = ()


ALL: Final = Only("")
NONE: Final = Only(" AND 0")
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

_HAS: Final = "EXISTS (SELECT 1 FROM det WHERE det.k = log.k AND {})"
_BY_TERM: Final = "k IN (SELECT term.k FROM term JOIN det USING (k) WHERE h = ? AND {})"
"""A hash may be shared: what it finds is looked at again."""


def both(one: Only, other: Only) -> Only:
    return Only(one.sql + other.sql, one.values + other.values)


def conditions(filters: Sequence[Filter], search: str) -> Only:
    """All of them together."""
    found = ALL
    for each in filters:
        found = both(found, _condition(each))
    return both(found, _searched(search)) if search else found


def _condition(wanted: Filter) -> Only:
    key, operator, values = wanted
    if key in _WORDS:
        return _words(*_WORDS[key], operator, values)
    if key in _FLAGS:
        return _numbers(
            f"(flags >> {_FLAGS[key]} & 1)", operator, [None if v is None else int(bool(v)) for v in values]
        )
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
    return Only(f" AND NOT ifnull({only.sql.removeprefix(' AND ')}, 0)", only.values)


def _texts(fits: Callable[[str, bool], Only], operator: Operator, values: Sequence[FilterValue]) -> Only:
    """Of fields that are no words: each value by itself."""
    found = [_absent(fits) if value is None else fits(str(value), operator == "contains") for value in values]
    sql = " OR ".join(one.sql for one in found)
    return _negated(Only(f" AND ({sql})", tuple(bound for one in found for bound in one.values)), operator)


def _absent(fits: Callable[[str, bool], Only]) -> Only:
    return Only(_HAS.format("meta IS NULL")) if fits in (_metadata_key, _metadata_value) else Only("0")


def _id(text: str, part: bool) -> Only:
    if part:
        return Only(_HAS.format("contains_text(log_id(id), ?)"), (text,))
    try:
        number = number_of(text)
    except ValueError:
        return Only("0")
    key = number >> 59  # a log may lie a little above, where another had that key
    return Only(f"(k BETWEEN ? AND ? AND {_HAS.format('id = ?')})", (key, key + PROBES - 1, number.to_bytes(16, "big")))


def _event_id(text: str, part: bool) -> Only:
    """An event without a name of its own has its log's id."""
    if part:
        has = _HAS.format("contains_text(ifnull(event_id, log_id(id)), ?)")
        return Only(has, (text,))
    own = _id(text, False)
    named = _BY_TERM.format("event_id = ?")
    return Only(
        f"({named} OR {_HAS.format('event_id IS NULL')} AND {own.sql})", (term("event", text), text, *own.values)
    )


def _metadata_key(text: str, part: bool) -> Only:
    """Where no log has such a key, none is looked at."""
    test = "contains_text(v, ?)" if part else "v = ?"
    known = f"EXISTS (SELECT 1 FROM name WHERE kind = {METADATA_KEY} AND {test})"
    has = "EXISTS (SELECT 1 FROM json_each(meta) WHERE " + ("contains_text(key, ?))" if part else "key = ?)")
    return Only(f"({known} AND {_HAS.format(has)})", (text, text))


def _metadata_value(text: str, part: bool) -> Only:
    if part:
        return Only(_HAS.format("metadata_contains(meta, ?)"), (text,))
    return Only(_BY_TERM.format("metadata_has(meta, ?)"), (term("value", text), text))


_TEXTS: Final[dict[str, Callable[[str, bool], Only]]] = {
    "id": _id,
    "event_id": _event_id,
    "metadata.key": _metadata_key,
    "metadata.value": _metadata_value,
}


def _searched(text: str) -> Only:
    """Free text: an id or a metadata value as a whole, or a part of the metadata."""
    ids = [_id(text, False), _event_id(text, False), _request_id(text), _metadata_value(text, False)]
    parts: Iterable[Only] = [*ids, Only(_HAS.format("contains_text(meta, ?)"), (text,))]
    sql = " OR ".join(one.sql for one in parts)
    return Only(f" AND ({sql})", tuple(bound for one in parts for bound in one.values))


def _request_id(text: str) -> Only:
    return Only(_BY_TERM.format("request_id = ?"), (term("request", text), text))
