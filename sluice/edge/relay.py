"""A client's WebSocket and a provider's: what comes from one goes to the other, frame by frame (contract 4.2)."""

import asyncio
import logging
from math import inf
from typing import Final, NamedTuple

from sluice.edge.handover import House
from sluice.edge.leg import Leg
from sluice.engine.realtime import Opened
from sluice.journal import fields
from sluice.metrics import Gauge
from sluice.values.errors import InternalFault, Unauthorized, UpstreamBroken
from sluice.values.exchange import Ending
from sluice.values.settings import LimitSettings, RealtimeSettings
from sluice.wire.frames import UNSAID, Closing, Frame, close_frame

_log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
"""How often limits and the client's token are looked at: a revoked one ends a connection within five seconds."""
ANSWER_S: Final = 10.0
"""How long a provider may take to answer a client's goodbye."""
LINGER_S: Final = 2.0
"""How long both sides have for theirs, once the log is written."""
FRIENDLY: Final = frozenset((1000, 1001, UNSAID))
"""Codes by which a provider ends a connection on which nothing failed."""

GOING_AWAY: Final = Closing(1001, "The other side is gone")
LOST: Final = Closing(1014, "The connection to the provider was lost")
IDLE: Final = Closing(1001, "The connection was idle for too long")
LATE: Final = Closing(1001, "The connection was open for too long")
REVOKED: Final = Closing(1008, "Unauthorized")
RESTART: Final = Closing(1012, "The gateway restarts")
BUG: Final = Closing(1011, "Internal error")


class End(NamedTuple):
    """How a connection ends: what the log says, and what each side is told, None for what it knows already."""

    ending: Ending
    error: int = 0
    detail: str = ""
    client: Frame | None = None
    provider: Frame | None = None


class Relay:
    """Goes on with a client's connection once the provider's stands. One task ends it; all else is callbacks."""

    def __init__(self, opened: Opened, settings: RealtimeSettings, limits: LimitSettings, running: Gauge) -> None:
        self._opened, self._settings, self._limits, self._running = opened, settings, limits, running
        self._transcript = opened.transcript
        self._end: End | None = None
        self._goodbye: Frame | None = None
        self._parting_since = inf
        self._told = False
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self.deadline = inf

    # --- what the server calls

    def begin(self, house: House, transport: asyncio.Transport, rest: bytes) -> None:
        self._house, opened = house, self._opened
        most = self._settings.frame_bytes
        self._client = Leg(self, transport, house.outbox, most, masks=False)
        self._provider = Leg(self, opened.transport, house.outbox, most, masks=True)
        self._started = self._heard_at = house.loop.time()
        self.deadline = self._started + CHECK_S
        self._running.add()
        self._task = house.loop.create_task(self._run())
        self._client.begin(rest)
        self._provider.begin(opened.rest)

    def dismiss(self) -> None:
        self._opened.close()

    def drain(self) -> None:
        """It goes on until it is cut: nobody knows when a conversation is over."""

    async def cut(self) -> None:
        self._finish(End("broken", 0, RESTART.reason, close_frame(RESTART), close_frame(GOING_AWAY)))
        await asyncio.wait((self._task,))

    def expired(self) -> None:
        now = self._house.loop.time()
        self.deadline = now + CHECK_S
        end = self._overdue(now) if self._end is None else None
        if end is not None:
            self._finish(end)

    # --- what both sides tell

    def heard(self, leg: Leg, frame: Frame) -> None:
        self._heard_at = self._house.loop.time()
        if self._end is not None:
            return
        if leg is self._client:
            self._transcript.asked(frame)
            self._provider.send(frame)
        else:
            self._transcript.told(frame)
            self._client.send(frame)
        if self._transcript.behind:
            self._weigh()
            self._news.set()

    def parted(self, leg: Leg, frame: Frame, closing: Closing) -> None:
        if self._end is not None:
            if leg is self._client:
                self._provider.part(frame)
            if self._told:
                leg.part(frame)
        elif leg is self._client:
            self._goodbye, self._parting_since = frame, self._house.loop.time()
            self._provider.part(frame)
        elif self._goodbye is not None or closing.code in FRIENDLY:
            self._finish(End("complete", client=frame))
        else:
            detail = f"The provider closed the connection with {closing.code}"
            self._finish(End("broken", UpstreamBroken.code, detail, client=frame))

    def broke(self, leg: Leg, fault: Closing) -> None:
        if leg is self._client:
            detail = f"The client broke the protocol: {fault.reason}"
            self._finish(End("abandoned", 0, detail, close_frame(fault), close_frame(GOING_AWAY)))
        else:
            detail = f"The provider broke the protocol: {fault.reason}"
            self._finish(End("broken", UpstreamBroken.code, detail, close_frame(LOST), close_frame(fault)))

    def lost(self, leg: Leg) -> None:
        if self._client.over and self._provider.over:
            self._gone.set()
        if self._end is not None:
            self._provider.part(close_frame(GOING_AWAY))
        elif self._goodbye is not None:
            self._finish(End("complete", client=self._goodbye))
        elif leg is self._client:
            self._finish(End("abandoned", provider=close_frame(GOING_AWAY)))
        else:
            self._finish(End("broken", UpstreamBroken.code, LOST.reason, client=close_frame(LOST)))

    def weighed(self, leg: Leg) -> None:
        self._weigh()

    # --- how it ends

    def _weigh(self) -> None:
        """Each side is heard only as long as the other takes what it says, and the disk does."""
        behind = self._end is None and self._transcript.behind
        self._client.hold(behind or self._provider.full)
        self._provider.hold(behind or self._client.full)

    def _overdue(self, now: float) -> End | None:
        """Which limit is past, if any is."""
        settings = self._settings
        if not self._opened.admitted():
            return End(
                "broken", Unauthorized.code, "The token was revoked", close_frame(REVOKED), close_frame(GOING_AWAY)
            )
        if now - self._parting_since > ANSWER_S:
            return End("complete", client=self._goodbye)
        if now - min(self._client.full_since, now) > self._limits.send_idle_timeout_s:
            return End("abandoned", 0, "The client read nothing any more", provider=close_frame(GOING_AWAY))
        if now - min(self._provider.full_since, now) > self._limits.send_idle_timeout_s:
            detail = "The provider read nothing any more"
            return End("broken", UpstreamBroken.code, detail, close_frame(LOST), close_frame(GOING_AWAY))
        if now - self._heard_at > settings.idle_timeout_s:
            return End("abandoned", 0, IDLE.reason, close_frame(IDLE), close_frame(IDLE))
        if settings.total_timeout_s and now - self._started > settings.total_timeout_s:
            return End("broken", 0, LATE.reason, close_frame(LATE), close_frame(LATE))
        return None

    def _finish(self, end: End) -> None:
        """Only the first end counts."""
        if self._end is None:
            self._end = end
            self._news.set()

    async def _run(self) -> None:
        """Waits for the end, writes the log, and only then tells both sides."""
        try:
            end = await self._ended()
        except Exception as error:  # a last resort: the log and both sides must not be left open
            _log.error("relay failed", extra=fields(error=type(error).__name__))
            end = End("broken", InternalFault.code, InternalFault.message, close_frame(BUG), close_frame(BUG))
        try:
            await self._transcript.end(end.ending, end.error, end.detail)
            self._tell(end)
            async with asyncio.timeout(LINGER_S):
                await self._gone.wait()
        except TimeoutError:
            pass
        finally:
            self._client.abort()
            self._provider.abort()
            self.deadline = inf
            self._running.add(-1)
            self._house.left(self)

    async def _ended(self) -> End:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._end is not None:
                return self._end
            await self._transcript.settle()
            self._weigh()

    def _tell(self, end: End) -> None:
        """Says the last words; who is held up may say theirs."""
        self._told = True
        if end.client is not None:
            self._client.part(end.client)
        if end.provider is not None:
            self._provider.part(end.provider)
        self._client.hold(False)
        self._provider.hold(False)
