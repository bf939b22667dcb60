"""Opens `control.db`: how it is tuned, made, brought to the present edition, and how its errors are told."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.ports import StoreFault

EDITION: Final = 3
_SCRIPTS: Final = ("control.sql", "provider_configs.sql")
_MIGRATIONS: Final[dict[int, Callable[[apsw.Connection], object]]] = {
    1: lambda db: db.execute("ALTER TABLE accounts ADD COLUMN own BLOB NOT NULL DEFAULT x'7b7d'"),
    2: lambda db: _run_script(db, "provider_configs.sql"),
}
"""By edition, what makes the next one of it: 1 knew no entitlement but the plan's, 2 no provider keys."""

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
            _create_schema(db)
        while (edition := db.pragma("user_version")) in _MIGRATIONS:
            with db:
                _MIGRATIONS[edition](db)
                db.pragma("user_version", edition + 1)
        assert_edition(db, path)
        for index in _INDEXES:
            db.execute(index)
    except BaseException:
        db.close()
        raise
    return db


def _create_schema(db: apsw.Connection) -> None:
    with db:
        for script in _SCRIPTS:
            _run_script(db, script)
        db.pragma("user_version", EDITION)


def _run_script(db: apsw.Connection, name: str) -> None:
    script = resources.files(__package__).joinpath(f"schema/{name}").read_text("utf-8")
    for statement in script.split("\n\n")[1:]:
        db.execute(statement)


def assert_edition(db: apsw.Connection, path: Path) -> None:
    if (found := db.pragma("user_version")) != EDITION:
        raise StoreFault(f"{path} is of edition {found}, this version of Sluice reads edition {EDITION}")
