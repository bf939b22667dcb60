"""Performs a conversation on a WebSocket, faults included: frames in by `hear`, bytes out by `write`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from sluice.simulator.call import BodyKeeper
from sluice.simulator.faults import Faults
from sluice.simulator.live import Goodbye, Live, Message, Said
from sluice.simulator.staging import STALL_MS, Stop
from sluice.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closing, Frame, close_frame, framed

_NO_FRAME: Final = b"\xff\x00"
"""Reserved bits and a kind that does not exist."""


class Conversation:
    """One connection's. `said` keeps what the client said, a message a line."""

    def __init__(
        self, live: Live, hear: Callable[[], Awaitable[Frame | None]], write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._live, self._hear, self._write = live, hear, write
        self._sent = 0
        self._text = True
        self._parts: list[bytes] = []
        self.said = BodyKeeper()

    async def run(self) -> Stop:
        """Returns what is to become of the connection."""
        stop = await self._say(self._live.opening())
        while stop is None:
            frame = await self._hear()
            if frame is None:
                return Stop("close", False)
            stop = await self._heard(frame)
        return stop

    async def _heard(self, frame: Frame) -> Stop | None:
        if frame.kind == CLOSE:
            await self._write(framed(frame, masked=False))
            return Stop("close", True)
        if frame.kind == PING:
            await self._write(framed(Frame(PONG, frame.data), masked=False))
        if frame.kind >= CLOSE:
            return None
        if frame.kind != CONTINUATION:
            self._text = frame.kind == TEXT
        self._parts.append(frame.data)
        if not frame.last:
            return None
        message = Message(b"".join(self._parts), self._text)
        self._parts = []
        self.said.add(message.data + b"\n")
        faults = self._live.faults
        if faults.slow_first_token:
            await asyncio.sleep(faults.slow_first_token / 1000)
        if faults.goodbye is not None:
            return await self._say(iter((Goodbye(faults.goodbye, "as asked"),)))
        return await self._say(self._live.heard(message))

    async def _say(self, said: Iterator[Said]) -> Stop | None:
        """Says it all, one by one; where the connection ends by it, how."""
        for one in said:
            faults = self._live.faults
            if isinstance(one, Goodbye):
                return await self._part(one)
            if faults.pace:
                await asyncio.sleep(faults.pace / 1000)
            if (stop := await self._break(faults)) is not None:
                return stop
            for frame in _frames(one, faults.drip):
                await self._write(framed(frame, masked=False))
            self._sent += 1
            await asyncio.sleep(0)  # uvloop joins what is written in one turn
        return await self._break(self._live.faults)

    async def _break(self, faults: Faults) -> Stop | None:
        """The end of a connection that is to break after so many messages."""
        if self._sent == faults.cut:
            return Stop("close", False)
        if self._sent == faults.reset:
            return Stop("reset", False)
        if self._sent == faults.half_close:
            return Stop("half-close", False)
        if self._sent == faults.malformed:
            await self._write(_NO_FRAME)
            return await self._listen(Stop("close", False))
        if self._sent == faults.stall:
            await asyncio.sleep(STALL_MS / 1000)
            return Stop("close", False)
        return None

    async def _part(self, goodbye: Goodbye) -> Stop:
        await self._write(framed(close_frame(Closing(goodbye.code, goodbye.reason)), masked=False))
        return await self._listen(Stop("close", True))

    async def _listen(self, stop: Stop) -> Stop:
        """Hears the client out up to its goodbye."""
        while (frame := await self._hear()) is not None and frame.kind != CLOSE:
            pass
        return stop


def _frames(message: Message, size: int | None) -> Iterator[Frame]:
    """A message in one frame, or in fragments of so many bytes."""
    kind = TEXT if message.text else BINARY
    step = size or max(len(message.data), 1)
    starts = range(0, max(len(message.data), 1), step)
    for start in starts:
        last = start == starts[-1]
        yield Frame(kind if start == 0 else CONTINUATION, message.data[start : start + step], last)
