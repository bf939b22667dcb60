"""Stored logs are given another cost, and the roll-ups that count them follow, each log's difference once.

In the segment that takes logs both are one transaction. The hours of a full one are in `stats.db` too, another file:
there the differences are noted in the segment, by the transaction that made them, until `stats.db` has said with one of
its own that it has them.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw
import msgspec

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.changes import keys_of
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.earlier_changes import changing, name_in
from sluice.storage.embedded.folding import open_stats
from sluice.storage.embedded.rollups import MINUTE_MS, Labels, SeriesIds, labels_of
from sluice.storage.embedded.rows import SELECT_ENTRY, NameId, entry_of, extra_text
from sluice.values.ids import number_of
from sluice.values.log import LogEntry, Price, Priced

_FIND: Final = f"{SELECT_ENTRY}, k FROM log JOIN det USING (k) WHERE k >= ? AND k < ? AND det.id = ?"
_ADD: Final = "UPDATE {} SET cost = max(0, min(cost + ?, 1 << 62)) WHERE t = ? AND series = ?"
_PENDING: Final = "CREATE TABLE IF NOT EXISTS repriced (id BLOB PRIMARY KEY, differences BLOB NOT NULL) STRICT"
_TAKEN: Final = "CREATE TABLE IF NOT EXISTS repriced (segment INTEGER, id BLOB, PRIMARY KEY (segment, id)) STRICT"


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """How much more the logs of one minute and series cost."""

    minute: int
    labels: Labels
    nano: int


_DIFFERENCES: Final = msgspec.json.Decoder(list[Difference])


def reprice_logs(
    db: apsw.Connection, name: NameId, above: int, log_ids: Sequence[str], price: Price
) -> tuple[set[str], list[Difference]]:
    """Within the caller's transaction: which of the logs there are, and how the sums have changed with them."""
    found: set[str] = set()
    differences: Counter[tuple[int, Labels]] = Counter()
    for log_id, key, entry in _found(db, above, log_ids):
        found.add(log_id)
        told = price(entry)
        if told is None or told == Priced(entry.cost_nano, entry.priced):
            continue
        db.execute("UPDATE log SET cost = ? WHERE k = ?", (told.cost_nano, key))
        repriced = msgspec.structs.replace(entry, priced=told.priced)
        db.execute("UPDATE det SET extra = ? WHERE k = ?", (extra_text(repriced, name), key))
        for labels in labels_of(entry):
            differences[entry.created_ms // MINUTE_MS, labels] += (told.cost_nano or 0) - (entry.cost_nano or 0)
    made = [Difference(minute, labels, nano) for (minute, labels), nano in differences.items() if nano]
    _add(db, made, {"minute": 1, "hour": 60})
    return found, made


def reprice_earlier(folder: Path, held: Contents, log_ids: Sequence[str], price: Price) -> set[str]:
    """The same in a segment whose hours are folded."""
    _settle(folder, held)
    with changing(folder, held) as db:
        found, made = reprice_logs(db, lambda kind, text: name_in(db, kind, text), held.floor, log_ids, price)
        if made:
            db.execute(_PENDING)
            db.execute("INSERT INTO repriced VALUES (?, ?)", (secrets.token_bytes(16), msgspec.json.encode(made)))
    if made:
        _settle(folder, held)
    return found


def _settle(folder: Path, held: Contents) -> None:
    """Carries over to `stats.db` what is noted and not there yet."""
    with changing(folder, held) as db:
        known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'repriced'").get
        noted: list[tuple[bytes, bytes]] = list(db.execute("SELECT id, differences FROM repriced")) if known else []
    if not noted:
        return
    with closing(open_stats(folder)) as stats:
        with stats:
            stats.execute(_TAKEN)
            for note, differences in noted:
                taken = stats.execute(
                    "INSERT OR IGNORE INTO repriced VALUES (?, ?) RETURNING 1", (held.number, note)
                ).get
                if taken is not None:
                    _add(stats, _DIFFERENCES.decode(differences), {"hour": 60, "day": 24 * 60})
        with changing(folder, held) as db:
            db.executemany("DELETE FROM repriced WHERE id = ?", [(note,) for note, _ in noted])
        with stats:
            stats.execute("DELETE FROM repriced WHERE segment = ?", (held.number,))


def _add(db: apsw.Connection, differences: Iterable[Difference], tables: dict[str, int]) -> None:
    """Adds to the rows of roll-ups that the logs were counted in: their own series', or that of all past the bound."""
    ids = SeriesIds(db)
    for table, minutes in tables.items():
        for difference in differences:
            for labels in (difference.labels, difference.labels.other()):
                series = ids.find(labels)
                if series is not None:
                    db.execute(_ADD.format(table), (difference.nano, difference.minute // minutes, series))
                    if db.changes():
                        break


def _found(db: apsw.Connection, above: int, log_ids: Sequence[str]) -> Iterator[tuple[str, int, LogEntry]]:
    for log_id, key in keys_of(log_ids).items():
        bounds = (max(key, above + 1), key + PROBES)
        row = db.execute(_FIND, (*bounds, number_of(log_id).to_bytes(16, "big"))).fetchone()
        if row is not None:
            yield log_id, row[-1], entry_of(row[:-1])
