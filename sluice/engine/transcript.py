"""What is logged of a relayed connection: the messages of text that both sides sent, one a line."""

from typing import Final

from sluice.engine.recorder import Record
from sluice.spool.tape import Tape
from sluice.values.exchange import Ending
from sluice.wire.frames import BINARY, CONTINUATION, TEXT, Frame

MEDIA_TYPE: Final = b"application/x-ndjson"
"""What the log says of a transcript: realtime APIs speak JSON."""
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


class Side:
    """One direction, onto its tape."""

    __slots__ = ("_kinds", "_spoken", "tape")

    def __init__(self, tape: Tape, kinds: frozenset[int]) -> None:
        self.tape, self._kinds = tape, kinds
        self._spoken = False

    def add(self, frame: Frame) -> None:
        """Records a frame of a message of text. White space in JSON is as good as another, so each gets one line."""
        if frame.kind != CONTINUATION:
            self._spoken = frame.kind in self._kinds
        if self._spoken:
            data = frame.data.translate(_BREAKS)
            self.tape.add(data + b"\n" if frame.last else data)


class Transcript:
    """The record of a relayed connection, which is ended once."""

    def __init__(self, record: Record, json_in_binary: bool) -> None:
        self._record = record
        kinds = frozenset((TEXT, BINARY) if json_in_binary else (TEXT,))
        self._sides = [Side(tape, kinds) for tape in record.transcribe() or ()]

    def asked(self, frame: Frame) -> None:
        """The client sent this."""
        if self._sides:
            self._sides[0].add(frame)

    def told(self, frame: Frame) -> None:
        """The provider sent this."""
        if self._sides:
            self._sides[1].add(frame)

    @property
    def behind(self) -> bool:
        """Whether both should wait for the disk, until `settle()` returns."""
        return any(side.tape.behind for side in self._sides)

    async def settle(self) -> None:
        for side in self._sides:
            await side.tape.settle()

    async def end(self, ending: Ending, error: int, detail: str) -> None:
        """Returns once the log is written; only the first ending counts."""
        await self._record.conclude(ending, error, detail)
