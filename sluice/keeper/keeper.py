"""The keeper: spools to log store, batch by batch, each log exactly once. Start reading here."""

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final

from sluice.journal import fields
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.alone import alone
from sluice.keeper.answers import Answers
from sluice.keeper.commands import Commands
from sluice.keeper.crash_note import CrashNote
from sluice.keeper.frame_logs import FrameLogs, side_files
from sluice.keeper.intake import Frame, Intake, Line, Work
from sluice.keeper.metering import Meter
from sluice.keeper.rate_book import PricePending
from sluice.keeper.retention import Retention
from sluice.keeper.spending import Spending
from sluice.keeper.unfinished import Unfinished
from sluice.metrics import Metrics
from sluice.spool.frames import (
    FrameError,
    LogFrame,
    decode_imported_frame,
    decode_log_frame,
    is_imported,
    tells_of_opening,
)
from sluice.spool.layout import spool_bytes
from sluice.spool.reader import BEGINNING, SpoolReader
from sluice.storage.embedded.marks import Marks
from sluice.storage.ports import LogWriter, StoreFault
from sluice.values.exchange import Exchange
from sluice.values.ids import wall_ms
from sluice.values.log import NewLog, Position, ShardKey
from sluice.values.settings import LogSettings

_log = logging.getLogger(__name__)

BATCHES: Final = 4
"""A gateway that is behind is stored in transactions of up to so many times `flush_rows`."""
SMALL_ROWS: Final = 24
"""A gateway that is not behind is stored in transactions of so many, about a millisecond each, with a pause between:
on a core that is shared no request waits longer than that for the keeper."""
PAUSE_S: Final = 0.0005
MANY_LINES: Final = 200
MANY_LINES_FLUSH_S: Final = 1.0
BACKOFF_S: Final = (0.1, 5.0)
PRICE_LOOK_S: Final = (0.02, 0.1)
DRAIN_S: Final = 5.0
"""How long a draining keeper tries a store that fails; what is left stays in the spool."""
STEPPING_S: Final = 0.05
"""How long frames are stored one by one before other gateways have their turn."""
READ_S: Final = 0.02
"""How long spools are read before what was found is stored: some 2,000 frames."""
SWEEP_S: Final = 10.0
DEAF_S: Final = 0.25
"""How long the keeper may not look whether it is to stop."""
LAG_BUCKETS: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)


class Keeper:
    """The single writer of logs: it owns `keeper.lock`, and for as long as it does everything the writer wrote.

    A log is stored with its spool's position in one transaction, so that a replay skips it; marks move when what is
    before them survives a power loss; spool and side files go when the mark is past them.
    """

    def __init__(
        self,
        settings: LogSettings,
        data: Path,
        reader: SpoolReader,
        writer: LogWriter,
        meter: Meter,
        addresses: Addresses,
        accounts: AccountManager,
        retention: Retention,
        metrics: Metrics,
        spending: Spending | None = None,
    ) -> None:
        self._settings, self._data, self._reader, self._writer, self._meter = settings, data, reader, writer, meter
        self._addresses, self._accounts, self._retention = addresses, accounts, retention
        self._spending = spending
        self._metrics = metrics
        self._stored = metrics.counter("sluice_logs_stored_total", "Logs stored.")
        self._lag = metrics.histogram("sluice_log_lag_seconds", "From the end of a reply to its log.", LAG_BUCKETS)
        self._bad = metrics.counter("sluice_spool_bad_frames_total", "Frames and spans put aside as unreadable.")
        self._logs = FrameLogs(meter, metrics)
        self._faults = metrics.counter("sluice_log_store_faults_total", "Calls of the log store that failed.")
        self._bytes = metrics.gauge("sluice_spool_bytes", "Size of all spools with their side files.")
        self._waiting = metrics.gauge("sluice_logs_waiting", "Frames read and not stored yet.")
        self._batch_rows = settings.flush_rows * BATCHES
        self._batch_bytes = max(settings.pending_bytes // 4, 1)
        self._settle_at = self._sweep_at = 0.0
        self._settled: dict[str, Position] = {}
        self._settling: dict[str, Position] | None = None
        """Where the marks will be once what is before them survives a power loss, if that is being seen to."""
        self._unsynced = self._syncing = False

    def run(self, stop: Callable[[float], bool]) -> None:
        """Works until `stop` says so, then reads all spools to their end. `stop` may wait up to the seconds given.

        There is one keeper at a time: this waits for the lock.
        """
        with alone(self._data / "keeper.lock", stop) as mine:
            if not mine:
                return
            self._note = CrashNote.open(self._data / "keeper.note")
            self._marks = Marks.open(self._data / "keeper.db")
            self._settled = self._marks.read()
            self._unfinished = Unfinished(self._marks)
            self._intake = Intake(self._reader, self._settled, self._settings.pending_bytes)
            self._answers = Answers.open(self._data / "keeper.sock")
            self._commands = Commands(
                self._intake,
                self._writer,
                self._addresses,
                self._accounts,
                self._note,
                self._answers,
                self._metrics,
                self._meter.price,
            )
            self._careful = dict.fromkeys(self._note.careful, self._batch_rows)
            try:
                while not stop(0.0):
                    self._answers.wait(min(self._round(), DEAF_S))
                self._drain(stop)
            finally:
                self._answers.close()
                self._marks.close()
                self._note.close()

    def _round(self) -> float:
        """Reads a piece, stores what is due; returns how long there is nothing to do."""
        now_s = time.monotonic()
        self._read(now_s)
        self._commands.take(now_s)
        self._store_due(now_s)
        self._commands.run(now_s)
        self._answers.serve()
        self._report(lambda: self._accounts.report_due(now_s))
        if self._settling is not None or now_s >= self._settle_at:
            if self._settling is None:
                self._settle_at = now_s + self._settings.sync_s
            self._settle()
        if self._intake.behind or self._commands.busy or self._settling is not None:
            return 0.0
        return min(self._settings.poll_ms / 1000, max(self._next_due_s(time.monotonic()), PAUSE_S))

    def _read(self, now_s: float) -> None:
        """Reads a piece, or for a while where there is more: behind one gateway's flood lie all others' logs."""
        self._intake.read(now_s)
        while self._intake.behind and time.monotonic() < now_s + READ_S:
            self._intake.read(now_s)

    def _drain(self, stop: Callable[[float], bool]) -> None:
        """Workers are gone: everything there is can be read. A store that fails is not waited for forever."""
        give_up_s = time.monotonic() + DRAIN_S
        while True:
            read = self._intake.read(time.monotonic())
            self._commands.take(time.monotonic())
            stored = [self._store(line) for line in list(self._intake.lines.values())]
            self._commands.run(math.inf)
            self._answers.serve()
            waiting = bool(stored) or self._commands.waiting
            if any(stored):
                give_up_s = time.monotonic() + DRAIN_S
            elif not read and (not waiting or time.monotonic() > give_up_s):
                break
            stop(0.0)  # it says that we live, and returns at once now
            if not read and not any(stored):
                time.sleep(BACKOFF_S[0])
        if left := self._intake.queued:
            _log.error("logs stay in the spool", extra=fields(logs=left))
        for _ in range(2):  # what was begun before the last logs were stored, and then the rest
            while not self._settle():
                pass
        self._report(self._accounts.report)

    # --- storing

    def _store_due(self, now_s: float) -> None:
        """Stores one batch of every gateway that has a full one, or an old one."""
        for line in list(self._intake.lines.values()):
            if now_s >= self._due_s(line):
                self._store(line)
        self._waiting.set(self._intake.queued)

    def _due_s(self, line: Line) -> float:
        """When the line is to be stored: at once if it is long or a command waits for it, else when it is old."""
        at_once = line.hurried or len(line.works) >= self._settings.flush_rows
        return max(line.retry_s, 0.0 if at_once else line.works[0].found_s + self._age_s)

    @property
    def _age_s(self) -> float:
        many = len(self._intake.lines) > MANY_LINES
        return MANY_LINES_FLUSH_S if many else self._settings.flush_ms / 1000

    def _next_due_s(self, now_s: float) -> float:
        """How long nothing will be due."""
        due_s = min(map(self._due_s, self._intake.lines.values()), default=math.inf)
        return max(due_s - now_s, 0.0)

    def _store(self, line: Line) -> bool:
        """Stores the first frames of a line, or as many as can be in a while where they go one by one.

        False where they have to wait for the store.
        """
        until_s = time.monotonic() + STEPPING_S
        while (stored := self._store_next(line)) and line.works and line.gateway_id in self._careful:
            if time.monotonic() > until_s:
                break
        return stored

    def _store_next(self, line: Line) -> bool:
        works = line.head(1, 0)
        try:
            works = self._next_works(line)
            self._note.begin(works[0].place, alone=len(works) == 1)
            self._store_batch(line, works)
        except StoreFault as error:
            line.back_off(BACKOFF_S)
            self._tell_fault(line, error)
            return False
        except PricePending:
            line.back_off(PRICE_LOOK_S)
            return False
        except Exception as error:  # a last resort: one log that nobody can store must not hold up the others
            if len(works) > 1:
                _log.warning("logs go one by one", extra=fields(gateway=line.gateway_id.hex(), error=_told(error)))
                self._careful[line.gateway_id] = len(works)
                return True
            self._put_aside(works[0], _told(error))
        finally:
            self._note.end()
        line.delay_s = 0.0
        self._intake.done(line, works)
        return True

    def _next_works(self, line: Line) -> list[Work]:
        """A batch; after a death one frame alone, unless it is stored already: that is harmless."""
        left = self._careful.get(line.gateway_id, 0)
        if not left:
            behind = len(line.works) >= self._settings.flush_rows
            return line.head(self._batch_rows if behind else SMALL_ROWS, self._batch_bytes)
        known = self._writer.positions(line.shard) if line.shard else {}
        if _is_stored(line.works[0], known):
            works = line.head(self._batch_rows, self._batch_bytes)
            return list(takewhile(lambda work: _is_stored(work, known), works))
        if self._note.poisoned(line.works[0].place):
            self._put_aside(line.works[0], "the keeper died of it")
        if left > 1:
            self._careful[line.gateway_id] = left - 1
        else:
            del self._careful[line.gateway_id]
        return line.head(1, 0)

    def _store_batch(self, line: Line, works: list[Work]) -> None:
        frames = list(self._decoded(works))
        if not frames:
            return
        _, first = frames[0]
        shard = line.shard = self._addresses.shard(line.gateway_id, first.account)
        for work, frame in frames:
            work.side_files = side_files(work, frame)
        if shard is None:
            self._count_dropped(first, len(frames), "gateway_deleted")
            self._unfinished.end(frames)
            return
        owed = frames
        if self._spending is not None:  # first, for a store that fails must not keep money from being counted
            owed = self._spending.settled(line.gateway_id, frames, self._logs.all_metered)
        self._unsynced = True  # what is stored already may be a dead predecessor's, who did not come to sync it
        known, wanted = self._writer.positions(shard), self._writer.wanted(shard)
        fresh = [(work, frame) for work, frame in owed if not _is_stored(work, known) or frame.log_id in wanted]
        if fresh:
            admitted = self._accounts.admitted(shard, len(fresh), time.monotonic())
            self._note.metering()
            logs = self._logs.all_metered(fresh[:admitted])
            self._note.storing()
            ended = fresh[:admitted]
            ends = [_end_ms(frame.exchange) for _, frame in ended if isinstance(frame, LogFrame)]
            reached = {work.spool: max(work.span[1], known.get(work.spool, BEGINNING)) for work, _ in fresh}
            self._append(shard, logs, reached, ends)
            if admitted < len(fresh):
                self._count_dropped(first, len(fresh) - admitted, "quota")
        self._unfinished.end(frames)

    def _append(self, shard: ShardKey, logs: list[NewLog], reached: dict[str, Position], ends: list[int]) -> None:
        stored = self._writer.append(shard, logs, reached)
        self._unsynced = True
        self._stored.add(stored)
        self._accounts.stored(shard, stored)
        self._retention.grown(shard)
        now_ms, observe = wall_ms(), self._lag.observe
        for end_ms in ends:
            observe((now_ms - end_ms) / 1000)

    def _decoded(self, works: list[Work]) -> Iterator[tuple[Work, Frame]]:
        for work in works:
            if work.done:
                continue  # put aside before the store failed
            try:
                data = work.frame()
                if tells_of_opening(data):
                    self._unfinished.begin(work.spool, data)
                elif is_imported(data):
                    yield work, decode_imported_frame(data)
                else:
                    yield work, decode_log_frame(data)
            except FrameError as error:
                self._put_aside(work, str(error))

    # --- what cannot be stored

    def _tell_fault(self, line: Line, error: StoreFault) -> None:
        self._faults.add()
        about = fields(gateway=line.gateway_id.hex(), delay_s=line.delay_s, error=str(error))
        _log.error("logs wait for their store", extra=about)

    def _put_aside(self, work: Work, why: str) -> None:
        start = work.span[0]
        about = fields(spool=work.spool, file=start.seq, offset=start.offset, why=why)
        _log.error("frame put aside", extra=about)
        self._intake.put_aside(work)

    def _count_dropped(self, frame: Frame, count: int, reason: str) -> None:
        self._metrics.counter(
            "sluice_logs_dropped_total",
            "Logs that were lost, by gateway and reason.",
            account=frame.account,
            gateway=frame.gateway_id.hex(),
            reason=reason,
        ).add(count)

    # --- settling

    def _settle(self) -> bool:
        """What is stored survives a power loss; then the marks move; then what is before them is removed.

        The first goes on from round to round: to sync a thousand shards takes a quarter of a second, in which logs are
        stored. Returns whether all is done.
        """
        try:
            if self._settling is None:
                self._begin_settling()
            if self._syncing and not self._writer.sync_some():
                return False
            moved = self._move_marks()
            if self._give_up():
                self._begin_settling()
                self._writer.sync()
                moved |= self._move_marks()
        except StoreFault as error:
            self._settling, self._unsynced = None, True
            self._faults.add()
            _log.error("logs not settled", extra=fields(error=str(error)))
            return True
        try:
            self._clean(moved)
            self._drop_deleted()
            self._retention.enforce(time.monotonic())
            self._writer.tend()
        except (OSError, StoreFault) as error:
            _log.error("leftovers not removed", extra=fields(error=str(error)))
        return True

    def _begin_settling(self) -> None:
        self._settling = self._intake.marks()
        self._unfinished.begin_settling()
        self._syncing = self._unsynced or self._commands.unsynced
        self._unsynced = self._commands.unsynced = False
        if self._syncing:
            self._writer.begin_sync()

    def _move_marks(self) -> dict[str, Position]:
        marks, self._settling = self._settling or {}, None
        moved = {name: mark for name, mark in marks.items() if self._settled.get(name) != mark}
        if moved or self._unfinished.changed:
            if self._spending is not None:
                self._spending.sync()
            self._unfinished.settle(moved)
            self._settled = marks
        return moved

    def _give_up(self) -> bool:
        """Stores what the frames of dead workers began and will never end; whether there was any.

        Before the marks know of it: a replay stores it again, which is none.
        """
        given_up = self._unfinished.given_up(self._reader, self._settled)
        shards: dict[ShardKey, list[NewLog]] = {}
        for frame in given_up:
            shard = self._addresses.shard(frame.gateway_id, frame.exchange.account)
            if shard is None:
                self._count_dropped(frame, 1, "gateway_deleted")
            elif not self._accounts.admitted(shard, 1, time.monotonic()):
                self._count_dropped(frame, 1, "quota")
            else:
                log = NewLog(self._meter.entry(frame.exchange, None, None), None, None)
                shards.setdefault(shard, []).append(log)
        for shard, logs in shards.items():
            self._append(shard, logs, {}, [])
        self._unfinished.forget(given_up)
        return bool(given_up)

    def _report(self, report: Callable[[], None]) -> None:
        """What a gateway has stored is told for people to see; no log waits for that."""
        try:
            report()
        except StoreFault as error:
            self._faults.add()
            _log.error("usage not reported", extra=fields(error=str(error)))

    def _drop_deleted(self) -> None:
        """Deleted gateways' logs go. They are asked for again until they are gone."""
        for shard in self._addresses.newly_deleted():
            self._writer.drop(shard)
            self._accounts.dropped(shard)
            self._addresses.dropped(shard)

    def _clean(self, moved: dict[str, Position]) -> None:
        self._reader.remove_side_files(self._intake.take_spent())
        for name, mark in moved.items():
            self._reader.remove_files(name, mark)
        now_s = time.monotonic()
        if now_s >= self._sweep_at:
            self._sweep_at = now_s + SWEEP_S
            for name, mark in self._settled.items():
                self._reader.remove_files(name, mark)  # of a worker that is gone no mark moves again
                if swept := self._reader.sweep(name, mark):
                    _log.info("side files without a log removed", extra=fields(spool=name, files=swept))
        self._bytes.set(spool_bytes(self._reader.root))
        self._bad.add(self._intake.bad)
        self._intake.bad = 0


def _told(error: Exception) -> str:
    """The kind of an error and where it was raised: its text might quote a body."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"


def _is_stored(work: Work, known: Mapping[str, Position]) -> bool:
    already = known.get(work.spool)
    return already is not None and work.span[1] <= already


def _end_ms(exchange: Exchange) -> int:
    return exchange.started_ms + exchange.duration_us // 1000
