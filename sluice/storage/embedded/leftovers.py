"""Files of a shard that its catalogue does not name: left by a crash in the middle of a roll, a seal or a removal."""

import logging
import os
import re
from pathlib import Path
from typing import Final

from sluice.journal import fields
from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.open import database_path, remove_database, segment_name

_log = logging.getLogger(__name__)

_UNFINISHED: Final = re.compile(r"\.\d{8}(?:\.(?:db|sealed)\.tmp(?:-wal|-shm|-journal)?|-\d+\.pack\.tmp)")
_OF_SEGMENT: Final = re.compile(r"(\d{8})(\.sealed)?(?:\.db(?:-wal|-shm)?|-\d+\.pack)")


def remove_leftovers(folder: Path, active: int, earlier: list[Contents]) -> None:
    """The catalogue is on disk before any file that it no longer names is removed, so it is to be trusted."""
    sealed = {active: False} | {contents.number: bool(contents.sealed) for contents in earlier}
    for name in os.listdir(folder):
        if _UNFINISHED.fullmatch(name) or _is_unnamed(name, sealed):
            try:
                (folder / name).unlink()
            except OSError as error:
                _log.error("a leftover stays", extra=fields(shard=folder.name, file=name, error=str(error)))


def _is_unnamed(name: str, sealed: dict[int, bool]) -> bool:
    """Whether it is a file of a segment that is not there, or a database of which another copy counts."""
    found = _OF_SEGMENT.fullmatch(name)
    if found is None:
        return False
    number = int(found[1])
    return number not in sealed or (".db" in name and bool(found[2]) != sealed[number])


def remove_segment(folder: Path, number: int) -> None:
    """Removes the databases of a segment and its packs."""
    for sealed in (False, True):
        remove_database(database_path(folder, number, sealed=sealed))
    for pack in folder.glob(f"{segment_name(number)}-*.pack"):
        pack.unlink(missing_ok=True)
