"""Looks through the shards of a data folder for damage, beside a running server or without one; changes nothing.

What the keeper changes meanwhile is no damage: where something is missing, the catalogue and the row are asked again.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from sluice.storage.embedded.away import away_packs, object_name
from sluice.storage.embedded.body_check import Unsound, unsound_bodies
from sluice.storage.embedded.catalogue import read_earlier
from sluice.storage.embedded.folding import stats_path
from sluice.storage.embedded.open import database_path, newest_segment, open_segment_readonly, segment_name
from sluice.storage.embedded.packs import MAKING, REMOVED, pack_path
from sluice.storage.ports import ObjectFault, Objects, StoreFault
from sluice.values.finding import Finding
from sluice.values.ids import text_of

SQLITE: Final = apsw.sqlite_lib_version()
UNSOUND: Final = (apsw.Error, StoreFault)
_NAMED: Final = 3
"""So many of the logs that are concerned are named, and so many problems of one database."""
_DOUBTS: Final = (
    ("SELECT v FROM meta WHERE key = 'rows'", "SELECT count(*) FROM log", "logs are counted"),
    ("SELECT count(*) FROM log", "SELECT count(*) FROM log JOIN det USING (k)", "logs have their details"),
)
_RESTORE: Final = "restore it from a backup"


class Patient(NamedTuple):
    """A segment as its shard's catalogue names it."""

    number: int
    path: Path
    active: bool


class Look(NamedTuple):
    """How to look."""

    bodies: bool
    """Whether to decompress every stored body and compare its checksum."""
    told: Callable[[str], None] = lambda said: None
    """Hears what is looked at."""
    objects: Objects | None = None
    """Where packs may lie that are away."""


def inspect_shards(root: Path, look: Look) -> Iterator[Finding]:
    """All that is wrong with the shards below `root`."""
    for folder in sorted(root.glob("[!.]*/*")):
        look.told(f"{folder.parent.name}/{folder.name}")
        yield from inspect_shard(folder, look)


def inspect_shard(folder: Path, look: Look) -> Iterator[Finding]:
    if not _is_writable(folder):
        yield Finding(str(folder), "may not be written to: what comes waits in the spool", f"chmod 700 {folder}")
    if not newest_segment(folder):
        if any(folder.glob("*.pack")) or any(folder.glob("*.db")):
            yield Finding(str(folder), "has no segment that takes logs", _RESTORE)
        return
    patients, why = patients_of(folder)
    if why:
        yield Finding(str(patients[0].path), why, "its readable part is kept, and the catalogue made anew", True)
    for patient in patients:
        if not (why and patient.active):
            look.told(f"{folder.name} {patient.path.name}")
            yield from _inspect_segment(folder, patient, look)
    if problem := database_problem(stats_path(folder)):
        yield Finding(str(stats_path(folder)), problem, "it is made anew of the segments there are", True)


def _is_writable(folder: Path) -> bool:
    """By its mode too: whoever looks may be more than the server is."""
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK) and folder.stat().st_mode & stat.S_IRWXU == stat.S_IRWXU


def patients_of(folder: Path) -> tuple[list[Patient], str]:
    """The segments of a shard, the active one first; and why its catalogue cannot be read, where it cannot.

    Then they are those of which there are files.
    """
    number = newest_segment(folder)
    active = Patient(number, database_path(folder, number), True)
    try:
        with closing(open_segment_readonly(active.path)) as db:
            earlier = [Patient(held.number, held.path(folder), False) for held in read_earlier(db)]
    except UNSOUND as error:
        found = {int(path.name[:8]): path for path in sorted(folder.glob("[0-9]*.db"))}
        earlier = [Patient(each, path, False) for each, path in found.items() if each != number]
        return [active, *earlier], f"cannot be opened: {error}"
    return [active, *earlier], ""


def database_problem(path: Path) -> str:
    """What SQLite finds wrong with a database, empty for nothing; one that is not there is sound."""
    if not path.exists():
        return ""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(5_000)
            found = [line for (line,) in db.execute(f"PRAGMA integrity_check({_NAMED})")]
    except apsw.Error as error:
        return f"cannot be read: {error}"
    return "" if found == ["ok"] else "is damaged: " + "; ".join(found)


def _inspect_segment(folder: Path, patient: Patient, look: Look) -> Iterator[Finding]:
    path = str(patient.path)
    try:
        problem = database_problem(patient.path)
        if problem and patient.path.exists():
            yield Finding(path, problem, "its readable part is kept", True)
        elif patient.path.exists():
            with closing(open_segment_readonly(patient.path)) as db:
                yield from _inspect_counts(db, patient)
                yield from _inspect_packs(folder, db, patient, look.objects)
                if look.bodies:
                    yield from _inspect_bodies(folder, db, patient)
    except UNSOUND as error:
        if patient.path.exists():
            yield Finding(path, f"cannot be read: {error}", "its readable part is kept", True)
    if not patient.path.exists():
        yield from _inspect_missing(folder, patient, look)


def _inspect_missing(folder: Path, patient: Patient, look: Look) -> Iterator[Finding]:
    """It may have been sealed or removed a moment ago: then the catalogue names another file, or none."""
    named = next((each for each in patients_of(folder)[0] if each.number == patient.number), None)
    if named is not None and named.path != patient.path:
        yield from _inspect_segment(folder, named, look)
    elif named is not None:
        what, remedy = "is missing, with its logs", f"{_RESTORE}, or have it struck from the catalogue"
        yield Finding(str(patient.path), what, remedy, True)


def _inspect_counts(db: apsw.Connection, patient: Patient) -> Iterator[Finding]:
    for said, counted, what in _DOUBTS:
        with db:  # both of one moment
            one, other = db.execute(said).get, db.execute(counted).get
        if one != other:
            yield Finding(str(patient.path), f"{one} {what}, {other} are there", "they are counted anew", True)


def _inspect_packs(folder: Path, db: apsw.Connection, patient: Patient, objects: Objects | None) -> Iterator[Finding]:
    away, untold = away_packs(db), 0
    for pack, size in list(db.execute("SELECT id, bytes FROM pack WHERE state NOT IN (?, ?)", (REMOVED, MAKING))):
        path = pack_path(folder, segment_name(patient.number), pack)
        if pack in away and not path.exists():
            if objects:
                yield from _inspect_object(object_name(folder, segment_name(patient.number), pack), size, objects)
            untold += objects is None
            continue
        found = path.stat().st_size if path.exists() else 0
        if found >= size or not db.execute("SELECT 1 FROM pack WHERE id = ? AND state <> ?", (pack, REMOVED)).get:
            continue
        what = f"ends at {found} of {size} bytes" if path.exists() else "is missing"
        yield Finding(str(path), what, "bodies that are gone are marked as lost; their logs stay", True)
    if untold:
        what = f"keeps {untold} of its packs in a store of objects, and packs.url is not set: nobody looked at them"
        yield Finding(str(patient.path), what, "run this with the settings of the server (SLUICE_CONFIG)")


def _inspect_object(name: str, size: int, objects: Objects) -> Iterator[Finding]:
    """What is in it is not looked at."""
    try:
        found = objects.size(name) or 0
    except ObjectFault as error:
        yield Finding(name, f"cannot be looked at: {error}", "see to the store of objects")
        return
    if found < size:
        yield Finding(name, f"has {found} of {size} bytes in the store of objects", _RESTORE)


def _inspect_bodies(folder: Path, db: apsw.Connection, patient: Patient) -> Iterator[Finding]:
    damaged: dict[int, list[Unsound]] = {}
    for unsound in unsound_bodies(folder, db, patient.number):
        damaged.setdefault(unsound.pack, []).append(unsound)
    for pack, found in damaged.items():
        names = [text_of(int.from_bytes(each.log_id, "big")) for each in found[:_NAMED]]
        what = f"{len(found)} bodies in it are damaged, as of log {', '.join(names)}"
        path = pack_path(folder, segment_name(patient.number), pack)
        yield Finding(str(path), what, "they are marked as lost; their logs stay", True)
