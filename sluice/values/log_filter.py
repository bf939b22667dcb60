"""Which logs are wanted: conditions on their fields (contract 9.4), typed once."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, get_args

Operator = Literal["eq", "neq", "contains", "lt", "gt"]
Kind = Literal["text", "number", "flag", "time", "none"]
FilterValue = str | int | float | bool | None
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)

KEYS: Final[dict[str, Kind]] = {
    "id": "text",
    "created_at": "time",
    "request_content_type": "text",
    "response_content_type": "text",
    "request_type": "text",
    "success": "flag",
    "cached": "flag",
    "provider": "text",
    "model": "text",
    "model_type": "text",
    "cost": "number",
    "tokens": "number",
    "tokens_in": "number",
    "tokens_out": "number",
    "duration": "number",
    "feedback": "number",
    "event_id": "text",
    "metadata.key": "text",
    "metadata.value": "text",
    "authentication": "flag",
    "wholesale": "flag",
    "compatibilityMode": "flag",
    "dlp_action": "none",
    "user_agent": "text",
    "prompts.prompt_id": "none",
    "prompts.version_id": "none",
}
"""`none`: a field of the product that no log of ours has."""
ALLOWED: Final[dict[Kind, frozenset[Operator]]] = {
    "text": frozenset(("eq", "neq", "contains")),
    "number": frozenset(("eq", "neq", "lt", "gt")),
    "flag": frozenset(("eq", "neq")),
    "time": frozenset(("eq", "neq", "lt", "gt")),
    "none": frozenset(("eq", "neq", "contains")),
}
MOST_FILTERS: Final = 50
MOST_VALUES: Final = 100
LONGEST_VALUE: Final = 2_048
_FLAGS: Final[dict[str, bool]] = {"true": True, "1": True, "false": False, "0": False}


class WrongFilter(ValueError):
    """A filter that is none; the text says why, and is shown to whoever asked."""


class Filter(NamedTuple):
    """One condition. Of several values one must fit, of those of `neq` none may; a time is Unix milliseconds."""

    key: str
    operator: Operator
    values: tuple[FilterValue, ...]


def filter_of(key: str, operator: str, values: Iterable[FilterValue], most_values: int = MOST_VALUES) -> Filter:
    """A filter as it was asked for, its values as text or as JSON has them. Raises WrongFilter."""
    kind = KEYS.get(key)
    if kind is None:
        raise WrongFilter(f"There is no filter key {key[:64]!r}: {', '.join(KEYS)}")
    found = next((known for known in OPERATORS if known == operator), None)
    if found is None:
        raise WrongFilter(f"There is no operator {operator[:64]!r}: {', '.join(OPERATORS)}")
    if found not in ALLOWED[kind]:
        raise WrongFilter(f"{key} cannot be compared by {found}")
    typed = tuple([typed_value(key, kind, value) for value in values])
    if not typed:
        raise WrongFilter(f"{key} {found} needs a value")
    if len(typed) > most_values:
        raise WrongFilter(f"{key} {found} has more than {most_values} values")
    if found in ("lt", "gt", "contains") and None in typed:
        raise WrongFilter(f"{key} cannot be compared with null by {found}")
    if found in ("lt", "gt") and len(typed) > 1:
        raise WrongFilter(f"{key} {found} takes one value")
    return Filter(key, found, typed)


def typed_value(key: str, kind: Kind, value: FilterValue) -> FilterValue:
    """A value as its key needs it. Raises WrongFilter."""
    if value is None or value == "null":
        return None
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        raise WrongFilter(f"A value of {key} is longer than {LONGEST_VALUE} characters")
    if kind == "number":
        return _number(key, value)
    if kind == "flag":
        flag = value if isinstance(value, bool) else _FLAGS.get(str(value).lower())
        if flag is None:
            raise WrongFilter(f"{key} is true or false, not {value!r}")
        return flag
    if kind == "time":
        return _time_ms(key, value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def fits(key: str, value: str) -> bool:
    """Whether a text may be a value of this key."""
    kind = KEYS.get(key)
    if kind is None:
        return False
    try:
        typed_value(key, kind, value)
    except WrongFilter:
        return False
    return True


def _number(key: str, value: FilterValue) -> int | float:
    if isinstance(value, bool):
        raise WrongFilter(f"{key} is a number, not {value!r}")
    if isinstance(value, int | float):
        number: int | float = value
    else:
        try:
            number = float(str(value))
        except ValueError:
            raise WrongFilter(f"{key} is a number, not {str(value)[:64]!r}") from None
    if not math.isfinite(number) or abs(number) > 2**53:
        raise WrongFilter(f"{key} is a number of at most 53 bits")
    return int(number) if number == int(number) else number


def _time_ms(key: str, value: FilterValue) -> int:
    """RFC 3339; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(str(value))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return math.floor(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise WrongFilter(f"{key} is a time as 2026-01-02T03:04:05Z, not {str(value)[:64]!r}") from None
