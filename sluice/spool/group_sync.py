"""Makes appended bytes survive a power loss, many appends at a time, on a thread that nobody need wait for."""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sluice.journal import fields
from sluice.metrics import Counter
from sluice.spool.layout import sync_folder

_log = logging.getLogger(__name__)
_CHORE_S = 1.0

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class GroupSync:
    """Syncs one growing file every `interval_s` while it grows, and closes what it is told to.

    It alone closes descriptors: it may be syncing them when their writer moves on. `chore` is called about once a
    second on the same thread, also while nothing is written.
    """

    def __init__(self, interval_s: float, failures: Counter, chore: Callable[[], None]) -> None:
        self._interval_s, self._failures, self._chore = interval_s, failures, chore
        self._fd = -1
        self._dirty = False
        self._retired: deque[int] = deque()
        self._folders: deque[Path] = deque()
        self._waiters: deque[Waiter] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="spool-sync", daemon=True)
        self._thread.start()

    def follow(self, fd: int, folder: Path | None = None) -> None:
        """From now on `fd` is the growing file (-1: none) in `folder`; the one before is synced and closed."""
        if folder is not None:
            self._folders.append(folder)
        if self._fd >= 0:
            self._retired.append(self._fd)
        self._fd = fd
        self._wake.set()

    def retire(self, fd: int, folder: Path) -> None:
        """Syncs and closes a file in `folder` that grows no more."""
        self._folders.append(folder)
        self._retired.append(fd)
        self._wake.set()

    def touch(self) -> None:
        """The growing file has grown."""
        if not self._dirty:
            self._dirty = True
            self._wake.set()

    async def durable(self) -> None:
        """Returns once all that was appended before the call is on disk, or could not be and was counted."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiters.append((loop, done))
        self._wake.set()
        await done

    def stop(self) -> None:
        """Syncs and closes everything."""
        self.follow(-1)
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        chore_at = time.monotonic() + _CHORE_S
        stopping = False
        while not stopping:
            if self._wake.wait(_CHORE_S) and not self._waiters and not self._stopping:
                time.sleep(self._interval_s)
            stopping = self._stopping
            self._wake.clear()
            self._dirty = False  # after clear(): whoever finds it True has written before the sync below
            self._round()
            if time.monotonic() >= chore_at:
                started = time.monotonic()
                self._chore()
                # a costly chore is done less often: it must not take more than a twentieth of the time
                chore_at = time.monotonic() + max(_CHORE_S, 20 * (time.monotonic() - started))

    def _round(self) -> None:
        waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]  # they wait for what is there now
        current = self._fd  # before the retired ones: a file that is left meanwhile is then among one or the other
        while self._retired:
            fd = self._retired.popleft()
            self._sync(fd)
            self._close(fd)
            if fd == current:
                current = -1
        if current >= 0:
            self._sync(current)
        for folder in {self._folders.popleft() for _ in range(len(self._folders))}:
            self._sync_folder(folder)
        for loop, done in waiters:
            _resolve(loop, done)

    def _sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self._failures.add()
            _log.error("spool file not synced", extra=fields(error=str(error)))

    def _close(self, fd: int) -> None:
        try:
            os.close(fd)
        except OSError as error:  # some file systems tell of a failed write as late as this
            self._failures.add()
            _log.error("spool file not closed", extra=fields(error=str(error)))

    def _sync_folder(self, folder: Path) -> None:
        try:
            sync_folder(folder)
        except OSError as error:
            self._failures.add()
            _log.error("spool folder not synced", extra=fields(error=str(error)))


def _resolve(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    try:
        loop.call_soon_threadsafe(_finish, done)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
