"""Commands: changes to stored logs, run beside the frames of logs and after those that they may be about (design.md 4).

A command is tried at once, for most are about logs that are stored. Logs that are not there yet it waits for: until all
that was in the spools when it was read is read, and until what of that belongs to its gateway is stored. Commands about
the same log run in the order in which they were given.
"""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from sluice.journal import fields
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.answers import Answers
from sluice.keeper.crash_note import CrashNote
from sluice.keeper.intake import Intake, Work
from sluice.metrics import Metrics
from sluice.spool.frames import FrameError, decode_command
from sluice.storage.ports import LogWriter, StoreFault
from sluice.values.command import Command, Outcome
from sluice.values.log import LogEntry, Position, Priced, ShardKey

_log = logging.getLogger(__name__)

STEP: Final = 250
"""So many logs are changed in one transaction: of deletes 10 ms where they lie together, 50 ms where far apart, of a
million. Between two, new logs have their turn."""
TURN_S: Final = 0.05
"""How long commands run before new logs have their turn."""
UNKNOWN_S: Final = 1.0
"""How long a change waits for a log that nobody has heard of: its id is known before its exchange ends."""
RETRY_S: Final = 0.5


class _Order:
    """A command that was read and is not done."""

    __slots__ = ("after", "command", "final", "found", "left", "missing", "reached", "read_s", "retry_s", "work")

    def __init__(self, work: Work, command: Command, read_s: float) -> None:
        self.work, self.command, self.read_s = work, command, read_s
        self.found = 0
        self.left: list[str] = command.log_ids
        """Logs to be tried in this pass; `missing` are those of them that were not there."""
        self.missing: list[str] = []
        self.final = False
        """Whether this pass began when all that the command may be about was stored."""
        self.reached = False
        """Whether all that was in the spools when it was read has been read; then `after` is the last of that."""
        self.after: Work | None = None
        self.retry_s = 0.0

    @property
    def is_caught_up(self) -> bool:
        return self.reached and (self.after is None or self.after.done)

    @property
    def log_ids(self) -> list[str]:
        """What it is still about."""
        return self.left + self.missing


class Commands:
    """Those that were read and are not done, by gateway."""

    def __init__(
        self,
        intake: Intake,
        writer: LogWriter,
        addresses: Addresses,
        accounts: AccountManager,
        note: CrashNote,
        answers: Answers,
        metrics: Metrics,
        price: Callable[[str, LogEntry], Priced | None],
    ) -> None:
        self._intake, self._writer, self._addresses, self._accounts = intake, writer, addresses, accounts
        self._note, self._answers, self._price = note, answers, price
        self._queues: dict[bytes, list[_Order]] = {}
        self._done = metrics.counter("sluice_commands_done_total", "Commands run to their end.")
        self._changed = metrics.counter("sluice_logs_changed_total", "Stored logs given other fields.")
        self._deleted = metrics.counter("sluice_logs_deleted_total", "Stored logs deleted by commands.")
        self._waiting = metrics.gauge("sluice_commands_waiting", "Commands read and not done yet.")
        self._faults = metrics.counter("sluice_log_store_faults_total", "Calls of the log store that failed.")
        self.busy = False
        """Whether the last run left something that could go on at once."""
        self.unsynced = False
        """Whether the store was changed; whoever syncs it sets this back."""

    @property
    def waiting(self) -> bool:
        return bool(self._queues)

    def take(self, now_s: float) -> None:
        """Notes what the intake has read. The logs that a command waits for are hurried on."""
        for work in self._intake.take_commands():
            try:
                if self._note.poisoned(work.place):
                    raise FrameError("the keeper died of it")
                order = _Order(work, decode_command(work.frame()), now_s)
            except FrameError as error:
                self._put_aside(work, str(error))
                continue
            self._queues.setdefault(work.gateway_id, []).append(order)
        if self._intake.caught_up:
            for gateway_id, queue in self._queues.items():
                self._follow(gateway_id, queue)

    def run(self, now_s: float) -> None:
        """Runs what can be run, for a while. `now_s` of infinity: nothing more will come that is worth waiting for."""
        self.busy = False
        until_s = time.monotonic() + (TURN_S if now_s < math.inf else math.inf)
        for gateway_id in list(self._queues):
            queue = self._queues.pop(gateway_id)
            if left := self._run_queue(queue, now_s, until_s):
                self._queues[gateway_id] = left  # at the end: others have their turn first
            if time.monotonic() > until_s:
                self.busy = True
                break
        self._waiting.set(sum(map(len, self._queues.values())))

    def _follow(self, gateway_id: bytes, queue: list[_Order]) -> None:
        line = self._intake.lines.get(gateway_id)
        for order in queue:
            if not order.reached:
                order.reached = True
                if line is not None:
                    order.after = line.works[-1]
                    line.hurried = True

    def _run_queue(self, queue: list[_Order], now_s: float, until_s: float) -> list[_Order]:
        """Returns those that are not done. What they are about no later one may touch."""
        left: list[_Order] = []
        held: set[str] = set()
        for number, order in enumerate(queue):
            if number and time.monotonic() > until_s:
                return left + queue[number:]
            if now_s >= order.retry_s and held.isdisjoint(order.log_ids) and self._run(order, now_s, first=not left):
                continue
            left.append(order)
            held.update(order.log_ids)
        return left

    def _run(self, order: _Order, now_s: float, *, first: bool) -> bool:
        """Whether it is done."""
        try:
            self._note.begin(order.work.place, alone=True)
            done = self._step(order, now_s, first=first)
        except StoreFault as error:
            self._faults.add()
            _log.error("a command waits for the store", extra=fields(command=order.command.id, error=str(error)))
            order.retry_s = time.monotonic() + RETRY_S
            return False
        except Exception as error:  # a last resort: one command that cannot be run must not hold up the others
            self._put_aside(order.work, type(error).__name__)
            return True
        finally:
            self._note.end()
        order.retry_s = 0.0
        if done:
            self._done.add()
            self._intake.finish(order.work)
            self._answers.tell(Outcome(order.command.id, order.found))
        elif order.left:
            self.busy = True
        return done

    def _step(self, order: _Order, now_s: float, *, first: bool) -> bool:
        """Tries some of the logs; whether the command is done."""
        shard = self._addresses.shard(order.work.gateway_id, order.command.account)
        if shard is None:
            return True  # the gateway is deleted, and all its logs with it
        known = self._writer.positions(shard).get(order.work.spool)
        if known is not None and order.work.span[1] <= known:
            order.found = len(order.command.log_ids)  # a replay, of what may not be synced
            self.unsynced = True
            return True
        if not order.left and (order.is_caught_up or len(order.missing) <= STEP):
            order.left, order.missing, order.final = order.missing, [], order.is_caught_up
        self._try(order, shard, first=first)
        if order.left:
            return False
        waits_for_unknown = order.command.change is not None and now_s < order.read_s + UNKNOWN_S
        return not order.missing or (order.final and not waits_for_unknown)

    def _try(self, order: _Order, shard: ShardKey, *, first: bool) -> None:
        """The next few. With the last ones the command's place in its spool is stored, so that no replay runs it again:
        but not past another one that is still to run."""
        some, rest = order.left[:STEP], order.left[STEP:]
        reached: dict[str, Position] = {}
        if first and not rest and not order.missing:
            reached = {order.work.spool: order.work.span[1]}
        change = order.command.change
        if change is None:
            found = self._writer.delete(shard, some, reached)
            self._deleted.add(len(found))
            if found:
                self._accounts.changed(shard)
        elif change.reprice:
            found = self._writer.reprice(shard, some, partial(self._price, shard.account), reached)
            self._changed.add(len(found))
        else:
            found = self._writer.change(shard, some, change, reached)
            self._changed.add(len(found))
        self.unsynced = self.unsynced or bool(found)
        order.found += len(found)
        order.left = rest
        order.missing = order.missing + [log_id for log_id in some if log_id not in found]

    def _put_aside(self, work: Work, why: str) -> None:
        _log.error("command put aside", extra=fields(spool=work.spool, offset=work.span[0].offset, why=why))
        self._intake.put_aside(work)
        self._intake.finish(work)
