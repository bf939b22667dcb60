"""Reads every body of a segment where it lies, in the order in which they lie, and tells of those that are damaged."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import zstandard

from sluice.storage.embedded.away import away_packs
from sluice.storage.embedded.dictionaries import read_dictionary
from sluice.storage.embedded.open import segment_name
from sluice.storage.embedded.packs import PIECE_BYTES, STREAM_BYTES, pack_path

SIDES: Final = ("req", "res")
_BODIES: Final = (
    "SELECT k, {0}_off, {0}_z, {0}_len FROM det WHERE {0}_pack = ? AND {0}_z > 0 AND k > ? ORDER BY k LIMIT ?"
)
_SINCE: Final = (
    "SELECT {0}_pack, k, {0}_off, {0}_z, {0}_len, id FROM arrival JOIN det USING (k)"
    " WHERE n > ? AND {0}_z > 0 ORDER BY {0}_pack"
)
_PLACE: Final = "SELECT {0}_pack = ? AND {0}_off = ? FROM det WHERE k = ?"
_ROWS_AT_ONCE: Final = 2_000
"""Between them no read transaction is open: the WAL can shrink."""


class Unsound(NamedTuple):
    """A body that is not what its row says."""

    pack: int
    side: str
    key: int
    log_id: bytes


class _Body(NamedTuple):
    key: int
    offset: int
    stored: int
    length: int


def unsound_bodies(folder: Path, db: apsw.Connection, number: int) -> Iterator[Unsound]:
    """Bodies of this segment that are damaged, or gone without their row saying so; of packs that are not away."""
    check = _Check(folder, db, number)
    away = away_packs(db)
    packs = [pack for (pack,) in db.execute("SELECT id FROM pack") if pack not in away]
    for pack in packs:
        for side in SIDES:
            yield from check.pack(pack, side)


def unsound_since(folder: Path, db: apsw.Connection, number: int, arrived: int) -> Iterator[Unsound]:
    """The same of those that were stored past this place in the ingest sequence, for the only writer."""
    check = _Check(folder, db, number)
    for side in SIDES:
        for pack, rows in groupby(db.execute(_SINCE.format(side), (arrived,)), itemgetter(0)):
            with check.opened(pack) as file:
                for _, *body, log_id in rows:
                    if not check.is_sound(file, _Body(*body)):
                        yield Unsound(pack, side, body[0], log_id)


class _Check:
    def __init__(self, folder: Path, db: apsw.Connection, number: int) -> None:
        self._folder, self._db, self._number = folder, db, number
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}

    def pack(self, pack: int, side: str) -> Iterator[Unsound]:
        with self.opened(pack) as file:
            for body in self._bodies(pack, side):
                if not self.is_sound(file, body) and self._lies_there(pack, side, body):
                    log_id: bytes = self._db.execute("SELECT id FROM det WHERE k = ?", (body.key,)).get
                    yield Unsound(pack, side, body.key, log_id)

    @contextmanager
    def opened(self, pack: int) -> Iterator[int]:
        """Its descriptor; -1 where there is no such file."""
        try:
            file = os.open(pack_path(self._folder, segment_name(self._number), pack), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield -1
            return
        try:
            yield file
        finally:
            os.close(file)

    def is_sound(self, file: int, body: _Body) -> bool:
        if file < 0:
            return False
        try:
            if body.length < STREAM_BYTES:
                frame = os.pread(file, body.stored, body.offset)
                return len(self._decompressor(frame).decompress(frame)) == body.length
            return self._streamed(file, body) == body.length
        except (zstandard.ZstdError, OSError):
            return False

    def _bodies(self, pack: int, side: str) -> Iterator[_Body]:
        after = -1
        while rows := [_Body(*row) for row in self._db.execute(_BODIES.format(side), (pack, after, _ROWS_AT_ONCE))]:
            after = rows[-1].key
            yield from rows

    def _streamed(self, file: int, body: _Body) -> int:
        """The length of a large body, read piece by piece."""
        stream = zstandard.ZstdDecompressor().decompressobj()
        at, end, length = body.offset, body.offset + body.stored, 0
        while at < end and (piece := os.pread(file, min(PIECE_BYTES, end - at), at)):
            at += len(piece)
            length += len(stream.decompress(piece))
        return length if stream.eof else -1

    def _decompressor(self, frame: bytes) -> zstandard.ZstdDecompressor:
        """Raises ZstdError where the frame names a dictionary that the segment does not have."""
        number = zstandard.get_frame_parameters(frame).dict_id
        found = self._decompressors.get(number)
        if found is None:
            data = read_dictionary(self._db, number) if number else None
            if number and data is None:
                raise zstandard.ZstdError(f"there is no dictionary {number}")
            known = zstandard.ZstdCompressionDict(data) if data else None
            found = self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=known)
        return found

    def _lies_there(self, pack: int, side: str, body: _Body) -> bool:
        """Whether its row still says so: it may have been compacted or deleted since it was read."""
        return bool(self._db.execute(_PLACE.format(side), (pack, body.offset, body.key)).get)
