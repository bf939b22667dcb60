"""How many logs of a segment have each value of the columns by which lists are ordered: what a deep page passes over.

To count a million logs takes 0.1 s. A sealed segment therefore holds its counts, in a table `counted`, which goes when
a log of it is deleted: then it is counted again by whoever asks.
"""

from typing import Final, NamedTuple

import apsw

from sluice.storage.embedded.filtering import ALL, Only
from sluice.storage.embedded.rows import MODEL, MODEL_TYPE, PROVIDER
from sluice.storage.ports import OrderBy

SortValue = int | str | None


class Column(NamedTuple):
    """The number of a word, or a flag."""

    sql: str
    kind: int | None = None


COLUMNS: Final[dict[OrderBy, Column]] = {
    "provider": Column("provider", PROVIDER),
    "model": Column("model", MODEL),
    "model_type": Column("mtype", MODEL_TYPE),
    "success": Column("flags & 1"),
    "cached": Column("flags >> 1 & 1"),
}
_CREATE: Final = "CREATE TABLE counted (col TEXT NOT NULL, value INTEGER, n INTEGER NOT NULL) STRICT"
_GROUPS: Final = "SELECT {0} AS value, count(*) AS n FROM {1} WHERE {2}{3} GROUP BY 1"
_HAS_COUNTS: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'counted'"


def keep_counts(db: apsw.Connection) -> None:
    """Stores the counts of a segment that takes no more logs."""
    db.execute(_CREATE)
    for name, column in COLUMNS.items():
        groups = _GROUPS.format(column.sql, "log", "1", "")
        db.execute(f"INSERT INTO counted SELECT ?, value, n FROM ({groups})", (name,))


def drop_counts(db: apsw.Connection) -> None:
    """They are no longer true."""
    db.execute("DROP TABLE IF EXISTS counted")


def count_values(db: apsw.Connection, order_by: OrderBy, above: int, only: Only) -> dict[SortValue, int]:
    """Of the logs with keys past `above` that fit."""
    column = COLUMNS[order_by]
    if only is ALL and db.execute(_HAS_COUNTS).get:
        counts = dict(iter(db.execute("SELECT value, n FROM counted WHERE col = ?", (order_by,))))
        for value, gone in db.execute(_GROUPS.format(column.sql, "log", "k <= ?", ""), (above,)):
            counts[value] -= gone
    else:
        groups = _GROUPS.format(column.sql, only.source, "k > ?", only.sql)
        counts = dict(iter(db.execute(groups, (*only.bound, above, *only.values))))
    if column.kind is None:
        return counts
    words: dict[int | None, str] = dict(iter(db.execute("SELECT id, v FROM name WHERE kind = ?", (column.kind,))))
    return {None if value is None else words[value]: count for value, count in counts.items()}
