"""Which logs the segments before the active one hold: asked for keys among theirs, of late logs and of replays."""

import logging
from pathlib import Path
from typing import Final

import apsw

from sluice.journal import fields
from sluice.storage.embedded.catalogue import NOTHING, Contents
from sluice.storage.embedded.open import open_segment_readonly

_log = logging.getLogger(__name__)

PROBES: Final = 64
"""How many keys upward of its own a log may lie, and is looked for."""
UNREADABLE: Final = (apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError)
NEAR: Final = "SELECT k, id FROM det WHERE k >= ? AND k < ?"


def tell_unreadable(path: Path, error: apsw.Error) -> None:
    """A segment that is damaged or missing must not keep new logs from being stored. Raises one that may pass."""
    if isinstance(error, apsw.CantOpenError) and path.exists():
        raise error
    _log.error("a segment cannot be read", extra=fields(path=str(path), error=str(error)))


class EarlierKeys:
    """Holds no file but during a batch that asks."""

    def __init__(self, folder: Path, earlier: list[Contents]) -> None:
        self._folder, self._earlier = folder, earlier
        self._open: dict[int, apsw.Connection] = {}
        self.last_key: Final = max((contents.last_key for contents in earlier), default=NOTHING)
        """No log of these segments lies above it."""

    def near(self, key: int) -> dict[int, bytes]:
        """The ids of the logs that lie where one with this key might."""
        found: dict[int, bytes] = {}
        if key <= self.last_key:
            for contents in self._earlier:
                if contents.reaches(key - 1, key + PROBES - 1):
                    found.update(self._near(contents, key))
        return found

    def _near(self, contents: Contents, key: int) -> dict[int, bytes]:
        """One that cannot be read holds nothing."""
        try:
            return dict(iter(self._database(contents).execute(NEAR, (key, key + PROBES))))
        except UNREADABLE as error:
            tell_unreadable(contents.path(self._folder), error)
            return {}

    def release(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _database(self, contents: Contents) -> apsw.Connection:
        db = self._open.get(contents.number)
        if db is None:
            db = self._open[contents.number] = open_segment_readonly(contents.path(self._folder))
        return db
