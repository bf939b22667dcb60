"""What nobody waits for, on one thread of low priority: segments are folded and sealed, unnamed files removed."""

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import apsw

from sluice.journal import fields
from sluice.storage.embedded.open import sync_path
from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey

_log = logging.getLogger(__name__)

_NICE: Final = 10


class Task(Protocol):
    """Work on one segment beside its writer, who settles what came of it. All but `run` are for any thread."""

    @property
    def number(self) -> int: ...

    def run(self) -> None:
        """Raises apsw.InterruptError where it was stopped, and what SQLite and the file system raise."""
        ...

    def stop(self) -> None:
        """Ends it soon."""
        ...

    def discard(self) -> None:
        """Takes back what was made."""
        ...


_Name = tuple[ShardKey, type[Task], int]


class Housekeeping:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "housekeeping", initializer=_give_way)
        self._tasks: dict[_Name, Task] = {}
        """Those that were begun and are not settled."""
        self._jobs: list[tuple[ShardKey, Future[None]]] = []
        self._finished: deque[tuple[ShardKey, Task]] = deque()

    def begin(self, shard: ShardKey, task: Task, *, apart: tuple[type[Task], ...] = ()) -> bool:
        """Begins a task, unless one of its kind, or of those to be kept apart, is under way for this segment."""
        name = shard, type(task), task.number
        if any((shard, kind, task.number) in self._tasks for kind in (type(task), *apart)):
            return False
        self._tasks[name] = task
        self._submit(shard, lambda: self._run(name, task))
        return True

    def do(self, shard: ShardKey, job: Callable[[], None]) -> None:
        """Does something that nobody settles."""
        self._submit(shard, job)

    def finished(self) -> tuple[ShardKey, Task] | None:
        """A task that has run, to be settled by the writer of its shard."""
        with suppress(IndexError):
            shard, task = self._finished.popleft()
            self._tasks.pop((shard, type(task), task.number), None)
            return shard, task
        return None

    def remove(self, shard: ShardKey, wal: Path, remove: Callable[[], None]) -> None:
        """Removes files once the transaction is on disk, in this WAL, by which nothing names them any more."""

        def job() -> None:
            with suppress(FileNotFoundError):
                sync_path(wal)
            remove()

        self._submit(shard, job)

    def forget(self, shard: ShardKey) -> None:
        """Ends all work on a shard, done or not. Nothing of it is touched any more when this returns."""
        for name, task in list(self._tasks.items()):
            if name[0] == shard:
                task.stop()
                del self._tasks[name]
        wait([job for of, job in self._jobs if of == shard and not job.cancel()])
        for found in [found for found in tuple(self._finished) if found[0] == shard]:
            self._finished.remove(found)  # the thread adds others meanwhile

    def close(self) -> None:
        """Ends what can be done again after the next start."""
        for task in list(self._tasks.values()):
            task.stop()
        self._thread.shutdown()

    def _submit(self, shard: ShardKey, job: Callable[[], None]) -> None:
        self._jobs = [(of, pending) for of, pending in self._jobs if not pending.done()]
        self._jobs.append((shard, self._thread.submit(self._told, shard, job)))

    def _told(self, shard: ShardKey, job: Callable[[], None]) -> None:
        """What fails costs space, and is done after the next start."""
        try:
            job()
        except (apsw.Error, OSError, StoreFault) as error:
            _log.error("housekeeping failed", extra=fields(gateway=shard.gateway, error=str(error)))

    def _run(self, name: _Name, task: Task) -> None:
        try:
            task.run()
        except apsw.InterruptError:
            task.discard()
        except BaseException:
            self._tasks.pop(name, None)
            task.discard()
            raise
        else:
            self._finished.append((name[0], task))


def _give_way() -> None:
    """On Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _NICE, 19))
