"""The active segment's index, for its single writer: rows, terms, names, packs and positions in one transaction."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.body_check import SIDES, Unsound, unsound_since
from sluice.storage.embedded.catalogue import NOTHING, Contents, read_active, read_earlier, read_meta, write_earlier
from sluice.storage.embedded.changes import change_logs, delete_logs
from sluice.storage.embedded.compaction import wasteful_packs
from sluice.storage.embedded.dictionaries import Dictionary, newest_dictionary, put_dictionary
from sluice.storage.embedded.earlier import NEAR, PROBES, EarlierKeys
from sluice.storage.embedded.open import create_segment, database_path, open_segment, writing
from sluice.storage.embedded.packs import Extent
from sluice.storage.embedded.repricing import reprice_logs
from sluice.storage.embedded.rollups import Rollups
from sluice.storage.embedded.rows import DET_COLUMNS, LOG_COLUMNS, Rows, Value
from sluice.values.command import Change
from sluice.values.ids import text_of
from sluice.values.log import Position, Price

WAL_PAGES: Final = 4_000
"""A WAL that is longer is written into the database when it is synced."""
_LONGEST_WAL: Final = 4 * WAL_PAGES
"""Where that does not come, it is by the transaction that made it so long."""
_NAMES_KEPT: Final = 2_048
_NAMES_COPIED: Final = 10_000
"""How many names a segment begins with: most that repeat are among the first, and clients choose what they send."""


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" * len(columns.split(",")))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT (k) DO NOTHING"


_INSERT_LOG: Final = _insert("log", LOG_COLUMNS)
_INSERT_DET: Final = _insert("det", DET_COLUMNS)
_FILL_LOST: Final = (
    "UPDATE det SET {0}_pack = ?1, {0}_off = ?2, {0}_z = ?3, {0}_len = ?4 WHERE k = ?5 AND {0}_z IS NULL AND ?3 NOTNULL"
)
_LOST: Final = "UPDATE det SET {0}_pack = NULL, {0}_off = NULL, {0}_z = NULL"
_LOST_SINCE: Final = (
    "SELECT id FROM arrival JOIN det USING (k)"
    " WHERE n > ? AND (req_z IS NULL AND req_len NOTNULL OR res_z IS NULL AND res_len NOTNULL)"
)
_LOSE: Final = f"{_LOST} WHERE k = ?"
_LOSE_PAST: Final = f"{_LOST} WHERE {{0}}_pack = ? AND {{0}}_off + {{0}}_z > ?"
_INSERT_NAME: Final = "INSERT INTO name (id, kind, v) VALUES (?, ?, ?)"
_PUT_PACK: Final = (
    "INSERT INTO pack (id, bytes, state) VALUES (?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, state = excluded.state"
)
_WASTE: Final = (
    "UPDATE pack SET dead = dead + ?, since = ifnull(since, CAST(unixepoch('subsec') * 1000 AS INTEGER)) WHERE id = ?"
)
_PUT_SYNCED: Final = "INSERT OR REPLACE INTO meta (key, v) VALUES ('synced', ?)"
_PUT_POSITION: Final = "INSERT OR REPLACE INTO ckpt (spool, seq, off) VALUES (?, ?, ?)"


class Segment:
    def __init__(self, folder: Path, number: int, rollup_metadata: Sequence[str] = ()) -> None:
        self.number = number
        self._db = db = open_segment(database_path(folder, number))
        try:
            meta = read_meta(db)
            self.rows = meta["rows"]
            self.gone = meta["gone"]
            """How many of them are removed."""
            self.created_ms = meta["created"]
            self._arrived = meta["arrived"]
            self._synced = meta.get("synced", self._arrived)
            self._floor = meta["floor"]
            self.doubted = meta.get("doubted")
            """An earlier segment from which logs are being deleted: what the catalogue tells of it may be too much."""
            self._names: dict[tuple[int, str], int] = {}
            self._new_names: list[tuple[int, int, str]] = []
            self._last_name: int = db.execute("SELECT ifnull(max(id), 0) FROM name").get
            self.positions: Mapping[str, Position] = self._read_positions()
            self.earlier = read_earlier(db)
            self._rollups = Rollups(db, rollup_metadata)
            self.dictionary = newest_dictionary(db)
            """What bodies are compressed with from now on."""
        except BaseException:
            db.close()
            raise
        self._wal_pages = 0
        db.set_wal_hook(self._committed)  # in the place of SQLite's own, which writes a long WAL back at once
        self._folder = folder
        self._keys = EarlierKeys(folder, self.earlier)
        self._closed = False
        self.wanted: Set[str] = frozenset()
        """Logs that have lost a body to a power loss; likewise `_filled`, those that the present commit brings it."""
        self._filled: set[str] = set()
        self._wasted: Counter[int] = Counter()
        """Bytes by pack that the present commit points no row to, for their logs were stored already."""
        self.in_doubt = False
        """A commit failed and left no transaction behind: only opening anew tells whether it counts."""

    def name(self, kind: int, text: str) -> int:
        """The number of a name; a new one is stored with the next commit."""
        found = self._names.get((kind, text))
        return found if found is not None else self._learn(kind, text)

    def extents(self) -> list[Extent]:
        return [Extent(*row) for row in self._db.execute("SELECT id, bytes, state FROM pack ORDER BY id")]

    def put_extents(self, packs: Sequence[Extent]) -> None:
        with writing(self._db):
            self._db.executemany(_PUT_PACK, packs)

    def wasteful_packs(self, before_ms: int) -> list[int]:
        return wasteful_packs(self._db, before_ms)

    def commit(self, rows: Sequence[Rows], packs: Sequence[Extent], positions: Mapping[str, Position]) -> int:
        """Stores all of it or nothing; returns how many logs were new."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            fresh = self._insert_all(rows)
            gone = self._hide(fresh)
            self._rollups.add([row.entry for row in fresh])
            if self._new_names:
                db.executemany(_INSERT_NAME, self._new_names)
            if packs:
                db.executemany(_PUT_PACK, packs)
            if self._wasted:
                db.executemany(_WASTE, [(size, pack) for pack, size in self._wasted.items()])
            moved = self._move(positions)
            db.execute("COMMIT")
        except BaseException:
            self.in_doubt = not db.in_transaction
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        finally:
            self._keys.release()
            filled, self._filled = self._filled, set()
            self._wasted.clear()
        self.wanted -= filled
        self._arrived += len(fresh)
        self.rows += len(fresh)
        self.gone += gone
        self.positions = moved
        self._new_names.clear()
        if len(self._names) > _NAMES_KEPT:
            self._names.clear()
        return len(fresh)

    def revise(self, earlier: list[Contents], active: Contents | None = None) -> None:
        """Writes the catalogue anew, and how much of this segment itself is removed."""
        with writing(self._db):
            self._db.execute("DELETE FROM earlier")
            self._db.execute("DELETE FROM meta WHERE key = 'doubted'")
            write_earlier(self._db, earlier)
            if active:
                changes = [(active.floor, "floor"), (active.gone, "gone")]
                self._db.executemany("UPDATE meta SET v = ? WHERE key = ?", changes)
        self.earlier, self.doubted = earlier, None
        self._keys = EarlierKeys(self._folder, earlier)
        if active:
            self._floor, self.gone = active.floor, active.gone

    def doubt(self, number: int) -> None:
        """Logs are about to be deleted from an earlier segment; `revise` ends the doubt."""
        with writing(self._db):
            self._db.execute("INSERT OR REPLACE INTO meta (key, v) VALUES ('doubted', ?)", (number,))
        self.doubted = number

    def adopt(self, dictionary: Dictionary) -> None:
        """Stores a dictionary before any body is compressed with it."""
        with writing(self._db):
            put_dictionary(self._db, dictionary)
        self.dictionary = dictionary

    def change(self, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]) -> set[str]:
        """Changes these logs and, where all of them are here, moves the positions; returns which of them are."""
        with writing(self._db):
            found = change_logs(self._db, self.name, self._floor, log_ids, change)
            self._db.executemany(_INSERT_NAME, self._new_names)
            moved = self._move(positions if len(found) == len(log_ids) else {})
        self._new_names.clear()
        self.positions = moved
        return found

    def reprice(self, log_ids: Sequence[str], price: Price, positions: Mapping[str, Position]) -> set[str]:
        """Gives these logs the cost that `price` names, and moves the positions likewise."""
        with writing(self._db):
            found, _ = reprice_logs(self._db, self.name, self._floor, log_ids, price)
            self._db.executemany(_INSERT_NAME, self._new_names)
            moved = self._move(positions if len(found) == len(log_ids) else {})
        self._new_names.clear()
        self.positions = moved
        return found

    def delete(
        self, log_ids: Sequence[str], positions: Mapping[str, Position], now_ms: int
    ) -> tuple[set[str], list[int]]:
        """Deletes these logs likewise; returns which of them there were, and packs of which nothing lives any more."""
        with writing(self._db):
            found, packs = delete_logs(self._db, self._floor, log_ids, now_ms)
            moved = self._move(positions if len(found) == len(log_ids) else {})
        self.rows -= len(found)
        self.wanted -= found
        self.positions = moved
        return found, packs

    def shorten_wal(self) -> None:
        """Writes back a long WAL, with its syncs. For any thread, while no other uses this."""
        if self._wal_pages >= WAL_PAGES:
            self._wal_pages = 0
            with suppress(apsw.BusyError):  # the housekeeping does it just now
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def synced(self) -> None:
        """All that is stored here survives a power loss, with its bodies: readers and the next to open it are told.

        On a full disk they are told later. For any thread, while no other uses this.
        """
        if self.wanted or self._synced == self._arrived:
            return
        with suppress(apsw.FullError):
            self._db.execute(_PUT_SYNCED, (self._arrived,))
            self._synced = self._arrived

    def unsound(self) -> list[Unsound]:
        """Bodies that are not what their rows say, of the logs that a power loss could hit."""
        return list(unsound_since(self._folder, self._db, self.number, self._synced))

    def lose(self, bodies: Sequence[Unsound], lengths: Mapping[int, int]) -> None:
        """Says of these bodies that they are lost, and of these packs how long they are."""
        with writing(self._db):
            for side in SIDES:
                self._db.executemany(_LOSE.format(side), [(body.key,) for body in bodies if body.side == side])
            for pack, size in lengths.items():
                for side in SIDES:
                    self._db.execute(_LOSE_PAST.format(side), (pack, size))
                self._db.execute("UPDATE pack SET bytes = ? WHERE id = ?", (size, pack))

    def want_lost(self) -> None:
        """Logs that a power loss could hit and that have lost a body are wanted again: the spools still have them."""
        lost = self._db.execute(_LOST_SINCE, (self._synced,))
        self.wanted = frozenset(text_of(int.from_bytes(log_id, "big")) for (log_id,) in lost)

    def contents(self, pack_bytes: int) -> Contents:
        """What the catalogue says of it once it takes no more."""
        return read_active(self._db, self.number, read_meta(self._db))._replace(bytes=pack_bytes)

    def begin_next(self, pack_bytes: int, now_ms: int) -> None:
        """Makes the segment after this one, which knows all that was stored so far from its first moment."""
        held = self.contents(pack_bytes)

        def fill(db: apsw.Connection) -> None:
            write_earlier(db, [*self.earlier, held])
            db.executemany("INSERT INTO ckpt VALUES (?, ?, ?)", self._db.execute("SELECT spool, seq, off FROM ckpt"))
            names = self._db.execute("SELECT id, kind, v FROM name ORDER BY id LIMIT ?", (_NAMES_COPIED,))
            db.executemany("INSERT INTO name VALUES (?, ?, ?)", names)
            db.execute("UPDATE meta SET v = ? WHERE key = 'arrived'", (held.arrived,))
            db.execute(_PUT_SYNCED, (held.arrived,))
            db.execute("UPDATE meta SET v = ? WHERE key = 'created'", (now_ms,))
            if self.dictionary is not None:
                put_dictionary(db, self.dictionary)

        create_segment(database_path(self._folder, self.number + 1), fill)

    def close(self, *, checkpoint: bool) -> None:
        """Without a checkpoint closing costs 0.04 ms instead of 1; the rows stay in the WAL. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not checkpoint))
        self._db.close()

    def _committed(self, db: apsw.Connection, schema: str, pages: int) -> int:
        self._wal_pages = pages
        if pages >= _LONGEST_WAL:
            self.shorten_wal()
        return apsw.SQLITE_OK

    def _read_positions(self) -> dict[str, Position]:
        return {spool: Position(seq, off) for spool, seq, off in self._db.execute("SELECT spool, seq, off FROM ckpt")}

    def _move(self, positions: Mapping[str, Position]) -> Mapping[str, Position]:
        """Stores these positions; returns what all of them are once that is committed."""
        rows = [(spool, *position) for spool, position in positions.items()]
        self._db.executemany(_PUT_POSITION, rows)
        return {**self.positions, **positions}

    def _learn(self, kind: int, text: str) -> int:
        number: int | None = self._db.execute("SELECT id FROM name WHERE kind = ? AND v = ?", (kind, text)).get
        if number is None:
            self._last_name = number = self._last_name + 1
            self._new_names.append((number, kind, text))
        self._names[kind, text] = number
        return number

    def _insert_all(self, rows: Sequence[Rows]) -> Sequence[Rows]:
        """The fast way where every key is free, which it is but for late logs, replays and imports; else one by one."""
        if not rows:
            return rows
        late = min(row.key for row in rows) <= self._keys.last_key
        if late or not self._insert_fast(rows):
            rows = [placed for row in rows if (placed := self._insert_one(row))]
        self._follow(rows)
        return rows

    def _insert_fast(self, rows: Sequence[Rows]) -> bool:
        """All at once; false, and nothing done, where a key is taken."""
        db = self._db
        before = db.total_changes()
        db.execute("SAVEPOINT fast")
        db.executemany(_INSERT_LOG, [row.log for row in rows])
        if free := db.total_changes() - before == len(rows):
            db.executemany(_INSERT_DET, [row.det for row in rows])
        else:
            db.execute("ROLLBACK TO fast")
        db.execute("RELEASE fast")
        return free

    def _insert_one(self, row: Rows) -> Rows | None:
        """Stores the log under the first free key from its own upward; None where it is stored already."""
        earlier = self._keys.near(row.key)
        if row.id in earlier.values():
            self._waste(row.det[-8:-4])
            self._waste(row.det[-4:])
            return None
        taken: dict[int, bytes] = dict(iter(self._db.execute(NEAR, (row.key, row.key + PROBES))))
        for taken_key, log_id in taken.items():
            if log_id == row.id:
                self._fill_lost(taken_key, row.det)
                self._filled.add(row.entry.id)
                return None
        taken |= earlier
        key = next((key for key in range(row.key, row.key + PROBES) if key not in taken), None)
        if key is None:
            raise ValueError(f"{PROBES} logs share one key")
        placed = row if key == row.key else row.at(key)
        self._db.execute(_INSERT_LOG, placed.log)
        self._db.execute(_INSERT_DET, placed.det)
        return placed

    def _fill_lost(self, key: int, det: tuple[Value, ...]) -> None:
        """A replay after a power loss brings the bodies that the rows have lost."""
        for side, place in zip(SIDES, (det[-8:-4], det[-4:]), strict=True):
            self._db.execute(_FILL_LOST.format(side), (*place, key))
            if not self._db.changes():
                self._waste(place)

    def _waste(self, place: tuple[Value, ...]) -> None:
        pack, _, stored, _ = place
        if isinstance(pack, int) and isinstance(stored, int) and pack and stored:
            self._wasted[pack] += stored

    def _follow(self, fresh: Sequence[Rows]) -> None:
        """What every new log brings with it beside its own two rows."""
        db = self._db
        terms = [(h, row.key) for row in fresh for h in row.terms]
        if terms:
            db.executemany("INSERT INTO term (h, k) VALUES (?, ?) ON CONFLICT DO NOTHING", terms)
        arrivals = [(n, row.key) for n, row in enumerate(fresh, self._arrived + 1)]
        db.executemany("INSERT INTO arrival (n, k) VALUES (?, ?)", arrivals)
        db.execute("UPDATE meta SET v = v + ? WHERE key IN ('rows', 'arrived')", (len(fresh),))

    def _hide(self, fresh: Sequence[Rows]) -> int:
        """Logs that are older than what retention has left here are removed as they come."""
        gone = sum(row.key <= self._floor for row in fresh) if self._floor != NOTHING else 0
        if gone:
            self._db.execute("UPDATE meta SET v = v + ? WHERE key = 'gone'", (gone,))
        return gone
