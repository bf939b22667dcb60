"""The worker's end of the spool: one frame per log, on disk before the last byte of the reply leaves.

Consoles have one too, for commands.
"""

import asyncio
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.spool.frames import (
    FILE_HEADER_BYTES,
    MAX_FRAME_BYTES,
    FileHeader,
    FrameError,
    encode_command_frame,
    encode_file_header,
    encode_imported_frame,
    encode_log_frame,
    encode_opened_frame,
    side_length,
)
from sluice.spool.group_sync import GroupSync
from sluice.spool.layout import (
    Side,
    file_path,
    file_seqs,
    lock,
    make_folder,
    side_folder,
    spool_bytes,
    touch_lock,
    touched_s,
    write_all,
)
from sluice.spool.reader import last_key
from sluice.spool.sidefiles import SideFiles
from sluice.spool.tape import Desk, Recording, Tape
from sluice.values.command import Command
from sluice.values.exchange import Exchange
from sluice.values.ids import WORKERS, Mint
from sluice.values.log import NewLog
from sluice.values.settings import MB, SpoolSettings
from sluice.values.tenancy import Gateway

_log = logging.getLogger(__name__)
_MEND_S: Final = 0.25
"""How long a spool that failed is left alone before it is tried again."""


class SpoolTaken(Exception):
    """All numbers are held by living processes."""


class SpoolRefuses(Exception):
    """A command cannot be kept now; the message says why."""


class SpoolWriter:
    """The only writer of one spool folder. All methods belong to the event loop's thread.

    `append` is the one thing that a worker does for a log. It never raises: a log that cannot be written is counted
    and named in the process log, and the reply goes on.
    """

    def __init__(
        self,
        root: Path,
        number: int,
        held: int,
        settings: SpoolSettings,
        metrics: Metrics,
        *,
        body_bytes: int,
        clock_s: Callable[[], float],
    ) -> None:
        self.number = number
        self._root, self._folder, self._lock = root, root / str(number), held
        self._settings, self._metrics, self._body_bytes, self._clock_s = settings, metrics, body_bytes, clock_s
        self._floor = last_key(self._folder)
        self._former_s = int(touched_s(self._folder)) if self._floor else 0
        self.mint = Mint(number % WORKERS, self._floor)
        self._incarnation = secrets.token_bytes(16)
        self._frames = metrics.counter("sluice_spool_frames_total", "Log frames appended to the spool.")
        failures = metrics.counter("sluice_spool_failures_total", "Writes and syncs of the spool that failed.")
        self._failures = failures
        self._appended = 0
        """Bytes this writer ever appended."""
        self._bound = settings.max_bytes
        """The spool is full once `_appended` is past it; set anew about once a second."""
        self._fd, self._offset = -1, 0
        self._path = self._folder
        """Of the file that is open, if one is."""
        self._broken = False
        self._mend_at = 0.0
        self._late: deque[Callable[[], None]] = deque()
        self._seq = max(file_seqs(self._folder), default=int(time.time()))
        power = settings.durability == "power"
        self._sync = GroupSync(0.0 if power else settings.sync_ms / 1000, failures, self._chore)
        self._sides = SideFiles(side_folder(self._folder), durable=power, retire=self._sync.retire, failures=failures)
        inline_bytes = min(settings.inline_body_bytes, MAX_FRAME_BYTES // 4)
        self._desk = Desk(self._folder, self._sides, inline_bytes, settings.recording_bytes)
        self.measure()

    @classmethod
    def open(
        cls,
        root: Path,
        settings: SpoolSettings,
        metrics: Metrics,
        *,
        body_bytes: int = 100 * MB,
        clock_s: Callable[[], float] = time.monotonic,
        numbers: Iterable[int] = range(WORKERS),
    ) -> "SpoolWriter":
        """Takes the first of the numbers that no living process holds, and opens a new file in its folder.

        Bodies are recorded up to `body_bytes` each. On a full disk it begins as one that has failed: it serves, counts
        what it loses, and goes on once there is room. Raises SpoolTaken, and OSError where no folder can be had.
        """
        make_folder(root)
        number, held = _claim(root, numbers)
        try:
            writer = cls(root, number, held, settings, metrics, body_bytes=body_bytes, clock_s=clock_s)
        except BaseException:
            os.close(held)
            raise
        try:
            writer._begin()
            touch_lock(held)
        except BaseException:
            writer.close()
            raise
        return writer

    def tape(self, log_id: str, side: Side) -> Tape:
        """Records one body of the exchange `log_id`."""
        return Tape(self._desk, log_id, side, self._body_bytes)

    @property
    def inline_bytes(self) -> int:
        """How long a body may be to be recorded as a Whole."""
        return self._desk.inline_bytes

    def append(self, gateway: Gateway, exchange: Exchange, request: Recording, response: Recording) -> None:
        """Appends the exchange and ends both tapes. When it returns the frame survives this process.

        Tapes should be settled: if one is not, the frame follows once they are, rather than hold up the loop.
        """
        if (request.file is None or request.settled) and (response.file is None or response.settled):
            self._write(gateway, exchange, request, response)
            return
        for tape in (request, response):
            if isinstance(tape, Tape) and not tape.settled:
                tape.hand_over()
        self._late.append(partial(self._write, gateway, exchange, request, response))
        self._sides.when_written(asyncio.get_running_loop(), self._write_late)

    def announce(self, gateway: Gateway, exchange: Exchange) -> None:
        """Appends what is known of an exchange that goes on, so that it is in the log even if this process dies.

        It may be said again when more is known. Where the spool takes none, the exchange is logged when it ends.
        """
        if self._appended > self._bound or (self._broken and not self._mend()):
            return
        try:
            parts = encode_opened_frame(gateway.id, exchange, seed=self._seed)
        except (FrameError, ValueError, OverflowError) as error:
            _log.error("opening not written", extra=fields(log_id=exchange.id, error=str(error)))
            return
        if self._put(parts):
            self._turn()

    def order(self, gateway_id: bytes, command: Command) -> None:
        """Appends a command. When it returns the frame survives this process. Raises SpoolRefuses: none is dropped."""
        if self._appended > self._bound:
            raise SpoolRefuses("the spool is full")
        if self._broken and not self._mend():
            raise SpoolRefuses("the spool cannot be written")
        if not self._put(encode_command_frame(gateway_id, command, seed=self._seed)):
            raise SpoolRefuses("the spool cannot be written")
        self._turn()

    def bring(self, gateway_id: bytes, account: str, log: NewLog) -> None:
        """Appends a log from elsewhere. When it returns the frame survives this process.

        Raises SpoolRefuses, and FrameError for one that no frame can hold.
        """
        if self._appended > self._bound:
            raise SpoolRefuses("the spool is full")
        if self._broken and not self._mend():
            raise SpoolRefuses("the spool cannot be written")
        try:
            parts = encode_imported_frame(gateway_id, account, log, seed=self._seed)
        except (ValueError, OverflowError) as error:
            raise FrameError(f"the log cannot be written: {error}") from error
        if not self._put(parts):
            raise SpoolRefuses("the spool cannot be written")
        self._turn()

    async def durable(self) -> None:
        """Returns once all that was appended before is on disk, or could not be and was counted."""
        await self._sync.durable()

    def measure(self) -> None:
        """Finds out how much more may be appended until the spool is full."""
        before = self._appended
        try:
            self._bound = before + self._settings.max_bytes - spool_bytes(self._root)
        except OSError as error:
            _log.error("spool not measured", extra=fields(error=str(error)))

    @property
    def full(self) -> bool:
        return self._appended > self._bound

    @property
    def refusing(self) -> bool:
        """Whether requests that must be logged are to be turned away now."""
        return self._settings.when_full == "refuse" and (self.full or not self.writable)

    @property
    def writable(self) -> bool:
        """Whether the last append succeeded, or the next one may."""
        return not self._broken or self._mend()

    def close(self) -> None:
        """Writes and syncs what waits, then lets go of the spool. Twice is harmless."""
        if self._mend_at == inf:
            return
        self._sides.flush()
        while self._late:
            self._late.popleft()()
        self._sides.close()
        self._fd, self._broken, self._mend_at = -1, True, inf  # whoever comes late must not write into another's file
        self._sync.stop()
        os.close(self._lock)

    def _chore(self) -> None:
        """What the sync thread does every second."""
        touch_lock(self._lock)
        self.measure()

    def _write_late(self) -> None:
        if self._late:
            self._late.popleft()()

    def _write(self, gateway: Gateway, exchange: Exchange, request: Recording, response: Recording) -> None:
        if self._appended > self._bound and self._settings.when_full == "drop":
            self._drop("spool_full", gateway, request, response)
            return
        if self._broken and not self._mend():
            self._drop("spool_failed", gateway, request, response)
            return
        asked, answered = request.file, response.file
        try:
            parts = encode_log_frame(
                gateway.id,
                exchange,
                request.parts if asked is None else side_length(asked.handed),
                response.parts if answered is None else side_length(answered.handed),
                request_in_side_file=asked is not None,
                response_in_side_file=answered is not None,
                seed=self._seed,
            )
        except (FrameError, ValueError, OverflowError) as error:  # lone surrogates, numbers past 64 bits
            _log.error("log not written", extra=fields(log_id=exchange.id, error=str(error)))
            self._drop("unwritable", gateway, request, response)
            return
        if not self._put(parts):
            self._drop("spool_failed", gateway, request, response)
            return
        self._frames.add()
        request.finish()
        response.finish()
        self._turn()

    def _put(self, parts: list[bytes]) -> bool:
        """Appends a frame to the file; False where it cannot be."""
        size = len(parts[0]) + len(parts[1])
        try:
            written = os.writev(self._fd, parts)
            if written != size:
                write_all(self._fd, b"".join(parts)[written:])
        except OSError as error:
            self._fail(error)
            return False
        self._appended += size
        self._offset += size
        self._sync.touch()
        return True

    def _turn(self) -> None:
        if self._offset >= self._settings.file_bytes:
            self._rotate()

    def _drop(self, reason: str, gateway: Gateway, request: Recording, response: Recording) -> None:
        self._metrics.counter(
            "sluice_logs_dropped_total",
            "Logs that were lost, by gateway and reason.",
            account=gateway.account,
            gateway=gateway.name,
            reason=reason,
        ).add()
        request.discard()
        response.discard()

    def _begin(self) -> None:
        try:
            self._open_file()
        except OSError as error:
            self._failures.add()
            _log.error("no spool file to begin with", extra=fields(spool=self.number, error=str(error)))
            self._broken = True
            self._mend_at = self._clock_s() + _MEND_S

    def _fail(self, error: OSError) -> None:
        """Leaves the file that failed: what follows a torn frame must stand in another one."""
        self._failures.add()
        _log.error("append failed", extra=fields(spool=self.number, file=self._seq, error=str(error)))
        self._broken = True
        self._mend_at = self._clock_s() + _MEND_S
        if os.fstat(self._fd).st_size > FILE_HEADER_BYTES:  # else nothing is in it: it goes when another can be made
            self._sync.follow(-1)
            self._fd = -1

    def _mend(self) -> bool:
        now = self._clock_s()
        if now < self._mend_at:
            return False
        self._mend_at = now + _MEND_S
        empty = self._path if self._fd >= 0 else None
        try:
            self._open_file()  # its header shows that there is room: hope alone lets requests in that lose their logs
            if empty is not None:
                empty.unlink(missing_ok=True)
        except OSError as error:
            _log.error("no new spool file", extra=fields(spool=self.number, error=str(error)))
            return False
        self._broken = False
        return True

    def _rotate(self) -> None:
        try:
            self._open_file()
        except OSError as error:
            _log.warning("spool file not rotated", extra=fields(spool=self.number, error=str(error)))
            self._offset = 0  # try again after as many bytes

    def _open_file(self) -> None:
        self._seq += 1  # also after a failure: a number is never used twice
        path = file_path(self._folder, self._seq)
        header = FileHeader(
            self.number,
            self._seq,
            self._incarnation,
            self._floor,
            max(self._floor, self.mint.last_key),
            self._former_s,
        )
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, encode_file_header(header))
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._seed = header.seed
        self._fd, self._path, self._offset = fd, path, FILE_HEADER_BYTES
        self._sync.follow(fd, self._folder)


def _claim(root: Path, numbers: Iterable[int]) -> tuple[int, int]:
    for number in numbers:
        folder = root / str(number)
        make_folder(folder)
        make_folder(side_folder(folder))
        held = lock(folder)
        if held is not None:
            return number, held
    raise SpoolTaken("all numbers of spools are taken")
