"""Opens `control.db`: how it is tuned, made, brought to the present edition, and how its errors are told."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.ports import StoreFault

EDITION: Final = 5
_FIRST_WRITTEN: Final = 2
"""The edition of schema/control.sql: a new file is brought from there to the present one like any other."""
_MIGRATIONS: Final = {
    1: "control-1-to-2.sql",
    2: "control-2-to-3.sql",
    3: "control-3-to-4.sql",
    4: "control-4-to-5.sql",
}
"""From an edition to the next, by scripts in schema/."""

_WRITE_BUSY_MS: Final = 2_000

_OLDEST_GO: Final = "json_extract(CAST(config AS TEXT), '$.log_management_strategy') = 'DELETE_OLDEST'"
_AGED_GO: Final = "json_extract(CAST(own AS TEXT), '$.retention_days') NOT NULL"  # which no plan has of itself
DELETE_OLDEST: Final = f"SELECT account, id FROM gateways WHERE {_OLDEST_GO}"
DELETE_AGED: Final = (
    f"SELECT account, gateways.id FROM accounts CROSS JOIN gateways ON account = accounts.id WHERE {_AGED_GO}"
)
_PUSH: Final = "json_extract(CAST(config AS TEXT), '$.logpush') = 1"
PUSHED: Final = f"SELECT id, name, config FROM gateways WHERE account = ? AND {_PUSH} ORDER BY id"
_INDEXES: Final = (
    f"CREATE INDEX IF NOT EXISTS gateways_that_delete_oldest ON gateways (account) WHERE {_OLDEST_GO}",
    f"CREATE INDEX IF NOT EXISTS accounts_that_delete_aged ON accounts (id) WHERE {_AGED_GO}",
    f"CREATE INDEX IF NOT EXISTS gateways_that_push ON gateways (account) WHERE {_PUSH}",
)
"""Few gateways lose logs or push them, and all of them are looked for with every change of the database."""


@contextmanager
def control_faults() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise StoreFault(f"control.db: {error}") from error


def assert_pragma(db: apsw.Connection, name: str, value: str | int) -> None:
    """Sets a pragma and insists: SQLite answers one that it cannot set with the old value and no error."""
    db.pragma(name, value)
    if (found := db.pragma(name)) != value:
        raise StoreFault(f"pragma {name} is {found!r} where {value!r} was asked")


def open_writable(path: Path) -> apsw.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its -wal and -shm take the mode over
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.set_busy_timeout(_WRITE_BUSY_MS)
        assert_pragma(db, "journal_mode", "wal")
        assert_pragma(db, "synchronous", 2)  # FULL: a change is on disk before it is confirmed
        assert_pragma(db, "foreign_keys", 1)
        if db.pragma("user_version") == 0:
            _run(db, "control.sql", _FIRST_WRITTEN)
        while (script := _MIGRATIONS.get(edition := db.pragma("user_version"))) is not None:
            _run(db, script, edition + 1)
        assert_edition(db, path)
        for index in _INDEXES:
            db.execute(index)
    except BaseException:
        db.close()
        raise
    return db


def _run(db: apsw.Connection, name: str, edition: int) -> None:
    """A script of statements parted by empty lines, the first block its title; all of it or nothing."""
    script = resources.files(__package__).joinpath(f"schema/{name}").read_text("utf-8")
    with db:
        for statement in script.split("\n\n")[1:]:
            db.execute(statement)
        db.pragma("user_version", edition)


def edition_problem(path: Path) -> str:
    """Why this version cannot work on a database; empty where it can, or will once it has brought it to its edition."""
    with control_faults(), closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        found: int = db.pragma("user_version")
    return "" if found <= EDITION else f"{path} is of edition {found}, this version of Sluice reads edition {EDITION}"


def assert_edition(db: apsw.Connection, path: Path) -> None:
    if (found := db.pragma("user_version")) != EDITION:
        raise StoreFault(f"{path} is of edition {found}, this version of Sluice reads edition {EDITION}")
