"""The keeper's end of the spool: reads frames in order, tells torn tails from damage, removes what is done with."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sluice.journal import Field, fields
from sluice.spool.bad import keep_file, keep_span
from sluice.spool.frames import (
    FILE_HEADER_BYTES,
    MAGIC,
    FileHeader,
    FrameError,
    decode_file_header,
    find_span,
    frame_bytes,
    log_id_of,
)
from sluice.spool.layout import file_path, file_seqs, side_files, spool_names, touched_s, unowned
from sluice.values.ids import key_of
from sluice.values.log import Position

_LARGEST_KEY: Final = (1 << 63) - 1
_log = logging.getLogger(__name__)
_CHUNK_BYTES: Final = 1024 * 1024
BEGINNING: Final = Position(0, 0)
_EVERY_KEY: Final = (1 << 63) - 1


class Found(NamedTuple):
    """A frame in a spool: where it begins, the position past it, and its bytes."""

    start: Position
    end: Position
    gateway_id: bytes
    data: bytes


class _Again(NamedTuple):
    """A file that is read again, and what its frames' checksums begin with."""

    seq: int
    fd: int
    seed: int


class SpoolTail:
    """Reads one spool onwards from a position: whole frames with a valid crc, in the order they were written.

    An unfinished frame at the end of the newest file is waited for. A file that has a successor is never written
    again: an unfinished frame at its end is a torn tail, which nobody was told of, and is skipped. Damage is skipped
    up to the next valid frame, kept in `bad/` and counted in `bad` (with `set_aside` off only counted).
    """

    def __init__(self, folder: Path, position: Position = BEGINNING, *, set_aside: bool = True) -> None:
        self.folder = folder
        self.name = folder.name
        self.header: FileHeader | None = None
        """Of the file at the position, None until it could be read."""
        self.bad = 0
        self._keeps_bad = set_aside
        self._fd = -1
        self._again = _Again(-1, 0, 0)
        self._seq, self._offset = position
        self._stuck = (0, 0)

    @property
    def position(self) -> Position:
        """All before it was handed out or skipped."""
        return Position(self._seq, self._offset)

    def take(self, limit_bytes: int = _CHUNK_BYTES) -> list[Found]:
        """The next frames, about `limit_bytes` of them; fewer are all there is."""
        found = self._take_some(limit_bytes)
        left = limit_bytes - sum(len(each.data) for each in found)
        while left > limit_bytes // 2 and (more := self._take_some(left)):
            found += more
            left -= sum(len(each.data) for each in more)
        return found

    def read(self, start: Position, end: Position) -> bytes:
        """A frame again that was found before. Raises FrameError where the file is not what it was."""
        again = self._again if self._again.seq == start.seq else self._open_again(start.seq)
        data = os.pread(again.fd, end.offset - start.offset, start.offset)
        span = find_span(data, 0, again.seed)
        if span is None or span.end != len(data):
            raise FrameError("the frame is cut short")
        return data

    def quarantine(self, start: Position, data: bytes) -> None:
        """Keeps bytes that cannot be used for people to look at, and counts them."""
        self.bad += 1
        try:
            keep_span(self.folder, start.seq, start.offset, data)
        except OSError as error:
            _log.error("bad frame not copied", extra=self._about(start, error=str(error)))

    def close(self) -> None:
        self._close_again()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_again(self, seq: int) -> "_Again":
        """A file behind the position: it stays open, for whoever is behind reads all of it again, frame by frame."""
        self._close_again()
        try:
            fd = os.open(file_path(self.folder, seq), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise FrameError("the spool file is gone") from error
        try:
            self._again = _Again(seq, fd, decode_file_header(os.pread(fd, FILE_HEADER_BYTES, 0)).seed)
        except BaseException:
            os.close(fd)
            raise
        return self._again

    def _close_again(self) -> None:
        if self._again.seq >= 0:
            os.close(self._again.fd)
            self._again = _Again(-1, 0, 0)

    def _take_some(self, limit_bytes: int) -> list[Found]:
        """The next frames of one file."""
        while self._fd >= 0 or self._open():
            found = self._read(limit_bytes, final=False)
            if found:
                return found
            later = [seq for seq in file_seqs(self.folder) if seq > self._seq]
            if not later:
                break
            # its writer left it before it made the next one, but maybe after we had read to its end
            found = self._read(limit_bytes, final=True)
            if found:
                return found
            self._go_to(later[0])
        self._close_again()  # whoever has read everything is not behind: the file may be removed
        return []

    def _open(self) -> bool:
        """Opens the file at the position, or else the next one whose header can be read."""
        seqs = [seq for seq in file_seqs(self.folder) if seq >= self._seq]
        for seq in seqs:
            try:
                fd = os.open(file_path(self.folder, seq), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its maker could not write the header
            head = os.pread(fd, FILE_HEADER_BYTES, 0)
            try:
                header = decode_file_header(head)
            except FrameError as error:
                os.close(fd)
                if seq == seqs[-1]:
                    return False  # it is being made, or its maker died: then a successor will come
                if len(head) == FILE_HEADER_BYTES:
                    self._quarantine_file(seq, error)
                continue
            self._offset = max(FILE_HEADER_BYTES, self._offset if seq == self._seq else 0)
            self._seq, self._fd, self.header = seq, fd, header
            return True
        return False

    def _go_to(self, seq: int) -> None:
        os.close(self._fd)
        self._fd = -1
        self._seq, self._offset = seq, 0

    def _read(self, limit_bytes: int, *, final: bool) -> list[Found]:
        """The frames at the position. `final`: the file grows no more, so what is unreadable is skipped for good."""
        assert self.header is not None
        seed = self.header.seed
        buffer = os.pread(self._fd, limit_bytes, self._offset)
        while buffer:
            found, torn = self._split(buffer, seed)
            if found:
                return found
            if torn and (wanted := frame_bytes(buffer)) > len(buffer) == limit_bytes:
                limit_bytes = wanted  # a frame longer than the limit
            elif not self._skip(torn=torn, final=final, seed=seed):
                return []
            buffer = os.pread(self._fd, limit_bytes, self._offset)
        return []

    def _split(self, buffer: bytes, seed: int) -> tuple[list[Found], bool]:
        """The frames that the buffer begins with, and whether the rest may be the beginning of another."""
        found = []
        seq, base, at = self._seq, self._offset, 0
        start = Position(seq, base)
        try:
            while (span := find_span(buffer, at, seed)) is not None:
                stop, gateway_id = span
                end = Position(seq, base + stop)
                found.append(Found(start, end, gateway_id, buffer[at:stop]))
                at, start = stop, end
            torn = True
        except FrameError:
            torn = False
        self._offset = base + at
        return found, torn

    def _skip(self, *, torn: bool, final: bool, seed: int) -> bool:
        """Moves past unreadable bytes at the position, if it is time to; False is to wait for more."""
        size = os.fstat(self._fd).st_size
        before, self._stuck = self._stuck, (self._offset, size)
        if not final and (before == self._stuck or (torn and before[0] != self._offset)):
            return False  # nothing new, or nothing but a frame on its way
        rest = os.pread(self._fd, size - self._offset, self._offset)
        next_at = _next_frame(rest, seed)
        if next_at is None and not final:
            return False
        if next_at is not None or not torn:
            self._keep(rest[:next_at])
        self._offset += len(rest) if next_at is None else next_at
        return True

    def _keep(self, data: bytes) -> None:
        if self._keeps_bad:
            _log.error("spool file damaged", extra=self._about(self.position))
            self.quarantine(self.position, data)
        else:
            self.bad += 1

    def _quarantine_file(self, seq: int, error: FrameError) -> None:
        """A whole file without a readable header: a second name keeps it when the first is removed."""
        self.bad += 1
        if self._keeps_bad:
            _log.error("spool file put aside", extra=self._about(Position(seq, 0), error=str(error)))
            try:
                keep_file(self.folder, seq)
            except OSError as failed:
                _log.error("spool file not kept", extra=self._about(Position(seq, 0), error=str(failed)))

    def _about(self, place: Position, **more: str) -> dict[str, Mapping[str, Field]]:
        return fields(spool=self.name, file=place.seq, offset=place.offset, **more)


class SpoolReader:
    """All spools under one root, those of workers long dead too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tails: dict[str, SpoolTail] = {}

    def names(self) -> list[str]:
        return spool_names(self.root)

    def tail(self, name: str, position: Position = BEGINNING) -> SpoolTail:
        """The reader of one spool, which starts at `position` where it is first asked for."""
        tail = self._tails.get(name)
        if tail is None:
            tail = self._tails[name] = SpoolTail(self.root / name, position)
        return tail

    def remove_files(self, name: str, mark: Position) -> None:
        """Removes the files that end before the mark, never the newest: it tells the next holder where to go on."""
        folder = self.root / name
        for seq in file_seqs(folder)[:-1]:
            if seq < mark.seq:
                file_path(folder, seq).unlink(missing_ok=True)

    def remove_side_files(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    def sweep(self, name: str, mark: Position) -> int:
        """Removes side files whose frame never came; returns how many.

        They are those of former holders, once the mark is past their files; and all, once it is at the end of a spool
        that nobody holds.
        """
        orphans = side_files(self.root / name)
        if not orphans:
            return 0
        with self._past(name, mark) as key:
            orphans = [path for path in orphans if _key(path) <= key]
            self.remove_side_files(orphans)
        return len(orphans)

    def past(self, name: str, mark: Position) -> int:
        """The key up to which no frame will come any more: its holder is dead, and the mark is past all it wrote."""
        with self._past(name, mark) as key:
            return key

    def deaths(self, name: str) -> list[tuple[int, float]]:
        """The last key of each holder that the files tell of, ascending, and when it was last seen, Unix seconds.

        The next holder has written that down; of the last one, whose key is open, the lock tells.
        """
        folder = self.root / name
        headers = [_header_of(file_path(folder, seq)) for seq in file_seqs(folder)]
        told = [(header.floor, float(header.former_s)) for header in headers if header is not None]
        return [*told, (_EVERY_KEY, touched_s(folder))]

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    @contextmanager
    def _past(self, name: str, mark: Position) -> Iterator[int]:
        """What `past` tells; it holds true until the block ends."""
        tail = self.tail(name)
        header = tail.header
        if header is None or mark.seq != tail.position.seq:
            yield -1
        elif mark != tail.position:
            yield header.floor
        else:
            with unowned(tail.folder) as dead:
                yield _EVERY_KEY if dead and not _has_more(tail) else header.floor


def last_key(folder: Path) -> int:
    """No key above it was ever minted for this spool and left a trace: a file header, a frame or a side file."""
    best = max(map(_key, side_files(folder)), default=0)
    for seq in reversed(file_seqs(folder)):
        tail = SpoolTail(folder, Position(seq, 0), set_aside=False)
        while found := tail.take():
            best = max(best, *(_key_in(frame) for frame in found))
        header = tail.header
        tail.close()
        if header is not None:
            best = max(best, header.last_key)
            break
    return min(best, _LARGEST_KEY)  # an imported log may have any


def _header_of(path: Path) -> FileHeader | None:
    try:
        with path.open("rb") as file:
            return decode_file_header(file.read(FILE_HEADER_BYTES))
    except (OSError, FrameError):
        return None


def _has_more(tail: SpoolTail) -> bool:
    probe = SpoolTail(tail.folder, tail.position, set_aside=False)
    try:
        return bool(probe.take()) or probe.position.seq != tail.position.seq
    finally:
        probe.close()


def _next_frame(data: bytes, seed: int) -> int | None:
    """Where the next valid frame begins after byte 0, which begins none."""
    at = data.find(MAGIC, 1)
    while at >= 0:
        try:
            if find_span(data, at, seed) is not None:
                return at
        except FrameError:
            pass
        at = data.find(MAGIC, at + 1)
    return None


def _key(side_file: Path) -> int:
    try:
        return key_of(side_file.stem)
    except ValueError:
        return 0


def _key_in(frame: Found) -> int:
    try:
        return key_of(log_id_of(frame.data))
    except (FrameError, ValueError):
        return 0
