"""Frames that were read from the spools and are not stored yet: queued per gateway, remembered in order per spool."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sluice.journal import fields
from sluice.keeper.crash_note import Place
from sluice.spool.frames import FrameError, ImportedFrame, LogFrame, is_command
from sluice.spool.layout import is_consoles
from sluice.spool.reader import BEGINNING, Found, SpoolReader, SpoolTail
from sluice.values.log import Position, ShardKey

_log = logging.getLogger(__name__)

Frame = LogFrame | ImportedFrame
"""What a frame with a log is decoded to."""

READ_BYTES: Final = 1024 * 1024
MAX_QUEUED: Final = 100_000
"""Frames queued at once. Past it nothing is read on: the spool is the queue."""
_PAUSE_S: Final = 1.0


class Work:
    """One frame to be stored. `data` is None where it did not fit into memory: it is read again when its turn comes."""

    __slots__ = ("data", "done", "found_s", "gateway_id", "side_files", "span", "spool", "tail")

    def __init__(self, tail: SpoolTail, found: Found, found_s: float, *, keep: bool) -> None:
        self.tail = tail
        self.spool = tail.name
        start, end, self.gateway_id, data = found
        self.span = (start, end)
        self.data = data if keep else None
        self.found_s = found_s
        self.done = False
        self.side_files: tuple[Path, ...] = ()

    @property
    def place(self) -> Place:
        return Place(self.gateway_id, self.spool, self.span[0])

    @property
    def size(self) -> int:
        return self.span[1].offset - self.span[0].offset

    def frame(self) -> bytes:
        """Its bytes. Raises FrameError where the file is not what it was."""
        return self.data if self.data is not None else self.tail.read(*self.span)

    def put_aside(self) -> None:
        """Keeps its bytes in `bad/`: it cannot be stored."""
        self.tail.quarantine(self.span[0], self.frame())


class Line:
    """The frames of one gateway, in order. While its store fails it is left alone for growing spells."""

    __slots__ = ("delay_s", "gateway_id", "hurried", "retry_s", "shard", "works")

    def __init__(self, gateway_id: bytes) -> None:
        self.gateway_id = gateway_id
        self.works: deque[Work] = deque()
        self.shard: ShardKey | None = None
        """Where its last frames went."""
        self.retry_s = 0.0
        self.delay_s = 0.0
        self.hurried = False
        """Whether a command waits for one of them: then they wait for no others."""

    def head(self, rows: int, size: int) -> list[Work]:
        """The first frames, up to so many and so many bytes, one at least."""
        batch: list[Work] = []
        for work in self.works:
            size -= work.size
            if batch and (size < 0 or len(batch) >= rows):
                break
            batch.append(work)
        return batch

    def back_off(self, bounds_s: tuple[float, float]) -> None:
        """It is left alone, longer each time; all others go on."""
        shortest_s, longest_s = bounds_s
        self.delay_s = min(max(self.delay_s * 2, shortest_s), longest_s)
        self.retry_s = time.monotonic() + self.delay_s


class _Spool:
    __slots__ = ("bad", "looked_s", "pause_s", "spent", "tail", "unstored")

    def __init__(self, tail: SpoolTail, now_s: float) -> None:
        self.tail = tail
        self.unstored: deque[Work] = deque()
        self.spent: list[Path] = []
        self.looked_s = now_s
        self.pause_s = 0.0
        self.bad = 0


class Intake:
    """All that waits. Bytes kept in memory are bounded, and so is the number of frames known."""

    def __init__(self, reader: SpoolReader, marks: dict[str, Position], pending_bytes: int) -> None:
        self._reader, self._marks, self._pending_bytes = reader, marks, pending_bytes
        self._spools: dict[str, _Spool] = {}
        self._held = 0
        self.queued = 0
        self.lines: dict[bytes, Line] = {}
        """Gateways with frames to be stored."""
        self.behind = False
        """Whether the last read left something unread."""
        self.caught_up = False
        """Whether it read, of every spool, all that was there when it had read the commands."""
        self._commands: list[Work] = []
        self.bad = 0
        """Damaged spans met and frames put aside so far."""

    def read(self, now_s: float) -> int:
        """Reads a piece of every spool; returns how many frames there were.

        Those of consoles first: what a command may be about was in the spools before it.
        """
        count = 0
        self.behind, self.caught_up = False, True
        for name in reversed(self._reader.names()):
            spool = self._spools.get(name)
            if spool is None:
                tail = self._reader.tail(name, self._marks.get(name, BEGINNING))
                spool = self._spools[name] = _Spool(tail, now_s)
            room = self.queued < MAX_QUEUED or (is_consoles(name) and self.queued < 2 * MAX_QUEUED)
            if room and now_s >= spool.pause_s:
                count += self._read_spool(spool, now_s)
            else:
                self.caught_up = False
        self.caught_up = self.caught_up and not self.behind
        return count

    def take_commands(self) -> list[Work]:
        """Commands that were read since the last call. Each is to be told to `finish`."""
        commands, self._commands = self._commands, []
        return commands

    def finish(self, command: Work) -> None:
        """The command has run, or will not."""
        self._release(command)
        self.queued -= 1

    def done(self, line: Line, works: list[Work]) -> None:
        """The first frames of a line are stored, dropped or put aside."""
        for work in works:
            self._release(work)
            line.works.popleft()
        self.queued -= len(works)
        if not line.works:
            del self.lines[line.gateway_id]

    def put_aside(self, work: Work) -> None:
        """It cannot be stored or run: its bytes are kept for people to look at."""
        work.done = True
        try:
            work.put_aside()
        except (FrameError, OSError) as error:
            _log.error("frame lost", extra=fields(spool=work.spool, error=str(error)))
            self.bad += 1

    def marks(self) -> dict[str, Position]:
        """How far each spool is done with."""
        marks = {}
        for name, spool in self._spools.items():
            unstored = spool.unstored
            while unstored and unstored[0].done:
                spool.spent += unstored.popleft().side_files
            marks[name] = unstored[0].span[0] if unstored else spool.tail.position
        return marks

    def take_spent(self) -> Iterator[Path]:
        """Side files of frames before the marks."""
        for spool in self._spools.values():
            yield from spool.spent
            spool.spent = []

    def _release(self, work: Work) -> None:
        if work.data is not None:
            self._held -= work.size
            work.data = None
        work.done = True

    def _read_spool(self, spool: _Spool, now_s: float) -> int:
        tail = spool.tail
        try:
            found = tail.take(READ_BYTES)
        except OSError as error:
            _log.error("spool not read", extra=fields(spool=tail.name, error=str(error)))
            spool.pause_s = now_s + _PAUSE_S
            self.caught_up = False
            return 0
        self.bad += tail.bad - spool.bad
        spool.bad = tail.bad
        # written after the last look: that is how old they may be
        looked_s, spool.looked_s = spool.looked_s, now_s
        lines, unstored, held, bound = self.lines, spool.unstored, self._held, self._pending_bytes
        for each in found:
            keep = held < bound
            work = Work(tail, each, looked_s, keep=keep)
            if keep:
                held += len(each.data)
            unstored.append(work)
            if is_command(each.data):
                self._commands.append(work)
                continue
            line = lines.get(each.gateway_id)
            if line is None:
                line = lines[each.gateway_id] = Line(each.gateway_id)
            line.works.append(work)
        self._held = held
        self.queued += len(found)
        self.behind = self.behind or sum(len(each.data) for each in found) >= READ_BYTES // 2
        return len(found)
