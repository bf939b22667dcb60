"""The hourly look through all shards, open or not, for packs to be compacted: nobody else knows what was deleted."""

import logging
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import apsw

from sluice.journal import fields
from sluice.storage.embedded.catalogue import pack_bytes, read_earlier, read_meta
from sluice.storage.embedded.compaction import wasteful_packs
from sluice.storage.embedded.open import database_path, newest_segment, open_idle_segment
from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey

_log = logging.getLogger(__name__)

SWEEP_MS: Final = 3_600_000
_SINCE_FORMAT: Final = 3
"""Older segments do not say since when bytes are dead. What is deleted from one makes it a newer one."""
_MOST: Final = 1_000


class Due(NamedTuple):
    """Packs of a segment to be compacted; none where the catalogue does not know what it takes.

    A keeper that ended after a compaction, and before it told the catalogue, leaves it so.
    """

    shard: ShardKey
    number: int
    packs: list[int]


class Sweep:
    """One look; for the housekeeping's thread."""

    number: Final = 0

    def __init__(self, root: Path, before_ms: int) -> None:
        self._root, self._before_ms = root, before_ms
        self._stopped = False
        self.found: list[Due] = []
        """At most so many; the rest is found by the next sweep."""

    def run(self) -> None:
        """Raises what the file system raises. A shard that cannot be read is left for the next time."""
        for folder in self._root.glob("[!.]*/*"):
            try:
                self.found += self._due(folder)
            except (apsw.Error, OSError, StoreFault) as error:
                _log.warning("a shard was not looked through", extra=fields(shard=folder.name, error=str(error)))
            if self._stopped or len(self.found) >= _MOST:
                return

    def stop(self) -> None:
        self._stopped = True

    def discard(self) -> None:
        self.found = []

    def _due(self, folder: Path) -> Iterator[Due]:
        newest = newest_segment(folder)
        if not newest:
            return
        account = unquote_to_bytes(os.fsencode(folder.parent.name)).decode("utf-8", "surrogatepass")
        shard = ShardKey(account, folder.name)
        with closing(open_idle_segment(database_path(folder, newest))) as db:
            if read_meta(db)["format"] < _SINCE_FORMAT:
                return
            earlier = read_earlier(db)
            if packs := wasteful_packs(db, self._before_ms):
                yield Due(shard, newest, packs)
        for held in earlier:
            with suppress(apsw.CantOpenError), closing(open_idle_segment(held.path(folder))) as db:
                if read_meta(db)["format"] < _SINCE_FORMAT:
                    continue
                packs = wasteful_packs(db, self._before_ms)
                if packs or (held.live and pack_bytes(db) != held.bytes):
                    yield Due(shard, held.number, packs)
