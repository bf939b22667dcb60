"""Bodies too large for a frame, written to files of their own by one thread."""

import asyncio
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from sluice.journal import fields
from sluice.metrics import Counter
from sluice.spool.layout import sync_folder, write_all

_log = logging.getLogger(__name__)
_OPEN_FILES: Final = 64


class BodyFile:
    """One body on its way to disk. `handed` grows on the loop, `written` on the thread: neither needs a lock."""

    __slots__ = ("failed", "handed", "path", "written")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handed = 0
        self.written = 0
        self.failed = False

    @property
    def waiting(self) -> int:
        """Bytes of it that are not in the file yet."""
        return self.handed - self.written


class SideFiles:
    """Writes side files in the order they were handed over; all methods but the thread's own return at once.

    A body that cannot be written is lost, counted, and its file removed; its frame says how long it should be.
    With `durable` a settled file has been synced, else `retire` is given its descriptor to sync and close.
    """

    def __init__(self, folder: Path, *, durable: bool, retire: Callable[[int, Path], None], failures: Counter) -> None:
        self._folder, self._durable, self._retire, self._failures = folder, durable, retire, failures
        self._handed = 0
        self._written = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._open: OrderedDict[BodyFile, int] = OrderedDict()
        self._names_synced = True
        self._thread = threading.Thread(target=self._run, name="spool-side-files", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Bytes of all bodies that wait for the thread."""
        return self._handed - self._written

    def write(self, file: BodyFile, parts: list[bytes], size: int) -> None:
        file.handed += size
        self._handed += size
        self._jobs.put(partial(self._append, file, parts, size))

    def finish(self, file: BodyFile) -> None:
        """No more of it will come."""
        self._jobs.put(partial(self._close, file))

    def discard(self, file: BodyFile) -> None:
        """It is not wanted after all."""
        self._jobs.put(partial(self._remove, file))

    async def settled(self, file: BodyFile) -> None:
        """Returns once all of it that was handed over is in the file."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if self._durable:
            self._jobs.put(partial(self._sync, file))
        self._jobs.put(partial(_tell, loop, partial(_finish, done)))
        await done

    def when_written(self, loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
        """Calls `then` on the loop once all that was handed over so far is in its files."""
        self._jobs.put(partial(_tell, loop, then))

    def flush(self) -> None:
        """Waits, and the loop with it, until all that was handed over is written."""
        done = threading.Event()
        self._jobs.put(done.set)
        done.wait()

    def close(self) -> None:
        """Writes what waits, then ends."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        while self._open:
            self._let_go(*self._open.popitem())

    def _append(self, file: BodyFile, parts: list[bytes], size: int) -> None:
        try:
            if not file.failed:
                write_all(self._descriptor(file), b"".join(parts))
        except OSError as error:
            self._failures.add()
            _log.error("side file not written", extra=fields(file=file.path.name, error=str(error)))
            file.failed = True
            self._remove(file)
        finally:
            file.written += size
            self._written += size

    def _descriptor(self, file: BodyFile) -> int:
        fd = self._open.pop(file, -1)
        if fd < 0:
            if len(self._open) >= _OPEN_FILES:
                self._let_go(*self._open.popitem(last=False))
            fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._names_synced = False
        self._open[file] = fd
        return fd

    def _close(self, file: BodyFile) -> None:
        fd = self._open.pop(file, -1)
        if fd >= 0:
            self._let_go(file, fd)

    def _remove(self, file: BodyFile) -> None:
        fd = self._open.pop(file, -1)
        try:
            if fd >= 0:
                os.close(fd)  # which may tell of a write that failed late
            file.path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("side file not removed", extra=fields(file=file.path.name, error=str(error)))

    def _let_go(self, file: BodyFile, fd: int) -> None:
        if not self._durable:
            self._retire(fd, self._folder)
            return
        self._fdatasync(file, fd)
        try:
            os.close(fd)
        except OSError as error:  # as late as this: the thread must live on, for replies wait for it
            self._failures.add()
            _log.error("side file not closed", extra=fields(file=file.path.name, error=str(error)))

    def _sync(self, file: BodyFile) -> None:
        fd = self._open.get(file, -1)
        if fd >= 0:  # else it was synced when it was let go
            self._fdatasync(file, fd)
        if not self._names_synced:
            self._names_synced = True
            try:
                sync_folder(self._folder)
            except OSError as error:
                self._failures.add()
                _log.error("folder of side files not synced", extra=fields(error=str(error)))

    def _fdatasync(self, file: BodyFile, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self._failures.add()
            _log.error("side file not synced", extra=fields(file=file.path.name, error=str(error)))


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
