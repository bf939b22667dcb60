"""Starts the processes, replaces the dead, drains and reloads them. Start reading at `Supervisor.run`."""

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sluice import __version__, metrics
from sluice.journal import fields
from sluice.supervisor.handover import HELD_BACK, NOTHING, Handover, adopted
from sluice.supervisor.offspring import PROGRAM, Offspring
from sluice.supervisor.orders import Orders
from sluice.supervisor.patience import Patience
from sluice.supervisor.place import Place
from sluice.supervisor.service_manager import State
from sluice.values.settings import Settings

PHASES: Final = (("worker",), ("console", "simulator", "runner"), ("keeper",))
"""The order of a shutdown: whoever is needed by others goes after them."""
LATER: Final = frozenset(("keeper", "runner"))
"""No client waits for these: they begin when all others are ready."""

_MAX_DRAINING_GENERATIONS: Final = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a supervisor behaves apart from its settings; tests put their own roles and times here."""

    load: Callable[[], Settings]
    """Reads the settings anew for SIGHUP; raises ValueError where they are wrong."""
    announce: Callable[[], None]
    """Called once, when every process that clients need is ready."""
    hangs_up: Callable[[], bool] = lambda: False
    """Whether a SIGHUP means that the terminal is gone, and not a reload."""
    patience: Patience = field(default_factory=Patience)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tell: Callable[[State], None] = lambda state: None
    """Hears how it fares, and several times a minute that it lives."""
    give_way: Callable[[int, Sequence[Place], Sequence[Offspring]], str] = lambda *_: "there is no other program"
    """Becomes the program that is installed now, which is told this; returns only where it cannot, and why."""


class Supervisor:
    """Keeps one child in each place until it is told to stop."""

    def __init__(self, settings: Settings, places: list[Place], conduct: Conduct, handover: Handover = NOTHING) -> None:
        self._settings = settings
        self._conduct = conduct
        self._patience = conduct.patience
        self._places = places
        self._leaving: list[Offspring] = []
        """Workers that drain while a successor has their place."""
        self._generation = handover.generation
        self._phase = -1
        self._hurried = False
        self._announced = self._took_over = bool(handover)
        self._failed = False
        self._reloading = self._reloaded = self._reload_failed = False
        self._last_look = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._adopt(handover)

    def run(self) -> int:
        """Returns the exit status once every child has ended: 0 after a stop, 1 where the start failed."""
        with ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.enter_context(_Signals(self._selector))
            if self._took_over:
                _log.info("took over", extra=fields(version=__version__))
                self._reload(time.monotonic())
            while self._look(now := time.monotonic()):
                for key, _ in self._selector.select(self._pause_s(now)):
                    if isinstance(key.data, Offspring):
                        self._hear(key.data)
                    else:
                        self._obey(key.data())
        for place in self._places:
            place.close()
        _log.info("stopped")
        return 1 if self._failed else 0

    def _look(self, now: float) -> bool:
        """One round: bury, replace, kill what is overdue, go on with a reload or a shutdown. False at the very end."""
        self._forgive(now)
        for child in list(self._children()):
            how = child.ended()
            if how is not None:
                self._bury(child, how, now)
            elif reason := self._overdue(child, now):
                _log.error("killed", extra=self._about(child, reason=reason))
                child.kill()
        for place in self._places:
            if place.wanted and not place.current and now >= place.start_at:
                place.current = self._start(place, now)
        if self._reloading and not any(place.successor for place in self._places):
            self._replace_the_rest(now)
        if self._reloaded and all(
            place.ready and not any(c.draining for c in place.children) for place in self._places
        ):
            self._reloaded = False
            self._conduct.tell("ready")
        self._conduct.tell("alive")
        if self._phase >= 0:
            self._go_on_stopping(now)
        return self._phase < len(PHASES)

    def _start(self, place: Place, now: float) -> Offspring | None:
        try:
            place.ensure_open()
            given = Orders(
                place.role,
                place.number,
                self._settings,
                [listener.fileno() for listener in place.listeners],
                self._free_metrics(place.role),
                self._generation,
            )
            child = Offspring.start(given, self._conduct.programs.get(place.role, PROGRAM), now)
        except OSError as error:
            _log.error("cannot start", extra=fields(child=place.role, slot=place.number, error=str(error)))
            self._note_death(place, now, 0.0)
            return None
        self._selector.register(child.link, selectors.EVENT_READ, child)
        return child

    def _hear(self, child: Offspring) -> None:
        now = time.monotonic()
        if not child.hear(now):
            return
        level = logging.INFO if self._announced else logging.DEBUG
        _log.log(level, "ready", extra=self._about(child, after_ms=round((now - child.born) * 1000)))
        for place in self._places:
            if place.successor is child:
                if place.current:
                    self._send_off(place.current, now)
                place.current, place.successor = child, None
        if not self._announced and all(place.ready for place in self._places if place.role not in LATER):
            self._announced = True
            self._conduct.announce()
            self._conduct.tell("ready")
            for place in self._places:
                place.start_at = min(place.start_at, now)  # now the keeper may have the processor

    def _bury(self, child: Offspring, how: str, now: float) -> None:
        self._selector.unregister(child.link)
        child.bury()
        try:
            metrics.retire(child.metrics)
        except OSError as error:
            _log.warning("metrics not retired", extra=self._about(child, error=str(error)))
        level = logging.INFO if child.draining else logging.WARNING
        _log.log(level, "ended", extra=self._about(child, how=how))
        if child in self._leaving:
            self._leaving.remove(child)
        for place in self._places:
            if place.successor is child:
                place.successor = None
                self._reload_failed = True
                _log.error("reload failed here, the predecessor stays", extra=self._about(child))
            elif place.current is child:
                place.current, place.successor = place.successor, None
                if child.draining:
                    place.start_at = now
                elif place.current is None:
                    self._note_death(place, now, now - child.born)

    def _note_death(self, place: Place, now: float, lived_s: float) -> None:
        place.start_at = place.deaths.another(now, lived_s)
        if not place.deaths.too_many:
            return
        if not self._announced and place.role not in LATER:
            _log.critical("cannot start: it died again and again", extra=fields(child=place.role))
            self._failed = True
            self._stop(now)
        elif place.reopen and place.listeners:
            _log.error("slot closed until a worker stays up in it", extra=fields(slot=place.number))
            place.close()

    def _overdue(self, child: Offspring, now: float) -> str | None:
        if child.doomed_at is not None:
            return "drain deadline" if now >= child.doomed_at else None
        if not child.ready and child.role not in LATER and now - child.born > self._patience.start_s:
            return "not ready in time"  # a keeper may wait for its predecessor's lock, long after that one's supervisor
        if child.ready and child.role == "worker" and now - child.last_beat > self._patience.heartbeat_s:
            return "no heartbeat"
        return None

    def _forgive(self, now: float) -> None:
        """Where this process itself was stopped, a laptop asleep or a debugger, nobody's heartbeat counts as missed."""
        gap_s = now - self._last_look
        if gap_s > 3.0:
            for child in self._children():
                child.last_beat += gap_s
        self._last_look = now

    def _obey(self, signals: bytes) -> None:
        now = time.monotonic()
        for number in signals:
            if number == signal.SIGHUP and not self._conduct.hangs_up():
                self._reload(now)
            elif number == signal.SIGUSR2:
                self._give_way()
            elif number != signal.SIGCHLD:
                _log.info("stopping", extra=fields(signal=signal.Signals(number).name))
                self._stop(now)

    def _give_way(self) -> None:
        if self._phase >= 0:
            return
        _log.info("giving way to the program that is installed now")
        why = self._conduct.give_way(self._generation, self._places, self._leaving)
        _log.error("upgrade refused, all stays as it was", extra=fields(why=why))

    def _adopt(self, handover: Handover) -> None:
        """Children of the program that was before."""
        now = time.monotonic()
        for child in handover.children:
            found = adopted(child, now)
            self._selector.register(found.link, selectors.EVENT_READ, found)
            place = next((each for each in self._places if (each.role, each.number) == (child.role, child.slot)), None)
            if child.standing == "leaving":
                self._leaving.append(found)
            elif place is None:
                self._send_off(found, now)
            elif child.standing == "current":
                place.current = found
            else:
                place.successor = found

    def _reload(self, now: float) -> None:
        """Successors first: each worker drains once the one after it is ready."""
        if self._phase >= 0:
            return
        try:
            self._settings = _keep_fixed(self._settings, self._conduct.load())
        except (ValueError, OSError) as error:
            _log.error("reload refused, the settings stay as they were", extra=fields(error=str(error)))
            return
        self._generation += 1
        self._reloading, self._reload_failed = True, False
        self._conduct.tell("reloading")
        _log.info("reloading", extra=fields(generation=self._generation))
        draining = sorted({child.generation for child in self._leaving})
        for child in self._leaving:
            if child.generation in draining[: -(_MAX_DRAINING_GENERATIONS - 1)]:
                child.hasten(now + self._patience.hastened_s)
        for place in self._places:
            if place.role == "worker" and place.wanted:
                if place.successor:
                    self._send_off(place.successor, now)
                place.successor = self._start(place, now) if place.current else None

    def _replace_the_rest(self, now: float) -> None:
        """Then the keeper and the console, of which there is never a second: the place starts the next at once.

        The console's sockets stay open meanwhile, and a keeper that stops at once loses nothing. Where no worker could
        follow on another, neither would they.
        """
        self._reloading, self._reloaded = False, True
        if self._reload_failed:
            _log.error("reload failed, keeper and console stay too")
            return
        for place in self._places:
            if place.current and place.role == "keeper":
                place.current.hasten(now + self._patience.grace_s)
            elif place.current and place.role in ("console", "runner"):
                place.current.drain(now + self._deadline_s(place.role))

    def _send_off(self, child: Offspring, now: float) -> None:
        self._leaving.append(child)
        child.drain(now + self._deadline_s(child.role))

    def _stop(self, now: float) -> None:
        """The first call drains in order, the second hastens, the third kills."""
        if self._phase < 0:
            self._phase = 0
            self._conduct.tell("stopping")
            self._dismiss(PHASES[0], now)
            return
        for child in self._children():
            if self._hurried:
                child.kill()
            elif child.draining:
                child.hasten(now + self._patience.hastened_s)
        self._hurried = True

    def _go_on_stopping(self, now: float) -> None:
        while self._phase < len(PHASES) and not any(c.role in PHASES[self._phase] for c in self._children()):
            self._phase += 1
            if self._phase < len(PHASES):
                self._dismiss(PHASES[self._phase], now)

    def _dismiss(self, roles: Sequence[str], now: float) -> None:
        for place in self._places:
            if place.role not in roles:
                continue
            place.wanted = False
            place.close()
            for child in place.children:
                child.drain(now + self._deadline_s(child.role))
                if self._hurried:
                    child.hasten(now + self._patience.hastened_s)

    def _deadline_s(self, role: str) -> float:
        if role == "keeper":
            return self._patience.keeper_drain_s
        work_s = {"worker": self._settings.server.drain_timeout_s, "console": self._settings.console.request_timeout_s}
        return work_s.get(role, 0.0) + self._patience.grace_s

    def _children(self) -> Iterator[Offspring]:
        for place in self._places:
            yield from place.children
        yield from self._leaving

    def _free_metrics(self, role: str) -> Path:
        """The first file that no living process of the role has: a successor goes on with a dead one's counts."""
        used = {child.metrics for child in self._children()}
        number = 1
        while (path := self._settings.data / "metrics" / f"{role}-{number}.map") in used:
            number += 1
        return path

    def _pause_s(self, now: float) -> float:
        times = [place.start_at for place in self._places if place.wanted and not place.current]
        times += [child.doomed_at for child in self._children() if child.doomed_at is not None]
        return max(0.0, min([1.0, *(moment - now for moment in times)]))

    def _about(self, child: Offspring, **more: str | int) -> dict[str, Mapping[str, str | int | float | bool | None]]:
        return fields(child=child.role, slot=child.slot, child_pid=child.pid, generation=child.generation, **more)


class _Signals:
    """Turns signals into bytes that the selector shows, and puts the former handlers back."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        selector.register(self._ours, selectors.EVENT_READ, self._read)

    def __enter__(self) -> None:
        self._wakeup = signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in HELD_BACK}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._ours.close()
        self._theirs.close()

    def _read(self) -> bytes:
        try:
            return self._ours.recv(4096)
        except BlockingIOError:
            return b""


def _keep_fixed(old: Settings, new: Settings) -> Settings:
    """The new settings, but for those that only a restart can change."""
    server = msgspec.structs.replace(new.server, host=old.server.host, port=old.server.port, workers=old.server.workers)
    kept = msgspec.structs.replace(new, data=old.data, simulate=old.simulate, server=server)
    if bool(old.logpush) != bool(new.logpush):
        _log.warning("the first job of Logpush begins, and the last one ends, with a restart only")
    if (new.data, new.simulate, new.server) != (kept.data, kept.simulate, kept.server):
        _log.warning("data, simulate, server.host, server.port and server.workers change with a restart only")
    return kept
