"""Makes a sound segment of what can be read of a damaged one.

A damaged page of a table takes the rows that lie on it. They are walked around: from the last row before it, keys are
tried at growing distances until one can be read, and from there backwards up to the damage again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.away import create_away
from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.open import create_segment
from sluice.storage.embedded.packs import FULL
from sluice.storage.embedded.rows import (
    CONTENT_TYPE,
    ENCODING,
    MODEL,
    MODEL_TYPE,
    PATH,
    PROVIDER,
    REQUEST_TYPE,
    USER_AGENT,
)

_TABLES: Final = (
    ("name", "id"),
    ("zdict", "n"),
    ("pack", "id"),
    ("log", "k"),
    ("det", "k"),
    ("term", "h"),
    ("arrival", "n"),
    ("series", "id"),
    ("minute", "t"),
    ("hour", "t"),
    ("ckpt", "spool"),
    ("earlier", "number"),
    ("away", "pack"),
)
"""With the column by which their rows lie."""
_LARGEST: Final = (1 << 63) - 1
_MADE_WHOLE: Final = (
    "DELETE FROM log WHERE k NOT IN (SELECT k FROM det)",
    "DELETE FROM det WHERE k NOT IN (SELECT k FROM log)",
    "INSERT INTO arrival (n, k)"
    " SELECT (SELECT ifnull(max(n), 0) FROM arrival) + row_number() OVER (ORDER BY k), k FROM log"
    " WHERE k NOT IN (SELECT k FROM arrival)",
    "DELETE FROM minute WHERE series NOT IN (SELECT id FROM series)",
    "DELETE FROM hour WHERE series NOT IN (SELECT id FROM series)",
    "UPDATE meta SET v = (SELECT count(*) FROM log) WHERE key = 'rows'",
    "UPDATE meta SET v = (SELECT max(v, ifnull(max(n), 0)) FROM arrival) WHERE key = 'arrived'",
    "UPDATE meta SET v = (SELECT count(*) FROM log WHERE k <= (SELECT v FROM meta WHERE key = 'floor'))"
    " WHERE key = 'gone'",
)
_WORDS: Final = (
    ("log", "provider", PROVIDER),
    ("log", "model", MODEL),
    ("log", "mtype", MODEL_TYPE),
    ("log", "rtype", REQUEST_TYPE),
    ("log", "ua", USER_AGENT),
    ("log", "rqct", CONTENT_TYPE),
    ("log", "rsct", CONTENT_TYPE),
    ("det", "path", PATH),
    ("det", "rqce", ENCODING),
    ("det", "rsce", ENCODING),
)
_LOST_WORD: Final = (
    "INSERT INTO name (id, kind, v) SELECT DISTINCT {1}, {2}, '(lost ' || {1} || ')' FROM {0}"
    " WHERE {1} NOT IN (SELECT id FROM name) ON CONFLICT DO NOTHING"
)
"""Words that cannot be read leave their numbers, and cost no log."""

Value = int | float | str | bytes | None


def salvage(damaged: Path, to: Path, packs: Mapping[int, int], known: Contents | None = None) -> int:
    """Makes the segment `to` of what can be read of `damaged`; returns how many logs it has.

    `packs` are the files that there are, with their lengths, lest one be taken for a leftover. `known` is what the
    catalogue says of the segment: from there comes what was removed of it.
    """
    rows = 0

    def fill(db: apsw.Connection) -> None:
        nonlocal rows
        with suppress(apsw.Error), closing(_opened(damaged)) as source:
            if _columns(source, "away"):
                create_away(db)
            for table, by in _TABLES:
                _copy(source, db, table, by)
            meta = [(value, key) for key, value in _walk(source, "meta", ["key", "v"], "key") if key != "format"]
            db.executemany("UPDATE meta SET v = ? WHERE key = ?", meta)
        if known is not None:
            db.execute("UPDATE meta SET v = ? WHERE key = 'floor'", (known.floor,))
            db.execute("UPDATE meta SET v = max(v, ?) WHERE key = 'arrived'", (known.arrived,))
        for statement in (*_MADE_WHOLE, *(_LOST_WORD.format(*word) for word in _WORDS)):
            db.execute(statement)
        found = [(pack, size, FULL) for pack, size in packs.items()]
        db.executemany("INSERT OR IGNORE INTO pack (id, bytes, state) VALUES (?, ?, ?)", found)
        rows = db.execute("SELECT v FROM meta WHERE key = 'rows'").get

    create_segment(to, fill)
    return rows


def _opened(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(5_000)
    return db


def _copy(source: apsw.Connection, target: apsw.Connection, table: str, by: str) -> None:
    """An older format has fewer tables and columns."""
    there = _columns(source, table)
    columns = [name for name in _columns(target, table) if name in there]
    if columns:
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        target.executemany(sql, _walk(source, table, columns, by))


def _columns(db: apsw.Connection, table: str) -> list[str]:
    try:
        return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    except apsw.Error:
        return []


def _walk(db: apsw.Connection, table: str, columns: Sequence[str], by: str) -> Iterator[tuple[Value, ...]]:
    """All rows that can be read, some twice."""
    chosen = f"SELECT {by}, {', '.join(columns)} FROM {table}"
    after: Value = None
    while True:
        where = "" if after is None else f" WHERE {by} > ?"
        bound = () if after is None else (after,)
        try:
            for key, *row in db.execute(f"{chosen}{where} ORDER BY {by}", bound):
                yield tuple(row)
                after = key
            return
        except apsw.Error:
            beyond = _beyond(db, table, by, after)
        yield from _backwards(db, chosen, by, after, beyond)
        if beyond is None:
            return
        after = beyond


def _beyond(db: apsw.Connection, table: str, by: str, after: Value) -> Value:
    """A key behind the damage that can be read; None where there is none."""
    if isinstance(after, str):
        return None
    start, step = -1 if not isinstance(after, int) else after, 1
    while start + step < _LARGEST:
        try:
            sql = f"SELECT {by} FROM {table} WHERE {by} > ? ORDER BY {by} LIMIT 1"
            found: Value = db.execute(sql, (start + step,)).get
            return found
        except apsw.Error:
            step *= 2
    return None


def _backwards(db: apsw.Connection, chosen: str, by: str, after: Value, beyond: Value) -> Iterator[tuple[Value, ...]]:
    """What lies between the damage and the key that could be read, that one too; or the table's end."""
    above = f"{by} > ?1" if after is not None else "?1 IS NULL"
    below = f"{by} <= ?2" if beyond is not None else "?2 IS NULL"
    with suppress(apsw.Error):
        for _, *row in db.execute(f"{chosen} WHERE {above} AND {below} ORDER BY {by} DESC", (after, beyond)):
            yield tuple(row)
