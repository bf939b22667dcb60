"""The datasets: what each one's groups have, and the schema, in GraphQL's own language, that this makes."""

from dataclasses import dataclass
from typing import Final, Literal

from sluice.values.rollup import CACHED, ERROR, GATEWAY, MODEL, PROVIDER, STATUS_CODE, AllOf, Condition, Test

Kind = Literal["string", "uint16", "uint8", "cacheStatus", "Time", "Date"]

RANGE: Final = ("", "_geq", "_leq", "_gt", "_lt")
"""Operators of times: `datetimeHour_geq`. The empty one is equality."""
TESTS: Final = (*RANGE, "_neq", "_in")
"""Operators of all else."""
SUMS: Final = {
    "cachedRequests": "uint64",
    "erroredRequests": "uint64",
    "cachedTokensIn": "uint64",
    "cachedTokensOut": "uint64",
    "uncachedTokensIn": "uint64",
    "uncachedTokensOut": "uint64",
    "cost": "Float",
}
TIMES: Final[dict[str, Kind]] = {"date": "Date", "datetimeHour": "Time", "datetimeMinute": "Time"}
LABELS: Final[dict[str, tuple[str, Kind]]] = {
    "gateway": (GATEWAY, "string"),
    "provider": (PROVIDER, "string"),
    "model": (MODEL, "string"),
    "statusCode": (STATUS_CODE, "uint16"),
    "cached": (CACHED, "uint8"),
    "error": (ERROR, "uint8"),
    "cacheStatus": (CACHED, "cacheStatus"),
}
"""Dimensions of roll-ups by their names in GraphQL, and what a value of theirs is."""
_PLAIN: Final = ("gateway", "provider", "model", "statusCode", "cached", "error")


_ALL: Final = AllOf()


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    labels: tuple[str, ...]
    times: tuple[str, ...] = tuple(TIMES)
    sums: bool = False
    rows: bool = False
    """Counts stored logs instead of requests, as they are now."""
    only: Test = _ALL
    """What of all requests it counts."""

    @property
    def type_name(self) -> str:
        return f"Account{self.name[0].upper()}{self.name[1:]}"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return (*self.labels, *self.times)

    @property
    def sortable(self) -> tuple[str, ...]:
        counted = ("max_rows",) if self.rows else ("count", *(f"sum_{name}" for name in SUMS if self.sums))
        return (*counted, *self.dimensions)


DATASETS: Final = (
    Dataset("aiGatewayRequestsAdaptiveGroups", _PLAIN, sums=True),
    Dataset("aiGatewayErrorsAdaptiveGroups", _PLAIN, only=Condition(ERROR, "eq", (True,))),
    Dataset("aiGatewayCacheAdaptiveGroups", (*_PLAIN, "cacheStatus")),
    Dataset("aiGatewaySizeAdaptiveGroups", ("gateway",), times=(), rows=True),
)


def schema_text() -> str:
    """The schema. Nothing may be null, so that an error anywhere makes `data` null, as Cloudflare has it."""
    fields = "\n".join(
        f"  {dataset.name}(limit: Int, filter: {dataset.type_name}Filter_InputObject,"
        f" orderBy: [{dataset.type_name}OrderBy!]): [{dataset.type_name}!]!"
        for dataset in DATASETS
    )
    return f"""\
scalar string
scalar uint8
scalar uint16
scalar uint64
scalar Time
scalar Date
type Query {{ viewer: Viewer! }}
type Viewer {{ accounts(filter: AccountFilter_InputObject): [Account!]! }}
input AccountFilter_InputObject {{ accountTag: string }}
type Account {{
  accountTag: string!
{fields}
}}
{"".join(map(_types_of, DATASETS))}"""


def _types_of(dataset: Dataset) -> str:
    name = dataset.type_name
    counted = f"max: {name}Max!" if dataset.rows else "count: uint64!"
    sums = f"sum: {name}Sum!" if dataset.sums else ""
    orders = " ".join(f"{field}_{direction}" for field in dataset.sortable for direction in ("ASC", "DESC"))
    text = f"""
type {name} {{ {counted} {sums} dimensions: {name}Dimensions! }}
type {name}Dimensions {{ {" ".join(f"{field}: {_shown(field)}!" for field in dataset.dimensions)} }}
enum {name}OrderBy {{ {orders} }}
input {name}Filter_InputObject {{
{_filters_of(dataset)}
  AND: [{name}Filter_InputObject!]
  OR: [{name}Filter_InputObject!]
}}
"""
    if dataset.sums:
        text += f"type {name}Sum {{ {' '.join(f'{field}: {kind}!' for field, kind in SUMS.items())} }}\n"
    if dataset.rows:
        text += f"type {name}Max {{ rows: uint64! }}\n"
    return text


def _filters_of(dataset: Dataset) -> str:
    times = [
        f"  {field}{operator}: {kind}"
        for field, kind in {**TIMES, "datetime": "Time"}.items()
        for operator in RANGE
        if operator or field != "datetime"
    ]
    labels = [
        f"  {field}{operator}: {f'[{_shown(field)}!]' if operator == '_in' else _shown(field)}"
        for field in dataset.labels
        for operator in TESTS
    ]
    return "\n".join((*times, *labels))


def _shown(field: str) -> str:
    if field in TIMES:
        return TIMES[field]
    kind = LABELS[field][1]
    return "string" if kind == "cacheStatus" else kind
