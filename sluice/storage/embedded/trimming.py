"""Retention: which logs of a shard go. Whole segments from the oldest on, and as many as it takes inside the next."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.open import open_segment_readonly
from sluice.storage.ports import Keep

_COUNT: Final = "SELECT count(*) FROM log WHERE k > ? AND k <= ?"
_LAST_OF: Final = "SELECT k FROM log WHERE k > ? ORDER BY k LIMIT 1 OFFSET ?"


class Trimming:
    """Raises floors: below its floor all of a segment is removed, with one number for ten logs or a million."""

    def __init__(self, folder: Path, contents: Sequence[Contents]) -> None:
        self._folder = folder
        self.contents = list(contents)
        """From the oldest segment to the active one."""

    @property
    def rows(self) -> int:
        return sum(held.live for held in self.contents)

    def trim(self, keep: Keep) -> None:
        if keep.since_ms is not None:
            self._forget_before(keep.since_ms << 21)
        if keep.bytes is not None:
            self._shrink(keep.bytes)
        if keep.rows is not None:
            self._thin(keep.rows)

    def _forget_before(self, key: int) -> None:
        for index, held in enumerate(self.contents):
            if held.rows and held.first_key < key:
                self._raise_floor(index, min(key - 1, held.last_key))

    def _shrink(self, limit: int) -> None:
        """A segment's bytes come free with its last log."""
        total = sum(held.bytes for held in self.contents if held.live)
        for index, held in enumerate(self.contents[:-1]):
            if held.live and total > limit:
                total -= held.bytes
                self._raise_floor(index, held.last_key)

    def _thin(self, limit: int) -> None:
        surplus = self.rows - limit
        for index, held in enumerate(self.contents):
            if surplus >= held.live > 0:
                surplus -= held.live
                self._raise_floor(index, held.last_key)
            elif surplus > 0 and held.live:
                with self._database(held) as db:
                    floor: int = db.execute(_LAST_OF, (held.floor, surplus - 1)).get
                self.contents[index] = held._replace(floor=floor, gone=held.gone + surplus)
                return

    def _raise_floor(self, index: int, floor: int) -> None:
        held = self.contents[index]
        if floor <= held.floor:
            return
        if floor == held.last_key:
            gone = held.rows
        else:
            with self._database(held) as db:
                gone = held.gone + int(db.execute(_COUNT, (held.floor, floor)).get)
        self.contents[index] = held._replace(floor=floor, gone=gone)

    def _database(self, held: Contents) -> closing[apsw.Connection]:
        return closing(open_segment_readonly(held.path(self._folder)))
