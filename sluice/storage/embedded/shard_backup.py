"""Copies a shard while it is written: what its newest segment tells at one moment, and all that this moment names.

Segments that are full take no more logs, packs that are full never change, and a place in a pack that a row names is
never written again. So the newest segment's copy is the moment, and what it names may be copied later; where some of
that was sealed, compacted or removed meanwhile, the copy is begun again, and takes what it has already.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.away import away_packs
from sluice.storage.embedded.backup_target import BackupTarget
from sluice.storage.embedded.catalogue import Contents, pack_bytes, read_earlier, read_meta
from sluice.storage.embedded.folding import stats_path
from sluice.storage.embedded.open import (
    database_path,
    newest_segment,
    open_idle_segment,
    segment_name,
    store_faults,
    writing,
)
from sluice.storage.embedded.packs import ALONE, FILLING, FULL, pack_path
from sluice.storage.ports import StoreFault

_TRIES: Final = 20
_CATALOGUE_SINCE: Final = 2
_PACKS: Final = "SELECT id, bytes, state FROM pack WHERE state IN (?, ?, ?)"
_RECOUNT: Final = "UPDATE earlier SET rows = ?, bytes = ? WHERE number = ?"


class _Moved(Exception):
    """Something that the moment names is not there any more: there is a later one."""


def back_up_shard(folder: Path, name: str, target: BackupTarget) -> None:
    """Copies a shard's folder to `name`. One that goes meanwhile, with its gateway, is not in the backup.

    Raises StoreFault where a file is missing that the catalogue names, or cannot be read.
    """
    moved: Exception = _Moved()
    for _ in range(_TRIES):
        if not newest_segment(folder) and not any(folder.glob("*.db")):
            return _keep_only(target, name, set())
        with store_faults(f"copying {folder}"):
            try:
                return _keep_only(target, name, set(_copied(folder, name, target)))
            except (_Moved, FileNotFoundError) as error:
                moved = error
    raise StoreFault(f"{folder} cannot be copied: {moved}: see what `sluice doctor` says of it")


def _copied(folder: Path, name: str, target: BackupTarget) -> Iterator[str]:
    """Copies one moment; yields the names of what belongs to it."""
    number = newest_segment(folder)
    active = _database(database_path(folder, number), name, target)
    yield active
    yield from _packs(folder, number, active, target)
    told: dict[int, tuple[int, int]] = {}
    for held in _earlier(target.folder / active):
        database = _database(held.path(folder), name, target)
        yield database
        yield from _packs(folder, held.number, database, target)
        told |= _surplus(target.folder / database, held)
    if stats_path(folder).exists():
        stats = _database(stats_path(folder), name, target)
        if _is_folded(target.folder / stats, number):
            raise _Moved(f"segment {number} took its last log")
        yield stats
    if told:
        target.not_kept(active)
        _recount(target.folder / active, told)


def _database(source: Path, name: str, target: BackupTarget) -> str:
    made = f"{name}/{source.name}"
    target.database(source, made)
    return made


def _packs(folder: Path, number: int, database: str, target: BackupTarget) -> Iterator[str]:
    """Copies the packs of a segment whose database is copied; of one that still grows what that knows of."""
    with closing(open_idle_segment(target.folder / database)) as db:
        packs: list[tuple[int, int, int]] = list(db.execute(_PACKS, (FILLING, FULL, ALONE)))
        away = away_packs(db)
    for pack, size, state in packs:
        path = pack_path(folder, segment_name(number), pack)
        made = str(Path(database).with_name(path.name))
        try:
            if state == FILLING:
                target.take_part(path, made, size)
            else:
                target.take(path, made)
        except FileNotFoundError:
            if pack in away:
                continue
            raise
        yield made


def _earlier(active: Path) -> list[Contents]:
    with closing(open_idle_segment(active)) as db:
        return read_earlier(db) if read_meta(db)["format"] >= _CATALOGUE_SINCE else []


def _surplus(database: Path, held: Contents) -> dict[int, tuple[int, int]]:
    """What a segment holds, where logs were deleted from it after the moment."""
    with closing(open_idle_segment(database)) as db:
        rows, size = read_meta(db)["rows"], pack_bytes(db)
    return {} if rows == held.rows else {held.number: (rows, size)}


def _recount(active: Path, told: dict[int, tuple[int, int]]) -> None:
    """The catalogue tells what is in the copies, as it does after a delete."""
    with closing(apsw.Connection(str(active), flags=apsw.SQLITE_OPEN_READWRITE)) as db, writing(db):
        db.executemany(_RECOUNT, [(rows, size, number) for number, (rows, size) in told.items()])


def _is_folded(stats: Path, number: int) -> bool:
    """Whether the sums of the segment that was the newest are in there already: then it is no more."""
    uri = f"{stats.absolute().as_uri()}?immutable=1"
    with closing(apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)) as db:
        return bool(db.execute("SELECT count(*) FROM folded WHERE segment = ?", (number,)).get)


def _keep_only(target: BackupTarget, name: str, wanted: set[str]) -> None:
    """Removes what an earlier try has copied and the last one did not need."""
    folder = target.folder / name
    for path in list(folder.iterdir()) if folder.exists() else []:
        if (made := f"{name}/{path.name}") not in wanted:
            target.remove(made)
    if not wanted and folder.exists():
        folder.rmdir()
