"""Packs of sealed segments that lie in a store of objects. A segment's database says which, in a table `away`.

A pack is in the store before its row says so, and leaves the folder after that is on disk; an object that no row names
is removed from the store. One task does both for a shard, as often as anything may have changed, until it succeeds.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import apsw

from sluice.journal import fields
from sluice.storage.embedded.catalogue import read_earlier
from sluice.storage.embedded.open import (
    database_path,
    datasync,
    empty_wal,
    newest_segment,
    open_segment,
    open_segment_readonly,
    segment_name,
    sync_path,
    writing,
)
from sluice.storage.embedded.pack_reader import dictionary_in
from sluice.storage.embedded.packs import ALONE, FULL, MB, Place, pack_path
from sluice.storage.ports import ObjectFault, ObjectMissing, Objects, StoreFault

_log = logging.getLogger(__name__)

RETRY_MS: Final = 60_000
_CREATE: Final = "CREATE TABLE IF NOT EXISTS away (pack INTEGER PRIMARY KEY) STRICT"
_HAS_AWAY: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'away'"
_PIECE_BYTES: Final = 1 * MB


def object_prefix(folder: Path) -> str:
    """Below which a shard's objects lie: as its folder does in the data folder."""
    return f"{folder.parent.name}/{folder.name}/"


def object_name(folder: Path, segment: str, pack: int) -> str:
    return object_prefix(folder) + pack_path(folder, segment, pack).name


def away_packs(db: apsw.Connection) -> set[int]:
    """Packs of this segment that lie in the store of objects."""
    if not db.execute(_HAS_AWAY).get:
        return set()
    return {pack for (pack,) in db.execute("SELECT pack FROM away")}


def create_away(db: apsw.Connection) -> None:
    """The table, where there is none yet."""
    db.execute(_CREATE)


def bring_home(objects: Objects, folder: Path, number: int, db: apsw.Connection, pack: int) -> None:
    """Has a pack in the folder again, whole and on disk. Raises ObjectFault and OSError."""
    path = pack_path(folder, segment_name(number), pack)
    name = object_name(folder, segment_name(number), pack)
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as file:
        at = 0
        while piece := _piece(objects, name, at):
            file.write(piece)
            at += len(piece)
        file.flush()
        datasync(file.fileno())
    draft.chmod(0o600)
    draft.rename(path)
    sync_path(folder)
    with writing(db):
        db.execute("DELETE FROM away WHERE pack = ?", (pack,))


def _piece(objects: Objects, name: str, at: int) -> bytes:
    """Empty at its end, past which a store may say that there is no such range."""
    size = objects.size(name)
    if size is None:
        raise ObjectMissing(f"{name}: there is no such object")
    return objects.read(name, at, min(_PIECE_BYTES, size - at)) if at < size else b""


class Moving:
    """Sends a shard's sealed packs away, and removes objects that nothing names; for the housekeeping's thread."""

    number: Final = 0

    def __init__(self, folder: Path, objects: Objects) -> None:
        self.sent = 0
        self.failed = False
        """Then it is to be done again later."""
        self._folder, self._objects = folder, objects
        self._stopped = False

    def run(self) -> None:
        """Raises what SQLite and the file system raise, and apsw.InterruptError where it was stopped."""
        try:
            named = {name for path, number in self._sealed() for name in self._send(path, number)}
            for name in list(self._objects.names(object_prefix(self._folder))):
                self._look_up()
                if name not in named:
                    self._objects.delete(name)
        except ObjectFault as error:
            self.failed = True
            _log.error("packs not sent away", extra=fields(gateway=self._folder.name, error=str(error)))

    def stop(self) -> None:
        self._stopped = True

    def discard(self) -> None:
        """Nothing: what was sent away stays so."""

    def _sealed(self) -> list[tuple[Path, int]]:
        number = newest_segment(self._folder)
        if not number:
            return []
        with closing(open_segment_readonly(database_path(self._folder, number))) as db:
            return [(held.path(self._folder), held.number) for held in read_earlier(db) if held.sealed and held.live]

    def _send(self, database: Path, number: int) -> Iterator[str]:
        """Sends what is not away yet; yields the names of all objects of the segment."""
        segment = segment_name(number)
        with suppress(apsw.CantOpenError), closing(open_segment(database)) as db:
            away = away_packs(db)
            full = [pack for (pack,) in db.execute("SELECT id FROM pack WHERE state IN (?, ?)", (FULL, ALONE))]
            for pack in full:
                self._look_up()
                path = pack_path(self._folder, segment, pack)
                name = object_name(self._folder, segment, pack)
                if pack not in away and path.exists():
                    self._send_one(db, pack, path, name)
                elif pack in away:
                    path.unlink(missing_ok=True)  # a crash came before it could be
                yield name
            if away_packs(db) != away:
                empty_wal(db)

    def _send_one(self, db: apsw.Connection, pack: int, path: Path, name: str) -> None:
        size = path.stat().st_size
        self._objects.put_file(name, path)
        if (found := self._objects.size(name)) != size:
            raise ObjectFault(f"{name}: {found} bytes came of {size}")
        with writing(db):
            create_away(db)
            db.execute("INSERT OR IGNORE INTO away VALUES (?)", (pack,))
        sync_path(Path(f"{db.filename}-wal"))
        path.unlink(missing_ok=True)
        self.sent += 1

    def _look_up(self) -> None:
        if self._stopped:
            raise apsw.InterruptError


class AwayBodies:
    """Reads bodies of packs that are away. The pieces read last are kept: to tell a dictionary reads the beginning."""

    def __init__(self, objects: Objects, kept: int = 32) -> None:
        self._objects, self._kept = objects, kept
        self._pieces: dict[tuple[str, int], bytes] = {}

    def dictionary_of(self, folder: Path, segment: str, place: Place) -> int:
        """As that of a local pack."""
        window = self.window(folder, segment, place)
        try:
            return 0 if window is None else dictionary_in(window.read())
        except FileNotFoundError:
            return 0

    def window(self, folder: Path, segment: str, place: Place) -> "AwayWindow | None":
        """The bytes of one body, to be read once; None where the row names none."""
        if place.pack is None or place.offset is None or not place.stored:
            return None
        return AwayWindow(self, object_name(folder, segment, place.pack), place.offset, place.stored)

    def piece(self, name: str, start: int, length: int) -> bytes:
        """Raises FileNotFoundError where there is no such object, StoreFault where the store cannot be asked."""
        length = min(length, _PIECE_BYTES)
        found = self._pieces.get((name, start))
        if found is None:
            try:
                found = self._objects.read(name, start, length)
            except ObjectMissing as error:
                raise FileNotFoundError(name) from error
            except ObjectFault as error:
                raise StoreFault(f"a body cannot be read from the store of objects: {error}") from error
            if len(self._pieces) >= self._kept:
                self._pieces.pop(next(iter(self._pieces)), None)  # another thread may have been quicker
            self._pieces[name, start] = found
        return found


class AwayWindow:
    """One frame inside an object, read piece by piece."""

    def __init__(self, bodies: AwayBodies, name: str, offset: int, stored: int) -> None:
        self._bodies, self._name, self._at = bodies, name, offset
        self.left = stored
        self._piece = b""

    def read(self, size: int = -1, /) -> bytes:
        if not self._piece and self.left:
            self._piece = self._bodies.piece(self._name, self._at, self.left)
            self._at += len(self._piece)
            self.left -= len(self._piece)
        size = len(self._piece) if size < 0 else size
        data, self._piece = self._piece[:size], self._piece[size:]
        return data

    def close(self) -> None:
        """Nothing is open between two reads."""
