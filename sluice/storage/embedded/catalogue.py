"""The catalogue of a shard: what each of its segments holds. The newest one has it: one transaction there tells all."""

from pathlib import Path
from typing import Final, NamedTuple

import apsw

from sluice.storage.embedded.open import database_path

NOTHING: Final = -1
"""The floor of a segment of which nothing was removed, and below every key."""
_COLUMNS: Final = "number, rows, k_min, k_max, arrived, bytes, sealed, floor, gone"
_INSERT: Final = f"INSERT INTO earlier ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(',')))})"


class Contents(NamedTuple):
    """What a segment holds, as far as it still counts."""

    number: int
    rows: int
    first_key: int
    last_key: int
    arrived: int
    """The last ingest sequence in it."""
    bytes: int
    sealed: int
    floor: int
    """Logs with keys up to this one are removed."""
    gone: int
    """How many those are."""

    @property
    def live(self) -> int:
        return self.rows - self.gone

    def reaches(self, above: int, up_to: int) -> bool:
        """Whether it may hold logs with keys between the two."""
        return self.first_key <= up_to and self.last_key > above

    def path(self, folder: Path) -> Path:
        return database_path(folder, self.number, sealed=bool(self.sealed))


def read_earlier(db: apsw.Connection) -> list[Contents]:
    """The segments before this one, from the oldest."""
    return [Contents(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM earlier ORDER BY number")]


def write_earlier(db: apsw.Connection, earlier: list[Contents]) -> None:
    db.executemany(_INSERT, earlier)


def pack_bytes(db: apsw.Connection) -> int:
    """What the packs of a segment take, by its own account."""
    found: int = db.execute("SELECT ifnull(sum(bytes), 0) FROM pack").get
    return found


def read_meta(db: apsw.Connection) -> dict[str, int]:
    return dict(iter(db.execute("SELECT key, v FROM meta")))


def read_active(db: apsw.Connection, number: int, meta: dict[str, int]) -> Contents:
    """What the active segment holds; `bytes` is not counted yet."""
    first: int | None = db.execute("SELECT min(k) FROM log").get
    last: int | None = db.execute("SELECT max(k) FROM log").get
    return Contents(
        number,
        meta["rows"],
        NOTHING if first is None else first,
        NOTHING if last is None else last,
        meta["arrived"],
        0,
        0,
        meta.get("floor", NOTHING),
        meta.get("gone", 0),
    )
