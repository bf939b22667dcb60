"""What the keeper was doing when it died, so that a log that kills it is found and put aside."""

import mmap
import os
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from sluice.values.log import Position

METERING_DEATH: Final = 3
STORING_DEATH: Final = 1
FATAL: Final = 6
"""A frame that was worked on alone is poisoned after two deaths in metering, which is all ours and takes microseconds,
or six around it: there the disk is waited for, and whoever kills the keeper for other reasons is likely to hit that."""

_BYTES: Final = 4096
_IDLE, _BATCH, _STORING, _METERING = range(4)
_MODE_AT: Final = 0
_PLACE: Final = Struct("<16sIQQI")
_CURRENT_AT: Final = 8
_SUSPECT_AT: Final = 64


class Place(NamedTuple):
    """A frame, by its gateway and where it begins."""

    gateway_id: bytes
    spool: str
    start: Position


class CrashNote:
    """A mapped page, written before each batch: it survives any death of the process and costs no call.

    After a death within a batch, the frames of that gateway are worked on one by one (`careful`). A frame that is
    then died over is the suspect, and after some more deaths `poisoned`.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.careful: set[bytes] = set()
        self._suspect, self._guilt = self._recall(_SUSPECT_AT)
        mode = memory[_MODE_AT]
        current, _ = self._recall(_CURRENT_AT)
        memory[_MODE_AT] = _IDLE  # first: rather a death too few is counted than one too many
        if mode in (_STORING, _METERING):
            before = self._guilt if current == self._suspect else 0
            self._guilt = before + (METERING_DEATH if mode == _METERING else STORING_DEATH)
            self._suspect = current
            self._put(_SUSPECT_AT, current, self._guilt)
        if mode != _IDLE:
            self.careful.add(current.gateway_id)
        if self._guilt:
            self.careful.add(self._suspect.gateway_id)

    @classmethod
    def open(cls, path: Path) -> "CrashNote":
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size != _BYTES:
                os.ftruncate(fd, 0)
                os.pwrite(fd, bytes(_BYTES), 0)  # no holes: to touch one on a full disk kills
            return cls(mmap.mmap(fd, _BYTES))
        finally:
            os.close(fd)

    def begin(self, place: Place, *, alone: bool) -> None:
        """Work on frames begins: on this one alone, or on a batch with this one first."""
        self._put(_CURRENT_AT, place, 0)
        self._memory[_MODE_AT] = _STORING if alone else _BATCH  # last: until then the place does not count

    def metering(self) -> None:
        """What follows is the meter's work."""
        if self._memory[_MODE_AT] == _STORING:
            self._memory[_MODE_AT] = _METERING

    def storing(self) -> None:
        """What follows is the store's."""
        if self._memory[_MODE_AT] == _METERING:
            self._memory[_MODE_AT] = _STORING

    def end(self) -> None:
        self._memory[_MODE_AT] = _IDLE

    def poisoned(self, place: Place) -> bool:
        """True from then on, for the frame may be met again until the mark is past it."""
        return self._guilt >= FATAL and place == self._suspect

    def close(self) -> None:
        self._memory.close()

    def _recall(self, at: int) -> tuple[Place, int]:
        gateway_id, spool, seq, offset, guilt = _PLACE.unpack_from(self._memory, at)
        return Place(gateway_id, str(spool), Position(seq, offset)), guilt

    def _put(self, at: int, place: Place, guilt: int) -> None:
        _PLACE.pack_into(self._memory, at, place.gateway_id, int(place.spool), *place.start, guilt)
