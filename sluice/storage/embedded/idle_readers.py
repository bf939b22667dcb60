"""Connections to segments that nobody reads just now, kept a while for whoever comes next."""

import time
from pathlib import Path
from threading import Lock, Timer
from typing import Final

import apsw

from sluice.storage.embedded.segment_reader import SegmentReader

_KEPT: Final = 64
IDLE_S: Final = 10.0
"""A file that is removed leaves the disk when its last connection is closed."""


class IdleReaders:
    """Threads may share it."""

    def __init__(self) -> None:
        self._idle: list[tuple[float, SegmentReader]] = []
        """The longest idle first, with the time since when."""
        self._lock = Lock()
        self._timer: Timer | None = None

    def take(self, path: Path) -> SegmentReader | None:
        """A connection to this very file: a shard dropped and made anew has another one at its path. None: no file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        file = found.st_dev, found.st_ino
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][1].file == file:
                    return self._idle.pop(index)[1]
        try:
            return SegmentReader(path, file)
        except apsw.CantOpenError:
            if path.exists():
                raise
            return None  # removed just now

    def give_back(self, reader: SegmentReader) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), reader))
            surplus = self._idle.pop(0)[1] if len(self._idle) > _KEPT else None
            self._set_timer()
        if surplus:
            surplus.close()

    def close_unused(self, now_s: float) -> None:
        """Closes what nobody took for so long."""
        with self._lock:
            self._timer = None
            unused = [reader for since_s, reader in self._idle if now_s - since_s >= IDLE_S]
            del self._idle[: len(unused)]
            if self._idle:
                self._set_timer()
        for reader in unused:
            reader.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            timer, self._timer = self._timer, None
        if timer:
            timer.cancel()
            timer.join()
        for _, reader in idle:
            reader.close()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = Timer(IDLE_S, lambda: self.close_unused(time.monotonic()))
            self._timer.daemon = True
            self._timer.start()
