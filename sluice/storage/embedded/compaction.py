"""Compaction: a pack with dead bytes is copied without them, and the rows are told where their bodies lie now.

The copy is on disk before the first row points into it, and the old pack goes once it is on disk that no row does. In
between both are there, so a crash or a reader at any moment finds every body. Rows are changed a thousand at a time, in
transactions of a few milliseconds, for which the keeper's own wait.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import apsw

from sluice.storage.embedded.away import away_packs, bring_home
from sluice.storage.embedded.open import datasync, empty_wal, open_segment, segment_name, sync_path, writing
from sluice.storage.embedded.packs import COPIES_FROM, FULL, MAKING, MB, REMOVED, pack_path
from sluice.storage.ports import Objects

WASTE: Final = 0.3
WASTE_BYTES: Final = 4 * MB
"""A full pack with a larger part, and more, of dead bytes is compacted at once."""
LEAVE_MS: Final = 22 * 3_600_000
"""Dead bytes older than this do not stay, however few they are: with the hour between two sweeps and the work itself a
deleted body is off the disk within a day."""
_ROWS_AT_ONCE: Final = 1_000
_WAL_TRIES: Final = 100
_COPY_BYTES: Final = 1024 * 1024

_BODIES: Final = "SELECT k, {0}_off, {0}_z FROM det WHERE {0}_pack = ? AND {0}_z > 0"
"""There is no index: a pack costs one scan."""
_MOVE: Final = "UPDATE det SET {0}_pack = ?1, {0}_off = ?2 WHERE k = ?3 AND {0}_pack = ?4 AND {0}_off = ?5"
_WASTEFUL: Final = "SELECT id FROM pack WHERE state <> ? AND (since < ? OR state = ? AND dead > bytes * ? AND dead > ?)"
_SIDES: Final = ("req", "res")


class _Move(NamedTuple):
    """A body's way from the old pack to the new one."""

    side: str
    key: int
    old: int
    stored: int
    new: int


class Compaction:
    """Compacts some packs of one segment, none of which takes bodies any more; for the housekeeping's thread."""

    def __init__(
        self, folder: Path, number: int, database: Path, packs: Sequence[int], objects: Objects | None = None
    ) -> None:
        """`objects` is where some of the packs may lie; they come back, and what is copied is sent away later."""
        self.number = number
        self.freed_bytes = 0
        self.compacted = 0
        self._folder, self._database, self._packs, self._objects = folder, database, packs, objects
        self._stopped = False

    def run(self) -> None:
        """Raises what SQLite and the file system raise; what is done by then counts."""
        with closing(open_segment(self._database)) as db:
            for pack in [*_abandoned(db), *self._packs]:
                if self._stopped:
                    raise apsw.InterruptError
                self._compact(db, pack)
            empty_wal(db, _WAL_TRIES)  # it tells of what is gone

    def stop(self) -> None:
        self._stopped = True

    def discard(self) -> None:
        """Nothing: what is copied counts or is removed with the next compaction."""

    def _compact(self, db: apsw.Connection, pack: int) -> None:
        row = db.execute("SELECT bytes, state FROM pack WHERE id = ?", (pack,)).fetchone()
        if row is None or row[1] == REMOVED:
            return
        moves = _placed(_bodies(db, pack))
        if moves and self._objects and pack in away_packs(db):
            bring_home(self._objects, self._folder, self.number, db, pack)
        copy = self._copied(db, pack, moves) if moves else None
        if copy is not None:
            self._repoint(db, pack, copy, moves)
        with writing(db):
            db.execute("UPDATE pack SET state = ?, bytes = 0, dead = 0, since = NULL WHERE id = ?", (REMOVED, pack))
        sync_path(Path(f"{self._database}-wal"))
        self._path(pack).unlink(missing_ok=True)
        self.freed_bytes += row[0] - (moves[-1].new + moves[-1].stored if moves else 0)
        self.compacted += 1

    def _copied(self, db: apsw.Connection, pack: int, moves: Sequence[_Move]) -> int:
        """A new pack with these bodies alone, on disk."""
        with writing(db):
            copy: int = db.execute("SELECT max(id, ?) + 1 FROM (SELECT max(id) AS id FROM pack)", (COPIES_FROM,)).get
            db.execute("INSERT INTO pack (id, bytes, state) VALUES (?, 0, ?)", (copy, MAKING))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with self._path(pack).open("rb") as source, os.fdopen(os.open(self._path(copy), flags, 0o600), "wb") as target:
            for run in _runs(moves):
                _copy(source, target, run)
            target.flush()
            datasync(target.fileno())
        sync_path(self._folder)
        size = moves[-1].new + moves[-1].stored
        with writing(db):
            db.execute("UPDATE pack SET bytes = ?, state = ? WHERE id = ?", (size, FULL, copy))
        return copy

    def _repoint(self, db: apsw.Connection, pack: int, copy: int, moves: Sequence[_Move]) -> None:
        """Bodies that were deleted since they were copied are dead in the copy too."""
        left = iter(moves)
        while some := list(islice(left, _ROWS_AT_ONCE)):
            with writing(db):
                dead = 0
                for move in some:
                    db.execute(_MOVE.format(move.side), (copy, move.new, move.key, pack, move.old))
                    dead += 0 if db.changes() else move.stored
                if dead:
                    now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
                    db.execute(
                        f"UPDATE pack SET dead = dead + ?, since = ifnull(since, {now}) WHERE id = ?", (dead, copy)
                    )

    def _path(self, pack: int) -> Path:
        return pack_path(self._folder, segment_name(self.number), pack)


def wasteful_packs(db: apsw.Connection, before_ms: int) -> list[int]:
    """Full packs with many dead bytes, and all with some since before then."""
    return [pack for (pack,) in db.execute(_WASTEFUL, (REMOVED, before_ms, FULL, WASTE, WASTE_BYTES))]


def _abandoned(db: apsw.Connection) -> list[int]:
    """Copies that a crash has cut short: no row points into one."""
    return [pack for (pack,) in db.execute("SELECT id FROM pack WHERE state = ?", (MAKING,))]


def _bodies(db: apsw.Connection, pack: int) -> list[tuple[int, str, int, int]]:
    found = [
        (offset, side, key, stored)
        for side in _SIDES
        for key, offset, stored in db.execute(_BODIES.format(side), (pack,))
    ]
    return sorted(found)


def _placed(bodies: Sequence[tuple[int, str, int, int]]) -> list[_Move]:
    """Close together, in the order in which they lie."""
    moves: list[_Move] = []
    at = 0
    for offset, side, key, stored in bodies:
        moves.append(_Move(side, key, offset, stored, at))
        at += stored
    return moves


def _runs(moves: Sequence[_Move]) -> Iterator[tuple[int, int]]:
    """Begin and end of what can be copied in one go."""
    start, end = moves[0].old, moves[0].old
    for move in moves:
        if move.old != end:
            yield start, end
            start = move.old
        end = move.old + move.stored
    yield start, end


def _copy(source: BinaryIO, target: BinaryIO, run: tuple[int, int]) -> None:
    start, end = run
    source.seek(start)
    while left := end - start:
        data = source.read(min(left, _COPY_BYTES))
        if not data:
            raise OSError(f"{source.name} ends before {end}")
        target.write(data)
        start += len(data)
