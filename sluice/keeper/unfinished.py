"""Exchanges that go on for long: kept until their own frame comes, and made a broken log where it never will."""

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from sluice.journal import fields
from sluice.keeper.intake import Work
from sluice.spool.frames import FrameError, ImportedFrame, LogFrame, decode_log_frame, decode_meta, meta_of
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded.marks import Marks, OpenExchange
from sluice.values.errors import InternalFault
from sluice.values.ids import key_of
from sluice.values.log import Position

_log = logging.getLogger(__name__)

DETAIL: Final = "The gateway's process that served it died"


class Unfinished:
    """Which exchanges go on, in memory and, as far as the marks have come, in `keeper.db`."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._known: dict[str, dict[str, OpenExchange]] = {}
        self._opened: dict[str, OpenExchange] = {}
        """Not in the database yet; likewise `_ended`, not out of it."""
        self._ended: set[str] = set()
        self._settling: tuple[dict[str, OpenExchange], set[str]] = {}, set()
        for log_id, exchange in marks.open_exchanges().items():
            self._known.setdefault(exchange.spool, {})[log_id] = exchange

    def begin(self, spool: str, data: bytes) -> None:
        """This frame tells that an exchange goes on. Raises FrameError, and ValueError where its id is no ULID."""
        frame = decode_log_frame(data)
        log_id = frame.exchange.id
        key_of(log_id)
        exchange = OpenExchange(spool, frame.gateway_id, meta_of(data))
        self._known.setdefault(spool, {})[log_id] = self._opened[log_id] = exchange
        self._ended.discard(log_id)

    def end(self, frames: Iterable[tuple[Work, LogFrame | ImportedFrame]]) -> None:
        """The logs of these frames are stored, or their gateway is deleted."""
        for work, frame in frames:
            if isinstance(frame, LogFrame) and (known := self._known.get(work.spool)):
                self._end(known, frame.exchange.id)

    def forget(self, frames: Iterable[LogFrame]) -> None:
        """The same for those that were given up."""
        for frame in frames:
            for known in self._known.values():
                self._end(known, frame.exchange.id)

    def begin_settling(self) -> None:
        """What the database is to know when marks of this moment move; what is told from now on, with the next ones."""
        opened, ended = self._settling
        self._settling = (
            {log_id: each for log_id, each in (opened | self._opened).items() if log_id not in self._ended},
            {log_id for log_id in ended | self._ended if log_id not in self._opened},
        )
        self._opened, self._ended = {}, set()

    @property
    def changed(self) -> bool:
        """Whether the database does not know all of that."""
        return any(self._settling)

    def settle(self, moved: dict[str, Position]) -> None:
        """Moves marks, before which all frames had been told when settling began, with what went on there."""
        self._marks.move(moved, *self._settling)
        self._settling = {}, set()

    def given_up(self, reader: SpoolReader, marks: dict[str, Position]) -> list[LogFrame]:
        """What will never end by itself, for its worker is dead and all its frames are before the marks.

        As the frames that the worker would have written when it died.
        """
        frames: list[LogFrame] = []
        for spool, known in self._known.items():
            if not known or spool not in marks:
                continue
            past = reader.past(spool, marks[spool])
            dead = [log_id for log_id in known if key_of(log_id) <= past]
            deaths = reader.deaths(spool) if dead else []
            for log_id in dead:
                try:
                    frames.append(_broken(known[log_id], _died_s(key_of(log_id), deaths)))
                except FrameError as error:  # the database was damaged
                    _log.error("open exchange lost", extra=fields(log_id=log_id, error=str(error)))
                    self._end(known, log_id)
        return frames

    def _end(self, known: dict[str, OpenExchange], log_id: str) -> None:
        if known.pop(log_id, None) is not None:
            self._opened.pop(log_id, None)
            self._ended.add(log_id)


def _died_s(key: int, deaths: list[tuple[int, float]]) -> float:
    return next(seen_s for last_key, seen_s in deaths if key <= last_key)


def _broken(opened: OpenExchange, seen_s: float) -> LogFrame:
    """The frame that the worker would have written when it died."""
    exchange = decode_meta(opened.meta)
    lived_us = int(seen_s * 1_000_000) - exchange.started_ms * 1000
    ended = msgspec.structs.replace(
        exchange,
        duration_us=max(exchange.duration_us, lived_us),
        status=exchange.status or InternalFault.status,
        ending="broken",
        error=InternalFault.code,
        detail=DETAIL,
    )
    return LogFrame(opened.gateway_id, ended, b"", b"")
