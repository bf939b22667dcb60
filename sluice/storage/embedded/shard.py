"""Shards: a folder per gateway, its index and its packs moving together. The embedded backend of LogWriter."""

import resource
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import zstandard

from sluice.storage.embedded.open import (
    SEGMENT,
    create_segment,
    open_segment,
    shard_folder,
    store_faults,
    sync_path,
)
from sluice.storage.embedded.packs import PackWriter, compressor, pack_path
from sluice.storage.embedded.rows import rows_of
from sluice.storage.embedded.segment import Segment
from sluice.values.command import Change
from sluice.values.log import NewLog, Position, ShardKey

OPEN_SHARDS: Final = 1_024
_FILES_EACH: Final = 4
_FILES_ELSEWHERE: Final = 128
_SYNCS_AT_ONCE: Final = 8
"""File systems commit waiting syncs together: 200 shards took 101 ms one by one, 28 ms so."""
_TRASH: Final = ".trash-"


class Shard:
    """One open shard. After a failed append it must be closed and opened again: only the disk knows what holds."""

    def __init__(self, folder: Path, compress: zstandard.ZstdCompressor, *, new: bool) -> None:
        self._folder = folder
        database = folder / f"{SEGMENT}.db"
        self._wal = folder / f"{SEGMENT}.db-wal"
        self._unsynced_folders = [folder, folder.parent, folder.parent.parent] if new else [folder]
        self._segment = Segment(open_segment(database))
        self.dirty = True  # a predecessor may have stored and died before its sync
        try:
            self._find_losses()
            self._packs = PackWriter(folder, SEGMENT, self._segment.extents(), compress)
        except BaseException:
            self._segment.close(checkpoint=False)
            raise

    @property
    def positions(self) -> Mapping[str, Position]:
        return self._segment.positions

    @property
    def rows(self) -> int:
        return self._segment.rows

    @property
    def bytes(self) -> int:
        return sum(extent.bytes for extent in self._segment.extents())

    def append(self, logs: Sequence[NewLog], positions: Mapping[str, Position]) -> int:
        """Bodies first, then the rows that point to them."""
        self.dirty = True
        packs, segment = self._packs, self._segment
        try:
            rows = [rows_of(log.entry, packs.put(log.request), packs.put(log.response), segment.name) for log in logs]
            fresh = segment.commit(rows, packs.flush(), positions)
        except BaseException as error:
            if segment.in_doubt:
                packs.close()
            else:
                packs.abandon()
            if isinstance(error, OverflowError):
                raise ValueError("a log holds a number past 64 bits") from error
            raise
        packs.kept()
        return fresh

    def change(self, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]) -> set[str]:
        self.dirty = True
        return self._segment.change(log_ids, change, positions)

    def delete(self, log_ids: Sequence[str], positions: Mapping[str, Position]) -> set[str]:
        """Packs go after their rows. Where a power loss brings such a row back, its body is lost."""
        self.dirty = True
        found, packs = self._segment.delete(log_ids, positions)
        self._packs.remove(packs)
        return found

    def sync(self) -> None:
        """Bodies before rows, lest a power loss leave rows that point to nothing."""
        if not self.dirty:
            return
        self._packs.sync()
        if self._wal.exists():
            sync_path(self._wal)
        if self._packs.folder_changed and self._folder not in self._unsynced_folders:
            self._unsynced_folders.append(self._folder)
        for folder in self._unsynced_folders:
            sync_path(folder)
        self._unsynced_folders = []
        self._packs.folder_changed = False
        self.dirty = False

    def close(self, *, checkpoint: bool) -> None:
        """Without a checkpoint for a shard that may soon be needed again."""
        self._packs.close()
        self._segment.close(checkpoint=checkpoint)

    def _find_losses(self) -> None:
        for pack, size, _ in self._segment.extents():
            path = pack_path(self._folder, SEGMENT, pack)
            found = path.stat().st_size if path.exists() else 0
            if found < size:
                self._segment.lose_past(pack, found)


class EmbeddedLogWriter:
    """All shards of a data folder, the least recently used ones closed past a bound. For one thread."""

    def __init__(self, root: Path, open_shards: int) -> None:
        self._root = root
        self._bound = open_shards
        self._open: OrderedDict[ShardKey, Shard] = OrderedDict()
        self._failed: set[ShardKey] = set()
        """Closed by a failure; what was appended before it still waits for its sync."""
        self._compress = compressor()
        self._syncing = ThreadPoolExecutor(_SYNCS_AT_ONCE, "sync")

    @classmethod
    def open(cls, root: Path, open_shards: int = OPEN_SHARDS) -> Self:
        """Opens the folder of all shards, makes it where it is missing, and clears away what a drop left behind.

        An open shard holds four files: where the process may have few, fewer shards stay open.
        """
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            open_shards = max(1, min(open_shards, (soft - _FILES_ELSEWHERE) // _FILES_EACH))
        with store_faults(f"opening {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for trash in root.glob(f"{_TRASH}*"):
                shutil.rmtree(trash)
        return cls(root, open_shards)

    def positions(self, shard: ShardKey) -> Mapping[str, Position]:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return {} if found is None else found.positions

    def rows(self, shard: ShardKey) -> int:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return 0 if found is None else found.rows

    def bytes(self, shard: ShardKey) -> int:
        with store_faults(f"opening the logs of {shard.gateway}"):
            found = self._existing(shard)
            return 0 if found is None else found.bytes

    def append(self, shard: ShardKey, logs: Sequence[NewLog], positions: Mapping[str, Position]) -> int:
        with store_faults(f"storing logs of {shard.gateway}"):
            found = self._existing(shard) or self._created(shard)
            with self._given_up_if_it_fails(shard):
                return found.append(logs, positions)

    def change(
        self, shard: ShardKey, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]
    ) -> set[str]:
        with store_faults(f"changing logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return set()
            with self._given_up_if_it_fails(shard):
                return found.change(log_ids, change, positions)

    def delete(self, shard: ShardKey, log_ids: Sequence[str], positions: Mapping[str, Position]) -> set[str]:
        with store_faults(f"deleting logs of {shard.gateway}"):
            found = self._existing(shard)
            if found is None:
                return set()
            with self._given_up_if_it_fails(shard):
                return found.delete(log_ids, positions)

    def sync(self) -> None:
        for key in list(self._failed):
            with store_faults(f"opening the logs of {key.gateway} again"):
                self._existing(key)
            self._failed.discard(key)
        dirty = [self._syncing.submit(shard.sync) for shard in self._open.values() if shard.dirty]
        wait(dirty)  # all of them, whatever became of the first: nothing is appended while a sync still runs
        with store_faults("syncing the logs"):
            for synced in dirty:
                synced.result()

    def drop(self, shard: ShardKey) -> None:
        folder = shard_folder(self._root, shard)
        self._forget(shard)
        self._failed.discard(shard)
        with store_faults(f"removing the logs of {shard.gateway}"):
            trash = self._root / f"{_TRASH}{shard.gateway}-{secrets.token_hex(8)}"
            try:
                folder.rename(trash)
            except FileNotFoundError:
                return
            sync_path(folder.parent)
            shutil.rmtree(trash)

    def close(self) -> None:
        """Syncs, then folds each WAL into its database."""
        try:
            self.sync()
        finally:
            self._syncing.shutdown()
            while self._open:
                _, shard = self._open.popitem()
                with store_faults("closing the logs"):
                    shard.close(checkpoint=True)

    @contextmanager
    def _given_up_if_it_fails(self, key: ShardKey) -> Iterator[None]:
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
        return self._opened(key, folder, new=False) if (folder / f"{SEGMENT}.db").exists() else None

    def _created(self, key: ShardKey) -> Shard:
        folder = shard_folder(self._root, key)
        for made in (folder.parent, folder):
            made.mkdir(mode=0o700, exist_ok=True)
        create_segment(folder / f"{SEGMENT}.db")
        return self._opened(key, folder, new=True)

    def _opened(self, key: ShardKey, folder: Path, *, new: bool) -> Shard:
        self._make_room()
        shard = self._open[key] = Shard(folder, self._compress, new=new)
        self._failed.discard(key)
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
