"""Mends what inspection finds in shards, for the holder of the data folder. What is damaged is kept, in `damaged/`.

Nothing is given up that can be read: logs of a damaged segment are salvaged, one whose body is gone stays and says so.
At last each segment is counted, and the catalogue written anew.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from sluice.storage.embedded.away import away_packs
from sluice.storage.embedded.body_check import SIDES, unsound_bodies
from sluice.storage.embedded.catalogue import NOTHING, Contents, read_earlier, write_earlier
from sluice.storage.embedded.folding import stats_path
from sluice.storage.embedded.inspection import UNSOUND, Patient, database_problem, patients_of
from sluice.storage.embedded.open import (
    empty_wal,
    newest_segment,
    open_segment,
    open_segment_readonly,
    remove_database,
    segment_name,
    sync_path,
    writing,
)
from sluice.storage.embedded.packs import MAKING, REMOVED, pack_path
from sluice.storage.embedded.salvage import salvage
from sluice.values.finding import Finding

_LOSE: Final = "UPDATE det SET {0}_pack = NULL, {0}_off = NULL, {0}_z = NULL WHERE k = ?"
_PACKS: Final = "SELECT id, bytes FROM pack WHERE state NOT IN (?, ?)"
_COUNT: Final = (
    "UPDATE meta SET v = (SELECT count(*) FROM log) WHERE key = 'rows'",
    "UPDATE meta SET v = (SELECT count(*) FROM log WHERE k <= (SELECT v FROM meta WHERE key = 'floor'))"
    " WHERE key = 'gone'",
)
_CONTENTS: Final = (
    "SELECT count(*), ifnull(min(k), -1), ifnull(max(k), -1), (SELECT ifnull(max(n), 0) FROM arrival),"
    " (SELECT ifnull(sum(bytes), 0) FROM pack), (SELECT count(*) FROM log WHERE k <= ?) FROM log"
)
_DAMAGED: Final = "damaged"


def repair_shards(root: Path) -> Iterator[Finding]:
    """What was done, shard by shard. Raises StoreFault, and what SQLite and the file system raise."""
    for folder in sorted(root.glob("[!.]*/*")):
        if newest_segment(folder):
            yield from repair_shard(folder)


def repair_shard(folder: Path) -> Iterator[Finding]:
    patients, lost_catalogue = patients_of(folder)
    active = patients[0]
    known = {} if lost_catalogue else _catalogue(active)
    for patient in patients:
        yield from _mend_index(folder, patient, known.get(patient.number))
    there = [patient for patient in patients if patient.path.exists()]
    for patient in there:
        yield from _mend_bodies(folder, patient)
    _write_catalogue(active, [_counted(patient, known.get(patient.number)) for patient in there if patient != active])
    if problem := database_problem(stats_path(folder)):
        set_aside(stats_path(folder))
        yield Finding(str(stats_path(folder)), problem, f"It lies in {_DAMAGED}/; the keeper makes another.")


def set_aside(path: Path) -> None:
    """Moves a file, and what SQLite keeps beside it, to where nothing reads it."""
    aside = path.parent / _DAMAGED
    aside.mkdir(mode=0o700, exist_ok=True)
    for part in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if part.exists():
            part.replace(_free(aside / part.name))
    sync_path(aside)
    sync_path(path.parent)


def _free(path: Path) -> Path:
    found, number = path, 0
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


def _catalogue(active: Patient) -> dict[int, Contents]:
    with closing(open_segment_readonly(active.path)) as db:
        return {held.number: held for held in read_earlier(db)}


def _mend_index(folder: Path, patient: Patient, known: Contents | None) -> Iterator[Finding]:
    path = str(patient.path)
    start = f"{segment_name(patient.number)}-"
    packs = {path.stem.removeprefix(start): path for path in folder.glob(f"{start}*.pack")}
    if not patient.path.exists():
        for pack in packs.values():
            set_aside(pack)
        yield Finding(path, "is missing", f"It is struck from the catalogue; its packs lie in {_DAMAGED}/.")
    elif problem := _problem(patient.path):
        made = patient.path.with_name(f".{patient.path.name}.salvaged")
        remove_database(made)
        sizes = {int(pack): path.stat().st_size for pack, path in packs.items() if pack.isdecimal()}
        rows = salvage(patient.path, made, sizes, known)
        set_aside(patient.path)
        made.rename(patient.path)
        sync_path(folder)
        yield Finding(path, problem, f"{rows} logs were salvaged; the damaged file lies in {_DAMAGED}/.")


def _problem(path: Path) -> str:
    if found := database_problem(path):
        return found
    try:
        open_segment_readonly(path).close()
    except UNSOUND as error:
        return f"cannot be opened: {error}"
    return ""


def _mend_bodies(folder: Path, patient: Patient) -> Iterator[Finding]:
    """Rows point no more to what is not there, and packs are said to be as long as they are."""
    with closing(open_segment(patient.path)) as db:
        lost = list(unsound_bodies(folder, db, patient.number))
        with writing(db):
            for side in SIDES:
                db.executemany(_LOSE.format(side), [(each.key,) for each in lost if each.side == side])
            away = away_packs(db)
            for pack, size in [row for row in db.execute(_PACKS, (REMOVED, MAKING)) if row[0] not in away]:
                path = pack_path(folder, segment_name(patient.number), pack)
                found = path.stat().st_size if path.exists() else 0
                if found < size:
                    db.execute("UPDATE pack SET bytes = ? WHERE id = ?", (found, pack))
            for statement in _COUNT:
                db.execute(statement)
        empty_wal(db)
    if lost:
        yield Finding(str(patient.path), f"{len(lost)} of its bodies are damaged or gone", "They are marked as lost.")


def _counted(patient: Patient, known: Contents | None) -> Contents:
    """What the catalogue is to say of a segment. What was removed of it, the old catalogue alone knows."""
    floor = NOTHING if known is None else known.floor
    with closing(open_segment_readonly(patient.path)) as db:
        row: tuple[int, int, int, int, int, int] = db.execute(_CONTENTS, (floor,)).get
        rows, first, last, arrived, size, gone = row
    arrived = max(arrived, known.arrived if known else 0)
    return Contents(patient.number, rows, first, last, arrived, size, int(".sealed" in patient.path.name), floor, gone)


def _write_catalogue(active: Patient, earlier: list[Contents]) -> None:
    with closing(open_segment(active.path)) as db:
        with writing(db):
            db.execute("DELETE FROM earlier")
            write_earlier(db, sorted(earlier))
            arrived = max((held.arrived for held in earlier), default=0)
            db.execute("UPDATE meta SET v = max(v, ?) WHERE key = 'arrived'", (arrived,))
        empty_wal(db)
