"""A supervisor makes room for the program that is installed now, and hands over all it has: lock, sockets, children.

It becomes that program in place (exec): same process, same parent, nothing closed. What the new one has to know of
descriptors and children comes by the environment; then it replaces the children as a reload does.
"""

import os
import signal
import socket
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from sluice.supervisor.offspring import AdoptedProcess, Offspring
from sluice.supervisor.place import Place

VARIABLE: Final = "_SLUICE_HANDOVER"
HELD_BACK: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
"""Signals that would end a program which has just begun; they wait until its supervisor hears them."""


class Child(msgspec.Struct, frozen=True):
    """A process that lives on."""

    role: str
    slot: int
    generation: int
    metrics: Path
    pid: int
    link: int
    """Descriptor of the line to it; likewise below."""
    standing: Literal["current", "successor", "leaving"]
    ready: bool
    heard: str
    doomed_at: float | None


class Sockets(msgspec.Struct, frozen=True):
    """The listening sockets of one place."""

    role: str
    number: int
    listeners: list[int]


class Handover(msgspec.Struct, frozen=True):
    """Empty for a server that starts by itself."""

    lock: int = -1
    generation: int = 0
    places: list[Sockets] = []
    children: list[Child] = []

    @classmethod
    def taken(cls, environment: MutableMapping[str, str]) -> "Handover":
        """What this process was handed; nothing of it goes to its children."""
        text = environment.pop(VARIABLE, "")
        if not text:
            return cls()
        found = msgspec.json.decode(text.encode(), type=cls, dec_hook=lambda kind, value: kind(value))
        for descriptor in found.descriptors:
            os.set_inheritable(descriptor, False)
        return found

    def __bool__(self) -> bool:
        return self.lock >= 0

    @property
    def workers(self) -> int:
        return sum(place.role == "worker" for place in self.places)

    @property
    def descriptors(self) -> list[int]:
        found = [self.lock, *(child.link for child in self.children)]
        return [*found, *(listener for place in self.places for listener in place.listeners)]

    def listeners(self, role: str, number: int = 0) -> list[socket.socket]:
        """The sockets that a place had."""
        found = [place.listeners for place in self.places if (place.role, place.number) == (role, number)]
        return [socket.socket(fileno=listener) for listener in (found[0] if found else [])]


NOTHING: Final = Handover()


def handed_over(lock: int, generation: int, places: Sequence[Place], leaving: Sequence[Offspring]) -> Handover:
    """What a supervisor has."""
    children = [_told(child, "leaving") for child in leaving]
    for place in places:
        children += [_told(place.current, "current")] if place.current else []
        children += [_told(place.successor, "successor")] if place.successor else []
    sockets = [Sockets(each.role, each.number, [one.fileno() for one in each.listeners]) for each in places]
    return Handover(lock, generation, sockets, children)


def become_successor(handover: Handover, environment: MutableMapping[str, str]) -> None:
    """Becomes the program that this one was started as, as it is installed now. Raises OSError where that cannot be."""
    for descriptor in handover.descriptors:
        os.set_inheritable(descriptor, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    text = msgspec.json.encode(handover, enc_hook=str).decode()
    try:
        os.execve(sys.executable, sys.orig_argv, {**environment, VARIABLE: text})
    finally:  # it did not work: all stays as it was
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for descriptor in handover.descriptors:
            os.set_inheritable(descriptor, False)


def adopted(child: Child, now: float) -> Offspring:
    """The process that the program before has started, as one of ours."""
    link = socket.socket(fileno=child.link)
    link.setblocking(False)
    found = Offspring(child.role, child.slot, child.generation, child.metrics, AdoptedProcess(child.pid), link, now)
    found.ready, found.doomed_at, found.unfinished = child.ready, child.doomed_at, child.heard.encode()
    found.draining = child.doomed_at is not None
    return found


def _told(child: Offspring, standing: Literal["current", "successor", "leaving"]) -> Child:
    return Child(
        child.role,
        child.slot,
        child.generation,
        child.metrics,
        child.pid,
        child.link.fileno(),
        standing,
        child.ready,
        child.unfinished.decode(),
        child.doomed_at,
    )
