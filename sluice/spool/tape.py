"""Records one body as it passes: in memory while it is small, in a side file when it is not."""

import asyncio
from pathlib import Path
from typing import Final

from sluice.spool.layout import Side, side_path
from sluice.spool.sidefiles import BodyFile, SideFiles
from sluice.values.settings import MB

_HAND_OVER_BYTES: Final = 64 * 1024
"""Pieces that the thread is given: it is not woken for every event of a stream."""
BEHIND_BYTES: Final = 1 * MB
BEHIND_ALL_BYTES: Final = 16 * MB


class Desk:
    """What all tapes of a worker share: the thread that writes side files, and how much memory they take."""

    __slots__ = ("folder", "held", "inline_bytes", "recording_bytes", "sides")

    def __init__(self, folder: Path, sides: SideFiles, inline_bytes: int, recording_bytes: int) -> None:
        self.folder, self.sides = folder, sides
        self.inline_bytes = inline_bytes
        self.recording_bytes = recording_bytes
        self.held = 0
        """Bytes in memory, but for those that wait for the thread."""


class Whole:
    """A body that came in one piece, small enough for its frame: recorded without a tape."""

    __slots__ = ("length", "parts")

    file: None = None
    settled = True
    behind = False

    def __init__(self, data: bytes) -> None:
        self.parts = (data,)
        self.length = len(data)

    def finish(self) -> None:
        """The frame is written."""

    def discard(self) -> None:
        """It will not be logged."""


class Tape:
    """One body. `length` is all that passed, `truncated` whether it was more than `limit` and is recorded up to it.

    Whoever has a tape ends it once: by appending its exchange to the spool, or by `discard()`.
    """

    __slots__ = ("_ceiling", "_desk", "_held", "_name", "file", "length", "limit", "parts", "truncated")

    def __init__(self, desk: Desk, log_id: str, side: Side, limit: int) -> None:
        self._desk, self._name, self.limit = desk, (log_id, side), limit
        self._ceiling = min(desk.inline_bytes, limit)
        """Up to this length bytes are only kept; -1 once nothing is recorded any more."""
        self._held = 0
        self.parts: list[bytes] = []
        self.file: BodyFile | None = None
        self.length = 0
        self.truncated = False

    def add(self, data: bytes) -> None:
        """Records the next bytes. Cheap: it keeps them, and now and then hands a pile to the thread."""
        size = len(data)
        length = self.length = self.length + size
        desk = self._desk
        if length <= self._ceiling and desk.held + size <= desk.recording_bytes:
            self.parts.append(data)
            self._held += size
            desk.held += size
        elif self._ceiling >= 0:
            self._reach(data, size)

    @property
    def recorded(self) -> int:
        """How much of the body is kept."""
        return min(self.length, self.limit)

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it is still in memory."""
        return b"".join(self.parts) if self.file is None and not self.truncated else None

    @property
    def behind(self) -> bool:
        """Whether so much waits for the disk that the sender should wait too, until `settle()` returns."""
        file = self.file
        return file is not None and (
            file.waiting > BEHIND_BYTES or (file.waiting > 0 and self._desk.sides.waiting > BEHIND_ALL_BYTES)
        )

    @property
    def settled(self) -> bool:
        """Whether nothing of it waits for the disk."""
        return self.file is None or (not self._held and not self.file.waiting)

    async def settle(self) -> None:
        """Returns once all that was recorded is where its frame will say it is; at once if that is memory."""
        if self.file is not None:
            self.hand_over()
            await self._desk.sides.settled(self.file)

    async def reread(self, start: int, size: int) -> bytes:
        """Some of what was recorded, from memory or from the disk. Raises OSError where it is not there any more."""
        if self.file is None:
            return b"".join(self.parts)[start : start + size]
        await self.settle()
        return await asyncio.to_thread(_read, self.file.path, start, size)

    def discard(self) -> None:
        """Forgets the body: it will not be logged."""
        self._let_go()
        if self.file is not None:
            self._desk.sides.discard(self.file)
            self.file = None

    def finish(self) -> None:
        """The frame is written: the spool has the body now."""
        self._desk.held -= self._held
        self._held = 0
        self._ceiling = -1
        if self.file is not None:
            self._desk.sides.finish(self.file)

    def hand_over(self) -> None:
        """Gives the thread what is in memory."""
        if self.file is None:
            self.file = BodyFile(side_path(self._desk.folder, *self._name))
        if self._held:
            self._desk.sides.write(self.file, self.parts, self._held)
            self._desk.held -= self._held
            self.parts, self._held = [], 0

    def _reach(self, data: bytes, size: int) -> None:
        """The bytes cross a bound: that of the body, of what stays in memory, of all tapes together."""
        desk = self._desk
        crowded = desk.held + size > desk.recording_bytes
        if self.length > self.limit:
            data = data[: size - (self.length - self.limit)]
            self.truncated = True
        self.parts.append(data)
        self._held += len(data)
        desk.held += len(data)
        if self.file is not None or crowded or self.recorded > desk.inline_bytes:
            self.hand_over()
            self._ceiling = min(self.length + _HAND_OVER_BYTES, self.limit)
        if self.truncated:
            self._ceiling = -1

    def _let_go(self) -> None:
        self._desk.held -= self._held
        self.parts, self._held = [], 0
        self._ceiling = -1


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    if len(data) < size:
        raise OSError(f"{path.name} is short")
    return data


Recording = Tape | Whole
