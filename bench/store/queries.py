"""What is asked of the log list, and how long each question takes, with the store's files in memory and without."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench.store.client import Management

TRIES: Final = 5


class Query(NamedTuple):
    """`most_ms`: what it may take at 10 million logs, warm (the log store's budgets)."""

    name: str
    parameters: Mapping[str, object]
    most_ms: float


@dataclass(slots=True)
class Asked:
    name: str
    cold_ms: float
    warm_ms: float
    total: int
    exact: bool
    complete: bool
    most_ms: float


NEWEST_MS: Final = 20.0
INDEXED_MS: Final = 100.0
WORST_MS: Final = 1_000.0
COLD_MS: Final = 2_500.0


def _only(*conditions: tuple[str, str, list[object]], **more: object) -> dict[str, object]:
    filters = [{"key": key, "operator": operator, "value": values} for key, operator, values in conditions]
    return {"filters": json.dumps(filters), "per_page": 50, **more}


QUERIES: Final = (
    Query("newest page", {"per_page": 50}, NEWEST_MS),
    Query("page 100,000", {"per_page": 50, "page": 100_000}, INDEXED_MS),
    Query("oldest first", {"per_page": 50, "order_by_direction": "asc"}, INDEXED_MS),
    Query("a rare model", _only(("model", "eq", ["text-davinci-rare"])), INDEXED_MS),
    Query("a common model", _only(("model", "eq", ["gpt-4o-mini"])), WORST_MS),
    Query("errors of one status", _only(("success", "eq", [False])), WORST_MS),
    Query("cached", _only(("cached", "eq", [True])), WORST_MS),
    Query(
        "rare model that failed", _only(("model", "eq", ["text-davinci-rare"]), ("success", "eq", [False])), WORST_MS
    ),
    Query("a user's (metadata value)", _only(("metadata.value", "eq", ["user-17"])), INDEXED_MS),
    Query("a team's (metadata value)", _only(("metadata.value", "eq", ["team-3"])), WORST_MS),
    Query("a team's that failed", _only(("metadata.value", "eq", ["team-3"]), ("success", "eq", [False])), WORST_MS),
    Query("metadata value contains", _only(("metadata.value", "contains", ["user-1999"])), WORST_MS),
    Query("cost range", _only(("cost", "gt", [0.005]), ("cost", "lt", [0.00501])), WORST_MS),
    Query("duration over 10 s", _only(("duration", "gt", [10_000])), WORST_MS),
    Query("a tenth of the time", _only(("created_at", "gt", ["{from}"]), ("created_at", "lt", ["{to}"])), WORST_MS),
    Query("ordered by model", {"per_page": 50, "order_by": "model"}, WORST_MS),
    Query("ordered by provider, page 1,000", {"per_page": 50, "order_by": "provider", "page": 1_000}, WORST_MS),
    Query("ordered by cost", {"per_page": 50, "order_by": "cost"}, WORST_MS),
    Query("search by id", {"per_page": 50, "search": "{id}"}, INDEXED_MS),
    Query("search for nothing", {"per_page": 50, "search": "nowhere-to-be-found"}, WORST_MS),
    Query("with meta_info", {"per_page": 50, "meta_info": "true"}, WORST_MS),
    Query("nobody's user agent", _only(("user_agent", "contains", ["curl"])), WORST_MS),
)


def measure(console: Management, gateway: str, shards: Path) -> Iterator[Asked]:
    """Every query, first cold, then warm. A page comes within one time budget, its count within another."""
    total = console.total(gateway)
    tenths = [console.logs(gateway, per_page=1, page=total * part // 10)["result"][0] for part in (4, 3)]
    words = {"{id}": tenths[0]["id"], "{from}": tenths[0]["created_at"], "{to}": tenths[1]["created_at"]}
    for query in QUERIES:
        parameters = {name: _filled(value, words) for name, value in query.parameters.items()}
        forget(shards)
        cold_ms, answer = _timed(console, gateway, parameters)
        warm_ms = median(_timed(console, gateway, parameters)[0] for _ in range(TRIES))
        info = answer["result_info"]
        yield Asked(
            query.name,
            cold_ms,
            warm_ms,
            info["total_count"],
            info.get("total_count_exact", True),
            info.get("complete", True),
            query.most_ms,
        )


def forget(folder: Path) -> None:
    """Has the kernel drop what it holds of the files below; what is not written yet stays."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _filled(value: object, words: Mapping[str, str]) -> object:
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace(word, meaning)
    return value


def _timed(console: Management, gateway: str, parameters: Mapping[str, object]) -> tuple[float, Mapping[str, Any]]:
    began = time.perf_counter()
    answer = console.logs(gateway, **parameters)
    return (time.perf_counter() - began) * 1e3, answer
