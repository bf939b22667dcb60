"""`sluice serve` from the folder's lock to the last child's end."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import setproctitle

from sluice.journal import fields
from sluice.supervisor import listeners, lock
from sluice.supervisor.handover import Handover, become_successor, handed_over
from sluice.supervisor.offspring import Offspring, cores
from sluice.supervisor.patience import Deaths, Patience
from sluice.supervisor.place import Place
from sluice.supervisor.service_manager import ServiceManager
from sluice.supervisor.supervisor import Conduct, Supervisor
from sluice.values.settings import ProviderSettings, Settings

SOCKETS: Final = ("console.sock", "relay.sock")
"""The console's two listeners in the data folder, in this order."""
_LONGEST_SOCKET_PATH: Final = 100
_log = logging.getLogger(__name__)


class CannotStart(Exception):
    """Why no server starts here; the message is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a person wants to know once everything is ready."""

    url: str
    data: Path
    simulator_url: str | None


@dataclass(frozen=True, slots=True)
class Hooks:
    """What `serve` is handed by the command line, or by a test."""

    load: Callable[[], Settings]
    """Reads the settings anew for a reload; raises ValueError where they are wrong."""
    prepare: Callable[[Path], None]
    """Makes what the data folder must hold before the first child starts."""
    announce: Callable[[Started], None]
    say: Callable[[str], None]
    """Tells the person at the terminal why it takes longer."""
    check: Callable[[], str] = lambda: ""
    """Why the program that is installed now could not take over; empty where it could."""
    providers: Sequence[str] = ()
    """Whose traffic goes to the simulator under `simulate`."""
    patience: Patience = field(default_factory=Patience)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)


def serve(settings: Settings, hooks: Hooks) -> int:
    """Runs the server; returns its exit status. Raises CannotStart with nothing left running."""
    setproctitle.setproctitle("sluice: supervisor")
    try:
        handover = Handover.taken(os.environ)
        with lock.hold(settings.data, "A Sluice server", handover.lock) as held:
            return _serve(settings, hooks, handover, held)
    except (lock.FolderInUse, listeners.PortTaken) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"Cannot work in the data folder {settings.data.absolute()}: {error}") from error


def _serve(settings: Settings, hooks: Hooks, handover: Handover, held: int) -> int:
    manager = ServiceManager(os.environ)
    if len(os.fsencode(settings.data / SOCKETS[0])) > _LONGEST_SOCKET_PATH:
        raise CannotStart(f"The path of the data folder is too long for sockets in it: {settings.data}")
    if not handover:
        _wait_for_port(settings, hooks)
        shutil.rmtree(settings.data / "metrics", ignore_errors=True)  # counters begin anew with a server
        (settings.data / "metrics").mkdir(mode=0o700)
    places, port, simulator_url = _open_places(settings, hooks.patience, handover)
    hooks.prepare(settings.data)
    started = Started(
        listeners.url_of(settings.server.host, port, tls=bool(settings.server.tls_cert)), settings.data, simulator_url
    )

    def dressed(plain: Settings) -> Settings:
        return _dressed(plain, port, simulator_url, hooks.providers)

    def announce() -> None:
        _log.info("serving", extra=fields(url=started.url, data=str(settings.data.absolute())))
        hooks.announce(started)

    def give_way(generation: int, places: Sequence[Place], leaving: Sequence[Offspring]) -> str:
        environment = {**os.environ, **manager.asked}
        return _give_way(settings, hooks, handed_over(held, generation, places, leaving), environment)

    conduct = Conduct(
        lambda: dressed(hooks.load()),
        announce,
        _terminal_watch(),
        hooks.patience,
        hooks.programs,
        manager.tell,
        give_way,
    )
    try:
        return Supervisor(dressed(settings), places, conduct, handover).run()
    finally:
        for name in SOCKETS:
            (settings.data / name).unlink(missing_ok=True)


def _give_way(settings: Settings, hooks: Hooks, handover: Handover, environment: dict[str, str]) -> str:
    """Returns only where it cannot be, with the reason."""
    try:
        if hooks.load().data.absolute() != settings.data.absolute():
            return "the data folder changes with a restart only"
        if why := hooks.check():
            return why
        become_successor(handover, environment)
    except (ValueError, OSError) as error:
        return str(error)
    return "it could not be begun"


def _dressed(plain: Settings, port: int, simulator_url: str | None, simulated: Sequence[str]) -> Settings:
    """The settings as the children need them: the port in use, the simulator in place of the providers."""
    server = msgspec.structs.replace(plain.server, port=port)
    providers = plain.providers
    if simulator_url:
        providers = {name: ProviderSettings(f"{simulator_url}/{name}") for name in simulated}
    return msgspec.structs.replace(plain, server=server, providers=providers)


def _wait_for_port(settings: Settings, hooks: Hooks) -> None:
    """A killed supervisor's workers keep the port while they finish: they are waited for, nobody else is."""
    patience_s = settings.server.drain_timeout_s + hooks.patience.grace_s
    give_up_at = time.monotonic() + patience_s
    told = False
    while True:
        try:
            return listeners.probe(settings.server.host, settings.server.port)
        except listeners.PortTaken:
            if time.monotonic() > give_up_at or not lock.held_spools(settings.data / "spool"):
                raise
        if not told:
            hooks.say(f"Workers of a former server still finish their requests: waiting, {patience_s:.0f} s at most.")
            told = True
        time.sleep(0.1)


def _open_places(settings: Settings, patience: Patience, handover: Handover) -> tuple[list[Place], int, str | None]:
    """Opens all sockets that were not handed over; returns the places with them, the port and the simulator's address.

    The port is chosen by the system where 0 was asked for.
    """
    workers, port = _open_workers(settings, patience, handover)
    sockets = handover.listeners("console") or [listeners.open_unix(settings.data / name) for name in SOCKETS]
    places = [*workers, Place("console", 0, Deaths(patience, at_once=False), listeners=sockets)]
    simulator_url = None
    if settings.simulate:
        (simulator,) = handover.listeners("simulator") or [listeners.open_tcp("127.0.0.1", 0)]
        # Before the console, which takes longer and which no first call waits for.
        places.insert(-1, Place("simulator", 0, Deaths(patience, at_once=True), listeners=[simulator]))
        simulator_url = listeners.url_of("127.0.0.1", simulator.getsockname()[1])
    keeper_from = time.monotonic() + patience.keeper_start_s
    places.append(Place("keeper", 0, Deaths(patience, at_once=False), start_at=keeper_from))
    if settings.logpush:
        places.append(Place("runner", 0, Deaths(patience, at_once=False), start_at=keeper_from))
    return places, port, simulator_url


def _open_workers(settings: Settings, patience: Patience, handover: Handover) -> tuple[list[Place], int]:
    server = settings.server
    count = handover.workers or server.workers or max(1, cores() - 1)
    handed = {number: found for number in range(1, count + 1) if (found := handover.listeners("worker", number))}
    first = next(iter(handed.values()))[0] if handed else listeners.open_tcp(server.host, server.port)
    port: int = first.getsockname()[1]
    places = []
    for number in range(1, count + 1):
        place = Place("worker", number, Deaths(patience, at_once=True))
        if listeners.PER_SLOT:
            place.reopen = lambda: [listeners.open_tcp(server.host, port, listening=False)]
        if number in handed:
            place.listeners = handed[number]
        elif not handed and number == 1:
            place.listeners = [first]
        elif not handed:
            place.listeners = [listeners.open_tcp(server.host, port) if listeners.PER_SLOT else first.dup()]
        places.append(place)
    return places, port


def _terminal_watch() -> Callable[[], bool]:
    """Tells a SIGHUP that asks for a reload from one that a closed terminal sends: then nothing may be left running."""
    if not os.isatty(0):
        return lambda: False

    def gone() -> bool:
        try:
            os.tcgetpgrp(0)
        except OSError:
            return True
        return False

    return gone
