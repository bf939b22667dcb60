"""What a path takes and answers, beside what its row in the table of paths says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sluice.console.envelope import Failure, PageInfo

Schema = Mapping[str, Any]
Type = Any
"""Whatever msgspec can make a schema of, which no type of types says."""

JSON: Final = "application/json"
TEXT: Final[Schema] = {"type": "string"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}


class Answer(NamedTuple):
    """A reply of 200. What is no JSON has no type."""

    of: Type = None
    media: str = JSON
    enveloped: bool = True
    infos: tuple[type[PageInfo], ...] = ()
    """Of a list: what `result_info` may be."""


def one(of: Type) -> Answer:
    """The result in the envelope."""
    return Answer(of)


def page(of: type, *infos: type[PageInfo]) -> Answer:
    """A list of results in the envelope, with what tells of the page."""
    return Answer(of, infos=infos or (PageInfo,))


def bare(of: type) -> Answer:
    """JSON without an envelope."""
    return Answer(of, enveloped=False)


def raw(media: str) -> Answer:
    """What is no JSON of ours."""
    return Answer(media=media, enveloped=False)


class Parameter(NamedTuple):
    """One of a query that the type of the query does not have."""

    name: str
    about: str
    schema: Schema = TEXT
    as_json: bool = False
    """Whether its text is JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Statuses and parameters that follow from the row of the path are not said again."""

    does: str
    answers: Answer
    query: type | None = None
    more: tuple[Parameter, ...] = ()
    body: type | None = None
    partial: bool = False
    """Whether a body may leave out what is needed of a new one."""
    refuses: tuple[int, ...] = ()
    """Statuses of refusals beside those that follow."""
    problem: type = Failure
    """How its handler tells a refusal."""
