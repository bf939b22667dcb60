"""Connections to segments that nobody reads just now, kept for whoever comes next."""

from pathlib import Path
from threading import Lock
from typing import Final

import apsw

from sluice.storage.embedded.segment_reader import SegmentReader

_KEPT: Final = 64


class IdleReaders:
    """Threads may share it."""

    def __init__(self) -> None:
        self._idle: list[SegmentReader] = []
        self._lock = Lock()

    def take(self, path: Path) -> SegmentReader | None:
        """A connection to this very file: a shard dropped and made anew has another one at its path. None: no file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        file = found.st_dev, found.st_ino
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index].file == file:
                    return self._idle.pop(index)
        try:
            return SegmentReader(path, file)
        except apsw.CantOpenError:
            if path.exists():
                raise
            return None  # removed just now

    def give_back(self, reader: SegmentReader) -> None:
        with self._lock:
            self._idle.append(reader)
            surplus = self._idle.pop(0) if len(self._idle) > _KEPT else None
        if surplus:
            surplus.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.close()
