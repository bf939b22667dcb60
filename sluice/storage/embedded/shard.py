"""A shard: the folder of one gateway's logs, in segments of an index database and packs that move together."""

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import zstandard

from sluice.metrics import Counter, Metrics
from sluice.storage.embedded.away import RETRY_MS, Moving
from sluice.storage.embedded.catalogue import Contents
from sluice.storage.embedded.changes import keys_of
from sluice.storage.embedded.compaction import LEAVE_MS, Compaction
from sluice.storage.embedded.dictionaries import TRAIN_ROWS, Compressors, Dictionary, Training
from sluice.storage.embedded.earlier import UNREADABLE, tell_unreadable
from sluice.storage.embedded.earlier_changes import (
    change_earlier,
    delete_earlier,
    recounted,
    wasteful_earlier,
    within,
)
from sluice.storage.embedded.folding import Fold, folded_segments
from sluice.storage.embedded.housekeeping import Housekeeping, Task
from sluice.storage.embedded.leftovers import remove_leftovers, remove_segment
from sluice.storage.embedded.open import (
    create_segment,
    database_path,
    newest_segment,
    remove_database,
    segment_name,
    sync_path,
)
from sluice.storage.embedded.packs import MB, PackWriter, pack_path
from sluice.storage.embedded.repricing import reprice_earlier
from sluice.storage.embedded.rows import rows_of
from sluice.storage.embedded.sealing import Seal
from sluice.storage.embedded.segment import Segment
from sluice.storage.embedded.trimming import Trimming
from sluice.storage.ports import Keep, Objects, StoreFault
from sluice.values.command import Change
from sluice.values.log import NewLog, Position, Price, ShardKey


class Bounds(NamedTuple):
    """A segment that has reached one of these takes no more logs."""

    rows: int
    pack_bytes: int
    age_ms: int


BOUNDS: Final = Bounds(rows=1_000_000, pack_bytes=2_048 * MB, age_ms=7 * 24 * 3_600_000)
_SMALLEST: Final = Bounds(rows=10_000, pack_bytes=MB, age_ms=3_600_000)
_WAITING_TIMES: Final = 2
"""So many times its bounds a segment may hold while it waits for a replay, which never comes where a spool is lost."""
_STEPS: Final = 16
"""A limit on a shard is a limit of so many segments at least, lest its capacity fall by much when one goes."""


class Freed(NamedTuple):
    """What was done with packs."""

    packs: Counter
    bytes: Counter
    sent: Counter

    @classmethod
    def counted(cls, metrics: Metrics) -> Self:
        return cls(
            metrics.counter("sluice_packs_compacted_total", "Packs that were copied without their dead bytes."),
            metrics.counter("sluice_pack_bytes_freed_total", "Bytes of deleted bodies that compaction freed."),
            metrics.counter("sluice_packs_sent_total", "Packs that were sent to the store of objects."),
        )


class Tools(NamedTuple):
    """What all shards of a writer share."""

    compressors: Compressors
    housekeeping: Housekeeping
    bounds: Bounds
    clock_ms: Callable[[], int]
    rollup_metadata: Sequence[str]
    """Metadata keys whose values are counted each by itself."""
    freed: Freed
    objects: Objects | None = None
    """Where packs of sealed segments go, if they do."""


class Shard:
    """One open shard. After a failed append it must be closed and opened again: only the disk knows what holds."""

    _segment: Segment
    _packs: PackWriter
    _trained: bool
    """Whether a dictionary was asked for, and may be worth none."""

    def __init__(self, key: ShardKey, folder: Path, tools: Tools, *, new: bool = False, doubtful: bool = False) -> None:
        """Whoever opens it for the first time is `doubtful`: a power loss may have been before."""
        self._key, self._folder, self._tools = key, folder, tools
        self._bounds = tools.bounds
        self._unsynced_folders = [folder, folder.parent, folder.parent.parent] if new else [folder]
        self.dirty = True  # a predecessor may have stored and died before its sync
        self._move_ms: int | None = None
        """When packs are to be sent away again: something changed while they were, or it failed."""
        self._open(newest_segment(folder), doubtful=doubtful)
        self._folded = set(folded_segments(folder)) if self._segment.earlier else set()
        self._settle_doubt()

    @classmethod
    def create(cls, key: ShardKey, folder: Path, tools: Tools) -> Self:
        for made in (folder.parent, folder):
            made.mkdir(mode=0o700, exist_ok=True)
        now_ms = tools.clock_ms()
        set_created = "UPDATE meta SET v = ? WHERE key = 'created'"
        create_segment(database_path(folder, 1), lambda db: db.execute(set_created, (now_ms,)))
        return cls(key, folder, tools, new=True)

    @property
    def positions(self) -> Mapping[str, Position]:
        return self._segment.positions

    @property
    def wanted(self) -> Set[str]:
        return self._segment.wanted

    @property
    def rows(self) -> int:
        segment = self._segment
        return segment.rows - segment.gone + sum(held.live for held in segment.earlier)

    @property
    def bytes(self) -> int:
        return self._packs.total_bytes + sum(held.bytes for held in self._segment.earlier if held.live)

    def append(self, logs: Sequence[NewLog], positions: Mapping[str, Position]) -> int:
        """Bodies first, then the rows that point to them."""
        self.dirty = True
        if self._is_full():
            self._roll()
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
        if segment.dictionary is None and segment.rows >= TRAIN_ROWS and not self._trained:
            self._trained = True
            self._tools.housekeeping.begin(self._key, Training(self._folder, segment.number))
        return fresh

    def change(self, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]) -> set[str]:
        """The active segment last, whose positions move once all are changed; to change them again is harmless."""
        self.dirty = True
        found: set[str] = set()
        keys = keys_of(log_ids)
        for held in self._segment.earlier:
            if wanted := within(held, keys):
                found |= change_earlier(self._folder, held, wanted, change)
        rest = [log_id for log_id in log_ids if log_id not in found]
        return found | self._segment.change(rest, change, positions)

    def reprice(self, log_ids: Sequence[str], price: Price, positions: Mapping[str, Position]) -> set[str]:
        """Likewise. Hours that are being folded are waited for, lest a sum be changed while it is carried over."""
        self.dirty = True
        found: set[str] = set()
        keys = keys_of(log_ids)
        for held in self._segment.earlier:
            if wanted := within(held, keys):
                if held.number not in self._folded:
                    raise StoreFault(f"{held.path(self._folder)} is being folded")
                found |= reprice_earlier(self._folder, held, wanted, price)
        rest = [log_id for log_id in log_ids if log_id not in found]
        return found | self._segment.reprice(rest, price, positions)

    def delete(self, log_ids: Sequence[str], positions: Mapping[str, Position]) -> set[str]:
        """Packs go after their rows. Where a power loss brings such a row back, its body is lost."""
        self.dirty, now_ms = True, self._tools.clock_ms()
        found: set[str] = set()
        keys = keys_of(log_ids)
        for held in self._segment.earlier:
            if wanted := within(held, keys):
                self._segment.doubt(held.number)
                self.sync()  # the doubt before the deed
                found |= delete_earlier(self._folder, held, wanted, now_ms)
                self._recount(held.number)
                self.compact(held.number, wasteful_earlier(self._folder, held, now_ms - LEAVE_MS))
                self.move_away()
        gone, packs = self._segment.delete([log_id for log_id in log_ids if log_id not in found], positions, now_ms)
        self._packs.remove(packs)
        if gone:
            self.compact(self._segment.number, self._segment.wasteful_packs(now_ms - LEAVE_MS))
        return found | gone

    def compact(self, number: int, packs: Sequence[int]) -> None:
        """Has dead bytes taken out of packs of a segment; the one that is being filled is ended first.

        Without packs, a full segment's catalogue is told again what they take.
        """
        held = next((held for held in self.contents() if held.number == number and held.live), None)
        if held is None:
            return
        if not packs:
            self._recount(number)
            return
        if number == self._segment.number:
            self.dirty = True
            self._segment.put_extents(self._packs.end_pack())
        task = Compaction(self._folder, number, held.path(self._folder), packs, self._tools.objects)
        self._tools.housekeeping.begin(self._key, task, apart=(Seal,))

    def sync(self) -> None:
        """Bodies before rows, lest a power loss leave rows that point to nothing."""
        if not self.dirty:
            return
        self._packs.sync()
        if self._wal.exists():
            sync_path(self._wal)
        self._segment.shorten_wal()
        if self._packs.folder_changed and self._folder not in self._unsynced_folders:
            self._unsynced_folders.append(self._folder)
        for folder in self._unsynced_folders:
            sync_path(folder)
        self._unsynced_folders = []
        self._packs.folder_changed = False
        self._segment.synced()
        self.dirty = False

    def settle(self, task: Task) -> None:
        """What the housekeeping has done comes to count."""
        match task:
            case Seal():
                self._publish(task)
            case Fold():
                self._let_go(task.number)
            case Training(made=Dictionary() as made):
                self.dirty = True
                self._segment.adopt(made)
            case Compaction():
                self._tools.freed.packs.add(task.compacted)
                self._tools.freed.bytes.add(task.freed_bytes)
                self._take_over(task.number)
            case Moving():
                self._tools.freed.sent.add(task.sent)
                if task.failed:
                    self._move_ms = self._tools.clock_ms() + RETRY_MS

    def _publish(self, seal: Seal) -> None:
        """Lets the sealed copy of a segment take its place, unless that has been changed or removed since."""
        held = next((held for held in self._segment.earlier if held.number == seal.number and not held.sealed), None)
        if held is None or not seal.holds:
            seal.discard()
            return
        self.dirty = True
        old = held.path(self._folder)
        sealed = held._replace(sealed=1)
        seal.made.rename(sealed.path(self._folder))
        sync_path(self._folder)
        earlier = [sealed if held.number == seal.number else held for held in self._segment.earlier]
        self._segment.revise(earlier)
        self._tools.housekeeping.remove(self._key, self._wal, partial(remove_database, old))
        self.move_away()

    def move_away(self) -> None:
        """Has packs of sealed segments sent to the store of objects, and what is no more removed from there."""
        if self._tools.objects and self._segment.number > 1:
            begun = self._tools.housekeeping.begin(self._key, Moving(self._folder, self._tools.objects))
            self._move_ms = None if begun else self._tools.clock_ms()

    def tend(self, now_ms: int) -> None:
        """What is to be tried again."""
        if self._move_ms is not None and now_ms >= self._move_ms:
            self.move_away()

    def remove_leftovers(self) -> None:
        remove_leftovers(self._folder, self._segment.number, self._segment.earlier)

    def contents(self) -> list[Contents]:
        """What each segment holds, the active one last."""
        return [*self._segment.earlier, self._segment.contents(self._packs.total_bytes)]

    def trim(self, keep: Keep) -> int:
        """Removes what is past the limits; returns how many logs that were."""
        now_ms = self._tools.clock_ms()
        self._bounds = _bounds_for(keep, self._tools.bounds, now_ms)
        contents = self.contents()
        if contents[-1].rows and keep.since_ms is not None and contents[-1].last_key < keep.since_ms << 21:
            self._roll()  # all of it goes, files and all
            contents = self.contents()
        trimming = Trimming(self._folder, contents)
        before = trimming.rows
        trimming.trim(keep)
        if trimming.contents != contents:
            self._keep(trimming.contents)
        return before - trimming.rows

    def close(self, *, checkpoint: bool) -> None:
        """Without a checkpoint for a shard that may soon be needed again."""
        self._packs.close()
        self._segment.close(checkpoint=checkpoint)

    @property
    def _wal(self) -> Path:
        return Path(f"{database_path(self._folder, self._segment.number)}-wal")

    def _open(self, number: int, *, doubtful: bool = False) -> None:
        self._segment = Segment(self._folder, number, self._tools.rollup_metadata)
        self._trained = False
        try:
            self._find_losses(doubtful=doubtful)
            extents = self._segment.extents()
            self._packs = PackWriter(self._folder, segment_name(number), extents, self._compressor)
        except BaseException:
            self._segment.close(checkpoint=False)
            raise

    def _compressor(self) -> zstandard.ZstdCompressor:
        return self._tools.compressors.of(self._segment.dictionary)

    def _settle_doubt(self) -> None:
        """A predecessor died while it deleted logs from an earlier segment."""
        for held in self._segment.earlier:
            if held.number == self._segment.doubted:
                try:
                    return self._recount(held.number)
                except UNREADABLE as error:
                    tell_unreadable(held.path(self._folder), error)

    def _recount(self, number: int) -> None:
        """The catalogue tells again what a segment holds from which logs were deleted; a last one takes it along."""
        *earlier, active = [
            recounted(self._folder, held) if held.number == number else held for held in self.contents()
        ]
        self._keep([*earlier, active])

    def _is_full(self) -> bool:
        """A segment whose logs a replay may bring lost bodies takes more: in the next one nobody looks for them."""
        bounds, segment = self._bounds, self._segment
        times = _WAITING_TIMES if segment.wanted else 1
        return segment.rows > 0 and (
            segment.rows >= bounds.rows * times
            or self._packs.total_bytes >= bounds.pack_bytes * times
            or self._tools.clock_ms() - segment.created_ms >= bounds.age_ms * times
        )

    def _roll(self) -> None:
        """Begins the next segment. The full one is on disk before: a power loss takes nothing from it any more."""
        self._segment.put_extents(self._packs.end_pack())
        self.sync()
        full, dictionary = self._segment.number, self._segment.dictionary
        self._segment.begin_next(self._packs.total_bytes, self._tools.clock_ms())
        self.close(checkpoint=True)
        self._unsynced_folders, self.dirty = [self._folder], True
        self._open(full + 1)
        if dictionary is not None:
            self._tools.housekeeping.begin(self._key, Training(self._folder, full, dictionary))
        self.tidy_full()

    def _keep(self, contents: list[Contents]) -> None:
        """The catalogue first, then the files. A segment stays, empty for all but roll-ups, until it is folded."""
        self.dirty = True
        *earlier, active = contents
        going = [held for held in earlier if not held.live and held.number in self._folded]
        self._segment.revise([held for held in earlier if held not in going], active)
        for held in going:
            remove = partial(remove_segment, self._folder, held.number)
            self._tools.housekeeping.remove(self._key, self._wal, remove)
            self._folded.discard(held.number)
        if going:
            self.move_away()

    def tidy_full(self) -> None:
        """Has full segments folded, then sealed. Not before leftovers are removed: a seal looks like one."""
        for held in self._segment.earlier:
            if held.number not in self._folded:
                self._tools.housekeeping.begin(self._key, Fold(self._folder, held.number))
            if held.live and not held.sealed:
                self._tools.housekeeping.begin(self._key, Seal(self._folder, held.number), apart=(Compaction,))
        self._drop_folded()

    def _take_over(self, number: int) -> None:
        """A segment's packs are others now, and take less."""
        self.dirty = True
        if number == self._segment.number:
            self._packs.revise(self._segment.extents())
        else:
            self._recount(number)
            self.tidy_full()
            self.move_away()

    def _let_go(self, number: int) -> None:
        """The segment's roll-ups are safe: it may go, if all its logs are removed."""
        self._folded.add(number)
        self._drop_folded()

    def _drop_folded(self) -> None:
        if any(not held.live and held.number in self._folded for held in self._segment.earlier):
            self._keep(self.contents())

    def _find_losses(self, *, doubtful: bool) -> None:
        """What a power loss has taken from packs. They are synced before rows: it can be only the newest of it."""
        shortened: dict[int, int] = {}
        for pack, size, _ in self._segment.extents():
            path = pack_path(self._folder, segment_name(self._segment.number), pack)
            found = path.stat().st_size if path.exists() else 0
            if found < size:
                shortened[pack] = found
        unsound = self._segment.unsound() if doubtful else []
        if shortened or unsound:
            self._segment.lose(unsound, shortened)
        self._segment.want_lost()


def _bounds_for(keep: Keep, bounds: Bounds, now_ms: int) -> Bounds:
    rows, pack_bytes, age_ms = bounds
    if keep.rows is not None and keep.rows < bounds.rows * 4:
        rows = min(rows, max(keep.rows // _STEPS, _SMALLEST.rows))
    if keep.bytes is not None:
        pack_bytes = min(pack_bytes, max(keep.bytes // _STEPS, _SMALLEST.pack_bytes))
    if keep.since_ms is not None:
        age_ms = min(age_ms, max((now_ms - keep.since_ms) // _STEPS, _SMALLEST.age_ms))
    return Bounds(rows, pack_bytes, age_ms)
