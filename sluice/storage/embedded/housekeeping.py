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
from typing import Final

import apsw

from sluice.journal import fields
from sluice.storage.embedded.folding import Fold
from sluice.storage.embedded.open import sync_path
from sluice.storage.embedded.sealing import Seal
from sluice.storage.ports import StoreFault
from sluice.values.log import ShardKey

_log = logging.getLogger(__name__)

_NICE: Final = 10


class Housekeeping:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "housekeeping", initializer=_give_way)
        self._seals: dict[tuple[ShardKey, int], Seal] = {}
        self._jobs: list[tuple[ShardKey, Future[None]]] = []
        self._sealed: deque[tuple[ShardKey, Seal]] = deque()
        self._folds: dict[tuple[ShardKey, int], Fold] = {}
        self._folded: deque[tuple[ShardKey, int]] = deque()

    def fold(self, shard: ShardKey, folder: Path, number: int) -> None:
        """Begins to fold a segment, unless it has begun already."""
        if (shard, number) not in self._folds:
            fold = self._folds[shard, number] = Fold(folder, number)
            self._submit(shard, lambda: self._run_fold(shard, fold))

    def folded(self) -> tuple[ShardKey, int] | None:
        """A segment whose roll-ups are in stats.db now."""
        return self._folded.popleft() if self._folded else None

    def seal(self, shard: ShardKey, folder: Path, number: int) -> None:
        """Begins to seal a segment, unless it has begun already."""
        if (shard, number) not in self._seals:
            seal = self._seals[shard, number] = Seal(folder, number)
            self._submit(shard, lambda: self._run(shard, seal))

    def sealed(self) -> tuple[ShardKey, Seal] | None:
        """A copy that is ready to take its segment's place."""
        with suppress(IndexError):
            shard, seal = self._sealed.popleft()
            self._seals.pop((shard, seal.number), None)
            return shard, seal
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
        for (of, number), seal in list(self._seals.items()):
            if of == shard:
                seal.stop()
                del self._seals[of, number]
        for fold in [fold for (of, _), fold in list(self._folds.items()) if of == shard]:
            fold.stop()
        wait([job for of, job in self._jobs if of == shard and not job.cancel()])
        for found in [found for found in self._sealed if found[0] == shard]:
            self._sealed.remove(found)
        for key in [key for key in list(self._folds) if key[0] == shard]:
            del self._folds[key]
        for done in [done for done in tuple(self._folded) if done[0] == shard]:
            self._folded.remove(done)

    def close(self) -> None:
        """Ends what can be done again after the next start."""
        for seal in list(self._seals.values()):
            seal.stop()
        for fold in list(self._folds.values()):
            fold.stop()
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

    def _run(self, shard: ShardKey, seal: Seal) -> None:
        try:
            seal.run()
        except apsw.InterruptError:
            seal.discard()
        except BaseException:
            self._seals.pop((shard, seal.number), None)
            seal.discard()
            raise
        else:
            self._sealed.append((shard, seal))

    def _run_fold(self, shard: ShardKey, fold: Fold) -> None:
        try:
            fold.run()
        except apsw.InterruptError:
            pass
        else:
            self._folded.append((shard, fold.number))
        finally:
            self._folds.pop((shard, fold.number), None)


def _give_way() -> None:
    """On Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _NICE, 19))
