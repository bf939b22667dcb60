"""The embedded backend of LogWriter: all shards of a data folder."""

import resource
import secrets
import shutil
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import apsw

from sluice.metrics import Metrics
from sluice.storage.embedded.away import object_prefix
from sluice.storage.embedded.compaction import LEAVE_MS
from sluice.storage.embedded.dictionaries import Compressors
from sluice.storage.embedded.housekeeping import Housekeeping
from sluice.storage.embedded.open import newest_segment, shard_folder, store_faults, sync_path
from sluice.storage.embedded.shard import BOUNDS, Bounds, Freed, Shard, Tools
from sluice.storage.embedded.sweeping import SWEEP_MS, Due, Sweep
from sluice.storage.ports import Keep, Objects
from sluice.values.command import Change
from sluice.values.ids import wall_ms
from sluice.values.log import NewLog, Position, Price, ShardKey

OPEN_SHARDS: Final = 1_024
HEAP_BYTES: Final = 128 * 1024 * 1024
"""Past it SQLite uses pages of its caches again rather than take memory for more: with few shards open each may cache
what it likes, with a thousand each holds the 20 pages that it begins with."""
_FILES_EACH: Final = 4
_FILES_ELSEWHERE: Final = 128
_SYNCS_AT_ONCE: Final = 8
"""File systems commit waiting syncs together: 200 shards took 101 ms one by one, 28 ms so."""
_SYNCED_A_TURN: Final = 64
_DUE_AT_ONCE: Final = 4
_EVERYBODY: Final = ShardKey("", "")
_TRASH: Final = ".trash-"


class EmbeddedLogWriter:
    """All shards of a data folder, the least recently used ones closed past a bound. For one thread."""

    def __init__(self, root: Path, open_shards: int, tools: Tools) -> None:
        self._root = root
        self._bound = open_shards
        self._open: OrderedDict[ShardKey, Shard] = OrderedDict()
        self._failed: set[ShardKey] = set()
        """Closed by a failure; what was appended before it still waits for its sync."""
        self._to_sync: deque[ShardKey] = deque()
        self._tools = tools
        self._cleared: set[ShardKey] = set()
        """Freed of what a crash of a predecessor may have left in them."""
        self._due: deque[Due] = deque()
        self._sweep_ms = 0
        self._syncing = ThreadPoolExecutor(_SYNCS_AT_ONCE, "sync")

    @classmethod
    def open(
        cls,
        root: Path,
        open_shards: int = OPEN_SHARDS,
        bounds: Bounds = BOUNDS,
        clock_ms: Callable[[], int] = wall_ms,
        rollup_metadata: Sequence[str] = (),
        metrics: Metrics | None = None,
        objects: Objects | None = None,
    ) -> Self:
        """Opens the folder of all shards, makes it where it is missing, and clears away what a drop left behind.

        An open shard holds four files: where the process may have few, fewer shards stay open.
        """
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            open_shards = max(1, min(open_shards, (soft - _FILES_ELSEWHERE) // _FILES_EACH))
        apsw.soft_heap_limit(HEAP_BYTES)
        with store_faults(f"opening {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if objects is None:
                for trash in root.glob(f"{_TRASH}*"):
                    shutil.rmtree(trash)
        return cls(
            root,
            open_shards,
            Tools(
                Compressors(),
                Housekeeping(),
                bounds,
                clock_ms,
                rollup_metadata,
                Freed.counted(metrics or Metrics.unseen()),
                objects,
            ),
        )

    def positions(self, shard: ShardKey) -> Mapping[str, Position]:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return {} if found is None else found.positions

    def wanted(self, shard: ShardKey) -> Set[str]:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return frozenset() if found is None else found.wanted

    def append(self, shard: ShardKey, logs: Sequence[NewLog], positions: Mapping[str, Position]) -> int:
        with store_faults(f"storing logs of {shard.gateway}"):
            found = self._existing(shard) or self._created(shard)
            with self._trusted(shard):
                return found.append(logs, positions)

    def change(
        self, shard: ShardKey, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]
    ) -> set[str]:
        with store_faults(f"changing logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return set()
            with self._trusted(shard):
                return found.change(log_ids, change, positions)

    def reprice(
        self, shard: ShardKey, log_ids: Sequence[str], price: Price, positions: Mapping[str, Position]
    ) -> set[str]:
        with store_faults(f"repricing logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return set()
            with self._trusted(shard):
                return found.reprice(log_ids, price, positions)

    def delete(self, shard: ShardKey, log_ids: Sequence[str], positions: Mapping[str, Position]) -> set[str]:
        with store_faults(f"deleting logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return set()
            with self._trusted(shard):
                return found.delete(log_ids, positions)

    def begin_sync(self) -> None:
        self._to_sync = deque(key for key, shard in self._open.items() if shard.dirty)

    def sync_some(self) -> bool:
        for key in list(self._failed):
            with store_faults(f"opening the logs of {key.gateway} again"):
                self._existing(key)
            self._failed.discard(key)
            self._to_sync.append(key)
        keys = [self._to_sync.popleft() for _ in range(min(_SYNCED_A_TURN, len(self._to_sync)))]
        found = [shard for key in keys if (shard := self._open.get(key))]  # whatever was closed was synced
        syncs = [self._syncing.submit(shard.sync) for shard in found]
        wait(syncs)  # all of them, whatever became of the first: nothing is appended while a sync still runs
        with store_faults("syncing the logs"):
            for synced in syncs:
                synced.result()
        return not self._to_sync

    def sync(self) -> None:
        self.begin_sync()
        while not self.sync_some():
            pass

    def rows(self, shard: ShardKey) -> int:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return 0 if found is None else found.rows

    def bytes(self, shard: ShardKey) -> int:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return 0 if found is None else found.bytes

    def trim(self, shard: ShardKey, keep: Keep) -> int:
        with store_faults(f"removing old logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return 0
            with self._trusted(shard):
                return found.trim(keep)

    def drop(self, shard: ShardKey) -> None:
        folder = shard_folder(self._root, shard)
        self._tools.housekeeping.forget(shard)
        self._forget(shard)
        self._failed.discard(shard)
        with store_faults(f"removing the logs of {shard.gateway}"):
            trash = self._root / f"{_TRASH}{folder.parent.name}-{shard.gateway}-{secrets.token_hex(8)}"
            try:
                folder.rename(trash)
            except FileNotFoundError:
                return
            sync_path(folder.parent)
            if self._tools.objects is None:
                shutil.rmtree(trash)
            else:
                self._empty_trash(trash, self._tools.objects)

    def _empty_trash(self, trash: Path, objects: Objects) -> None:
        """The folder goes last: while it is there, so may be its objects. What fails is done within the hour."""
        account, gateway, _ = trash.name.removeprefix(_TRASH).rsplit("-", 2)

        def empty() -> None:
            for name in list(objects.names(object_prefix(self._root / account / gateway))):
                objects.delete(name)
            shutil.rmtree(trash, ignore_errors=True)

        self._tools.housekeeping.do(_EVERYBODY, empty)

    def tend(self) -> None:
        while found := self._tools.housekeeping.finished():
            key, task = found
            if isinstance(task, Sweep):
                self._due += task.found
                continue
            with store_faults(f"tidying up logs of {key.gateway}"), self._trusted(key):
                shard = self._existing(key)
                if shard is None:
                    task.discard()
                else:
                    shard.settle(task)
        now_ms = self._tools.clock_ms()
        for shard in self._open.values():
            shard.tend(now_ms)
        self._compact()

    def close(self) -> None:
        """Syncs, then folds each WAL into its database."""
        try:
            self.sync()
        finally:
            self._tools.housekeeping.close()
            self._syncing.shutdown()
            while self._open:
                _, shard = self._open.popitem()
                with store_faults("closing the logs"):
                    shard.close(checkpoint=True)

    def _compact(self) -> None:
        """Looks for dead bytes once an hour; begins to remove some of what was found."""
        now_ms = self._tools.clock_ms()
        if now_ms >= self._sweep_ms:
            self._sweep_ms = now_ms + SWEEP_MS
            self._tools.housekeeping.begin(_EVERYBODY, Sweep(self._root, now_ms - LEAVE_MS))
            if self._tools.objects:
                for trash in self._root.glob(f"{_TRASH}*"):
                    self._empty_trash(trash, self._tools.objects)
        for _ in range(min(_DUE_AT_ONCE, len(self._due))):
            key, number, packs = self._due.popleft()
            with store_faults(f"compacting logs of {key.gateway}"), self._trusted(key):
                if shard := self._existing(key):
                    shard.compact(number, packs)

    @contextmanager
    def _trusted(self, key: ShardKey) -> Iterator[None]:
        """After a failure a shard is closed: only the disk knows what holds."""
        try:
            yield
        except BaseException:
            self._failed.add(key)
            self._forget(key)
            raise

    def _existing(self, key: ShardKey) -> Shard | None:
        if found := self._open.get(key):
            self._open.move_to_end(key)
            return found
        folder = shard_folder(self._root, key)
        if not newest_segment(folder):
            return None
        self._make_room()
        return self._opened(key, Shard(key, folder, self._tools, doubtful=key not in self._cleared))

    def _created(self, key: ShardKey) -> Shard:
        self._make_room()
        return self._opened(key, Shard.create(key, shard_folder(self._root, key), self._tools))

    def _opened(self, key: ShardKey, shard: Shard) -> Shard:
        self._open[key] = shard
        self._failed.discard(key)
        if key not in self._cleared:
            self._cleared.add(key)
            shard.remove_leftovers()
            shard.move_away()
        shard.tidy_full()
        return shard

    def _make_room(self) -> None:
        while len(self._open) >= self._bound:
            key, oldest = next(iter(self._open.items()))
            oldest.sync()
            del self._open[key]
            oldest.close(checkpoint=False)

    def _forget(self, key: ShardKey) -> None:
        if shard := self._open.pop(key, None):
            shard.close(checkpoint=False)
