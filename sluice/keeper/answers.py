"""Tells whoever asks over `keeper.sock` what became of a command. The keeper waits for nobody."""

import logging
import os
import select
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from sluice.journal import fields
from sluice.values.command import Outcome

_log = logging.getLogger(__name__)

REMEMBERED: Final = 10_000
"""So many outcomes are kept for those who ask after the command has run."""
_BACKLOG: Final = 256
_ASKERS: Final = 1_024
_QUESTION_BYTES: Final = 256
_TICK_S: Final = 0.001
"""poll() knows no shorter wait."""


class Answers:
    """Whoever connects sends the id of one command and a line feed, and gets its Outcome as a line of JSON.

    An asker that sends anything else, or does not read, is hung up on.
    """

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self._path, self._listener = path, listener
        self._new: dict[socket.socket, bytes] = {}
        """Connections whose question has not come whole."""
        self._asked: dict[str, list[socket.socket]] = {}
        self._told: OrderedDict[str, Outcome] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> Self:
        """For the holder of the keeper's lock: a socket that a dead keeper has left is replaced."""
        making = path.with_name(f"{path.name}.new")
        making.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(making))
            os.chmod(making, 0o600)
            listener.listen(_BACKLOG)
            making.rename(path)  # nobody meets a socket that is not yet listening, or open to all
        except OSError:
            listener.close()
            raise
        return cls(path, listener)

    def tell(self, outcome: Outcome) -> None:
        """The command is done: tells those who have asked, and those who will."""
        self._told[outcome.id] = outcome
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        for asker in self._asked.pop(outcome.id, ()):
            self._answer(asker, outcome)

    def wait(self, wait_s: float) -> None:
        """Waits so long, or until a question comes: its command is in a spool, and need not wait to be found there."""
        if wait_s < _TICK_S:
            time.sleep(wait_s)
        else:
            poll = select.poll()
            for one in (self._listener, *self._new):
                poll.register(one, select.POLLIN)
            poll.poll(wait_s * 1000)

    def serve(self) -> None:
        """Reads the questions that have come, and answers those that it can."""
        self._accept()
        for asker in list(self._new):
            self._read(asker)

    def close(self) -> None:
        for asker in [*self._new, *(asker for askers in self._asked.values() for asker in askers)]:
            asker.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        """Past the bound, those who have asked longest for what never comes make room."""
        with suppress(BlockingIOError):
            while True:
                asker, _ = self._listener.accept()
                asker.setblocking(False)
                self._new[asker] = b""
                self._make_room()

    def _make_room(self) -> None:
        if len(self._new) + sum(map(len, self._asked.values())) <= _ASKERS:
            return
        if self._asked:
            oldest = next(iter(self._asked))
            askers = self._asked.pop(oldest)
        else:
            askers = [next(iter(self._new))]
            del self._new[askers[0]]
        _log.warning("askers hung up on", extra=fields(count=len(askers)))
        for asker in askers:
            asker.close()

    def _read(self, asker: socket.socket) -> None:
        try:
            piece = asker.recv(_QUESTION_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        question, ended, rest = (self._new.pop(asker) + piece).partition(b"\n")
        if not piece or rest or len(question) > _QUESTION_BYTES:
            asker.close()
        elif not ended:
            self._new[asker] = question
        else:
            self._ask(asker, question.decode(errors="replace"))

    def _ask(self, asker: socket.socket, command_id: str) -> None:
        if outcome := self._told.get(command_id):
            self._answer(asker, outcome)
        else:
            self._asked.setdefault(command_id, []).append(asker)

    def _answer(self, asker: socket.socket, outcome: Outcome) -> None:
        with suppress(OSError):  # it has left
            asker.send(msgspec.json.encode(outcome) + b"\n")
        asker.close()
