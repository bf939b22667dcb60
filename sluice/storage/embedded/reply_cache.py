"""The reply cache of a worker: a shelf in memory over a file that all workers share."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from threading import Condition, Thread
from typing import Final

from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.storage.embedded.cache_file import SWEEP_S, CacheFault, CacheFile, IsCurrent
from sluice.storage.shelf import Shelf
from sluice.values.caching import KeptReply, Place
from sluice.values.settings import CacheSettings

_log = logging.getLogger(__name__)

QUEUED_BYTES: Final = 64 * 1024 * 1024
"""So much may wait to be written; what comes then stays in memory alone."""
BATCH_BYTES: Final = 8 * 1024 * 1024
GATHER_S: Final = 0.05
"""How long a reply that is to be written waits for others: a thread that writes often holds the event loop up."""
FIND_S: Final = 2.0
"""How long a reply is looked for on the disk, its turn included: then it is a miss."""
COMPLAIN_S: Final = 60.0
CHECKED_S: Final = 5.0
"""What lies in memory for so long is looked for in the file again: another worker may have kept a newer reply."""


class EmbeddedReplyCache:
    """ReplyCache over `cache.db`. Reads have a thread of their own, and so has the one that writes and sweeps."""

    def __init__(
        self, path: Path, settings: CacheSettings, metrics: Metrics, is_current: IsCurrent,
        clock_s: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._clock_s = clock_s
        self._shelf = Shelf(settings.memory_bytes)
        self._memory_bytes = metrics.gauge("sluice_cache_memory_bytes", "Replies kept in memory.")
        self._faults = metrics.counter("sluice_cache_faults_total", "Uses of cache.db that failed: misses instead.")
        self._disk = settings.disk_bytes > 0
        self._checked_s = CHECKED_S if self._disk else inf
        self._reading = CacheFile(path, settings.disk_bytes)
        self._reader = ThreadPoolExecutor(1, "cache-reader")
        self._writer = CacheWriter(CacheFile(path, settings.disk_bytes), metrics, is_current, self._failed, clock_s)
        self._complained_s = -COMPLAIN_S
        if self._disk:
            self._writer.start()

    def at_hand(self, key: bytes) -> KeptReply | None:
        now_s = self._clock_s()
        return self._shelf.get(key, now_s, now_s - self._checked_s)

    async def find(self, key: bytes) -> KeptReply | None:
        if (found := self.at_hand(key)) is not None or not self._disk:
            return found
        now_s = self._clock_s()
        found = self._shelf.get(key, now_s)
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(FIND_S):
                filed = await loop.run_in_executor(self._reader, self._reading.get, key, now_s)
            if found is None or (filed is not None and filed.expires_s >= found.expires_s):
                found = filed  # else what is in memory was renewed here, and did not get into the file
        except CacheFault as fault:
            self._failed(fault)
        except TimeoutError:
            self._failed(CacheFault(f"nothing was read of it in {FIND_S:g} s"))
        if found is not None and self.at_hand(key) is None:
            self._put(key, found)
        return found

    def keep(self, place: Place, reply: KeptReply) -> None:
        self._put(place.key, reply)
        if self._disk:
            self._writer.add(place, reply)

    def close(self) -> None:
        """Writes what still waits."""
        if self._disk:
            self._writer.close()
        self._reader.shutdown()
        self._reading.close()

    def _put(self, key: bytes, reply: KeptReply) -> None:
        self._shelf.put(key, reply, self._clock_s())
        self._memory_bytes.set(self._shelf.bytes)

    def _failed(self, fault: CacheFault) -> None:
        self._faults.add()
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAIN_S:
            self._complained_s = now_s
            _log.warning("cache failed", extra=fields(fault=str(fault)))


class CacheWriter:
    """Writes replies behind those who were given them, in batches. What cannot be written is lost, and counted."""

    def __init__(
        self, file: CacheFile, metrics: Metrics, is_current: IsCurrent, failed: Callable[[CacheFault], None],
        clock_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._file, self._is_current, self._failed, self._clock_s = file, is_current, failed, clock_s
        self._waiting: deque[tuple[Place, KeptReply]] = deque()
        self._bytes = 0
        self._news = Condition()
        self._closing = False
        self._thread = Thread(target=self._run, name="cache-writer")
        self._queued = metrics.gauge("sluice_cache_queued_bytes", "Replies that wait to be written to cache.db.")
        self._dropped = metrics.counter("sluice_cache_dropped_total", "Replies not written to cache.db: too many.")

    def start(self) -> None:
        self._thread.start()

    def add(self, place: Place, reply: KeptReply) -> None:
        with self._news:
            if self._bytes + reply.size > QUEUED_BYTES:
                return self._dropped.add()
            self._waiting.append((place, reply))
            self._count(reply.size)
            if len(self._waiting) == 1:
                self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        swept_s = 0.0
        while batch := self._take(swept_s + SWEEP_S - time.monotonic()):
            try:
                if batch[0] is not None:
                    self._file.put([one for one in batch if one is not None])
                if time.monotonic() - swept_s >= SWEEP_S and not self._closing:
                    swept_s = time.monotonic()
                    self._file.sweep(self._clock_s(), self._is_current)
            except CacheFault as fault:
                self._failed(fault)
            except Exception:  # a last resort: the thread must outlive whatever a store of gateways says
                _log.exception("cache writer failed")
        self._file.close()

    def _take(self, wait_s: float) -> list[tuple[Place, KeptReply] | None]:
        """What is to be written next; None in it where only the time to sweep has come, nothing where all is over."""
        with self._news:
            if not self._closing and not self._waiting:
                self._news.wait_for(lambda: self._closing or self._waiting, max(wait_s, 0))
            if self._waiting and not self._closing:
                self._news.wait_for(lambda: self._closing, GATHER_S)
            batch: list[tuple[Place, KeptReply] | None] = []
            size = 0
            while self._waiting and size < BATCH_BYTES:
                one = self._waiting.popleft()
                size += one[1].size
                batch.append(one)
            self._count(-size)
            return batch or ([] if self._closing else [None])

    def _count(self, size: int) -> None:
        self._bytes += size
        self._queued.set(self._bytes)
