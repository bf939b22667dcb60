"""The universal WebSocket on its connection: messages in, one task for each request, messages out (contract 4.1)."""

import asyncio
import logging
from collections import deque
from math import inf
from typing import Final
from uuid import uuid4

from sluice.edge.auth import find_token
from sluice.edge.call import Call, Place
from sluice.edge.connection import LINGER_S, PIECE_BYTES
from sluice.edge.events import Event, EventCounts, Events
from sluice.edge.handover import House, switched
from sluice.edge.native import Names
from sluice.edge.options import parse_options
from sluice.edge.parting import finish, still_reads, unread
from sluice.edge.room import Room
from sluice.edge.session import Cancel, Create, NotExecuted, Session, error_message
from sluice.edge.subprotocols import chosen, fields_with, offered
from sluice.engine.engine import Engine
from sluice.engine.remarks import refusal
from sluice.metrics import Metrics
from sluice.values.errors import GatewayError, InternalFault, MalformedRequest, Overloaded, UpstreamFailure
from sluice.values.reply import Reply
from sluice.values.request import Request
from sluice.values.settings import Settings
from sluice.values.tenancy import Admission
from sluice.wire.frames import Closing
from sluice.wire.websocket import NORMAL, RESTART, WebSocket, accept

_log = logging.getLogger(__name__)

MOST_UNREAD_BYTES: Final = 4 * 1024 * 1024
"""What may wait, beside replies, for a client that reads nothing: pongs, and answers to what cannot be run."""


class UniversalSockets:
    """Opens universal WebSockets, and counts them."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine, self.limits = engine, settings.limits
        self.failure_status = settings.server.upstream_failure_status
        self._requires_auth = settings.server.websocket_requires_auth
        self.counts = EventCounts(metrics)

    async def open(self, call: Call, place: Place, names: Names) -> Reply:
        """GET /v1/{account}/{gateway} with Upgrade: many requests over one connection."""
        protocols = offered(call.head.headers)
        fields = fields_with(call.head.fields, protocols)
        opening = Request(
            place.account,
            place.gateway,
            find_token(fields),
            "websocket",
            fields.get(b"user-agent", b""),
            parse_options(fields),
            (),
            str(uuid4()),
            self._requires_auth,
        )

        def switch(admission: Admission) -> Reply:
            socket, lines = accept(call.head, self.limits.websocket_message_bytes, chosen(protocols))
            lines.append(b"cf-aig-connection-id: %b\r\n" % opening.connection_id.encode())
            return switched(UniversalSocket(socket, Session(opening, names), self), lines)

        return await self.engine.serve_own(opening, switch)

    def refusal(self, error: GatewayError) -> tuple[int, bytes]:
        """Status and body of an error, as they are over HTTP."""
        status = self.failure_status if isinstance(error, UpstreamFailure) else error.status
        part = refusal(error, status).body.poll()
        return status, b"" if part is None else part.data


class UniversalSocket(asyncio.Protocol):
    """One client's WebSocket. What it sends is always read; what it does not read holds up its own replies alone."""

    _house: House
    _transport: asyncio.Transport

    def __init__(self, socket: WebSocket, session: Session, sockets: UniversalSockets) -> None:
        self._socket, self._session, self._sockets = socket, session, sockets
        self._engine, self._limits = sockets.engine, sockets.limits
        self._events = Events(self._limits.websocket_requests, self._limits.websocket_queue_bytes, sockets.counts)
        self._room = Room()
        self._ahead: deque[bytes] = deque()
        self._surplus_bytes = self._unsent = 0
        self._ending = self._shut = self._lost = False
        self.deadline = inf

    # --- what its predecessor and the server call

    def begin(self, house: House, transport: asyncio.Transport, rest: bytes) -> None:
        self._house, self._transport = house, transport
        transport.set_protocol(self)
        self._sockets.counts.sockets.add()
        self._rest()
        if rest:
            self.data_received(rest)
        if house.draining:
            self.drain()

    def dismiss(self) -> None:
        self._socket.finish()

    def drain(self) -> None:
        if not self._events:
            self._say_goodbye(RESTART, "The gateway is restarting")

    async def cut(self) -> None:
        tasks = self._cancel_all()
        if tasks:
            await asyncio.wait(tasks)
        self._say_goodbye(RESTART, "The gateway is restarting")
        self._house.outbox.flush()
        self._transport.close()

    def expired(self) -> None:
        self.deadline = inf
        if self._room.full or self._shut:
            self._look_whether_read()
        elif self._ending:
            self._transport.abort()
        else:
            self._say_goodbye(NORMAL, "Nothing was said for too long")

    # --- what the event loop calls

    def data_received(self, data: bytes) -> None:
        if self._ahead or len(data) > PIECE_BYTES:
            self._put_off(data)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        return False  # a client that sends no more reads no more either: it has not said goodbye

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._ending = True
        self.deadline = inf
        self._ahead.clear()
        self._socket.finish()
        self._cancel_all()
        self._sockets.counts.sockets.add(-1)
        if not self._events:
            self._house.left(self)

    def pause_writing(self) -> None:
        self._room.full = True
        self._unsent = unread(self._transport)
        self.deadline = self._house.loop.time() + self._limits.send_idle_timeout_s

    def resume_writing(self) -> None:
        self._room.full = False
        self._surplus_bytes = 0
        if self._ending:
            self.deadline = self._house.loop.time() + LINGER_S
        else:
            self._rest()
        self._room.changed()

    # --- messages in

    def _put_off(self, data: bytes) -> None:
        """Reads a piece at each turn of the loop, for others to have theirs."""
        if not self._ahead:
            self._house.loop.call_soon(self._go_on)
            self._transport.pause_reading()
        self._ahead.extend(data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))

    def _go_on(self) -> None:
        if self._ahead:
            self._read(self._ahead.popleft())
        if self._ahead:
            self._house.loop.call_soon(self._go_on)
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _read(self, data: bytes) -> None:
        for said in self._socket.feed(data):
            if isinstance(said, Closing):
                self._ending = True
                self._cancel_all()
            elif not self._ending:
                self._take(said)
        self._answer()
        if not self._events and not self._ending and not self._room.full:
            self._rest()

    def _take(self, message: bytes) -> None:
        try:
            asked = self._session.read(message)
        except NotExecuted as refused:
            self._say(refused.reply)
        else:
            if isinstance(asked, Cancel):
                self._cancel(asked)
            else:
                self._create(asked)

    def _create(self, create: Create) -> None:
        """Starts a request, or has it wait, or refuses it."""
        if self._house.draining:
            return self._say(error_message(Overloaded("The gateway is restarting: connect anew"), create.event_id))
        event = self._events.add(create)
        if event is None:
            self._say(error_message(Overloaded("Too many requests wait on this connection"), create.event_id))
        elif self._events.runs(event):
            self._start(event)

    def _cancel(self, cancel: Cancel) -> None:
        """Ends all of that name."""
        named = self._events.named(cancel.event_id)
        if not named:
            self._say(error_message(MalformedRequest("No request with this eventId is running"), cancel.event_id))
        for event in named:
            if event.task is None:
                self._events.withdraw(event)
                self._say(event.envelopes.cancelled())
            elif event.task.cancel():
                event.cancelled = True

    # --- the requests

    def _start(self, event: Event) -> None:
        if not self._room.full:
            self.deadline = inf
        event.task = self._house.loop.create_task(self._run(event))
        event.task.add_done_callback(lambda _: self._ended(event))

    async def _run(self, event: Event) -> None:
        try:
            reply = await self._engine.serve_parsed(event.create.request, event.create.parse)
            await self._relay(event, reply)
        except Exception:  # a last resort: the client gets an answer, the process log the reason
            _log.exception("request failed")
            self._put([event.envelopes.broken(InternalFault(), self._sockets.refusal(InternalFault()))])

    async def _relay(self, event: Event, reply: Reply) -> None:
        """Says what a reply says, as it comes. Its log is written before its last part is at hand."""
        source, envelopes, room = reply.body, event.envelopes, self._room
        last = False
        try:
            self._put(envelopes.begin(reply.status, reply.lines))
            while not last:
                if room.narrow:
                    await room.to_pull(event, envelopes.streams)
                part = source.poll() or await source.read()
                last = part.last
                if last and envelopes.packed:
                    messages = await asyncio.to_thread(envelopes.add, part.data, last)
                else:
                    messages = envelopes.add(part.data, last)
                if not last and not envelopes.streams:
                    room.hold(event, len(part.data))
                elif room.full and messages:
                    await room.to_send()
                self._put(messages)
        except GatewayError as error:
            if not last:
                source.close()
            self._put([envelopes.broken(error, self._sockets.refusal(error))])
        except BaseException:
            if not last:
                source.close()
            raise

    def _ended(self, event: Event) -> None:
        """A request's task is over, however it went."""
        self._room.release(event)
        task, event.task = event.task, None  # cut short it holds the frames it ended in, and so event and request
        if event.cancelled and task is not None and task.cancelled():
            self._put([event.envelopes.cancelled()])
        following = self._events.ended(event)
        if following is not None:
            self._start(following)
        elif not self._events:
            self._all_ended()

    def _all_ended(self) -> None:
        if self._lost:
            self._house.left(self)
        elif self._house.draining:
            self._say_goodbye(RESTART, "The gateway is restarting")
        elif not self._room.full and not self._ending:
            self._rest()

    def _cancel_all(self) -> list[asyncio.Task[None]]:
        """Gives up all that runs, and all that waits."""
        self._events.withdraw_all()
        tasks = self._events.tasks()
        for task in tasks:
            task.cancel()
        return tasks

    # --- messages out

    def _put(self, messages: list[bytes]) -> None:
        if messages and self._socket.open and not self._lost:
            frame = self._socket.message
            self._house.outbox.put(self._transport, b"".join([frame(message) for message in messages]))

    def _say(self, message: bytes) -> None:
        """What no reply waits for: it is said at once, and so must be bounded for a client that does not read."""
        self._put([message])
        self._count_surplus(len(message))

    def _answer(self) -> None:
        """Pongs, and the end of the conversation."""
        data = self._socket.outgoing()
        if data and not self._lost:
            self._house.outbox.put(self._transport, data)
            self._count_surplus(len(data))
        if self._socket.finished and not self._shut:
            self._shut_down()

    def _count_surplus(self, size: int) -> None:
        if self._room.full:
            self._surplus_bytes += size
            if self._surplus_bytes > MOST_UNREAD_BYTES:
                self._transport.abort()

    def _say_goodbye(self, code: int, reason: str) -> None:
        if not self._ending:
            self._ending = True
            self._socket.close(code, reason)
            self._answer()
            self.deadline = self._house.loop.time() + LINGER_S

    def _shut_down(self) -> None:
        """Both have said goodbye, or one of them nothing that could be understood: closes our side (design.md 1)."""
        self._shut = self._ending = True
        self._cancel_all()
        self._house.outbox.flush()
        self._unsent = unread(self._transport)
        self.deadline = self._house.loop.time() + (self._limits.send_idle_timeout_s if self._unsent else LINGER_S)
        finish(self._transport)

    # --- deadlines

    def _rest(self) -> None:
        """Nothing runs: a client may be silent for a while."""
        idle = not self._events and not self._room.full
        self.deadline = self._house.loop.time() + self._limits.websocket_idle_timeout_s if idle else inf

    def _look_whether_read(self) -> None:
        """The time to read is up: it begins anew for a client that has read some of it meanwhile."""
        unsent = still_reads(self._transport, self._unsent)
        if unsent is None:
            return self._transport.abort()
        self._unsent = unsent
        self.deadline = self._house.loop.time() + self._limits.send_idle_timeout_s
