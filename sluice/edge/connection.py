"""One client connection: requests in, in order; replies out, in order."""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable
from math import inf
from typing import Final, Protocol, cast

from sluice.edge.body import ArrivedBody, BodyBudget, IncomingBody
from sluice.edge.call import Call
from sluice.edge.handover import Connection, Handover, Successor
from sluice.edge.parting import finish, still_reads, unread
from sluice.edge.render import Form
from sluice.outbox import Outbox
from sluice.values.errors import GatewayError, InternalFault, MalformedRequest, RequestTimeout
from sluice.values.reply import Part, Reply, ReplyBody
from sluice.values.settings import LimitSettings
from sluice.wire.events import END, RequestEvent, RequestHead
from sluice.wire.http1 import RequestReader
from sluice.wire.lines import CONTINUE, status_line

_log = logging.getLogger(__name__)

LINGER_S: Final = 2.0
"""How long a connection whose last reply is out is read and discarded, lest a reset destroy that reply."""

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset."""

IDLE_AT_DRAIN_S: Final = 2.0
"""How long an idle connection is left open when the worker drains."""

PIECE_BYTES: Final = 16 * 1024
"""What is parsed at once. A read of 256 KB may hold 10,000 requests, which parsed take thirty times as much memory."""

Turn = tuple[RequestHead, IncomingBody | ArrivedBody] | GatewayError
"""A request to be answered, or a fault that is the answer to all that follows."""


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    limits: LimitSettings
    loop: asyncio.AbstractEventLoop
    outbox: Outbox
    draining: bool
    bodies: BodyBudget

    def answer(self, call: Call, /) -> Awaitable[Reply]: ...

    def refuse(self, error: GatewayError, event_id: bytes, target: bytes, /) -> Reply: ...

    def trusts(self, transport: asyncio.BaseTransport, /) -> bool: ...

    def joined(self, connection: "Downstream") -> None: ...

    def left(self, connection: Connection, /) -> None: ...

    def handed_over(self, connection: Connection, successor: Connection, /) -> None: ...

    def replied(self, status: int) -> None: ...


class Downstream(asyncio.Protocol):
    """A client's connection. One request is served at a time; pipelined ones wait their turn, boundedly."""

    _source: ReplyBody
    _form: Form
    _seen: asyncio.Future[Part | None]

    def __init__(self, server: Host) -> None:
        self._server, self._limits, self._loop = server, server.limits, server.loop
        self._outbox = server.outbox
        self._reader = RequestReader(self._limits.head_bytes, self._limits.headers)
        self._waiting: deque[Turn] = deque()
        self._incoming: IncomingBody | None = None
        self._served_body: IncomingBody | None = None
        """Of the request that is being served, where it did not come with its head."""
        self._task: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[Turn] | None = None
        self._room: asyncio.Future[None] | None = None
        self._busy = self._full = self._paused = self._closing = self._spoilt = self._within_head = False
        self._proxied = False
        self._ahead: deque[bytes] = deque()
        self._ahead_bytes = self._served = self._unsent = 0
        self.deadline = inf

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape alone
        self._proxied = self._server.trusts(transport)
        self.deadline = self._loop.time() + self._limits.keep_alive_s
        self._server.joined(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.deadline = inf
        self._closing = True
        self._waiting.clear()
        self._ahead.clear()
        self._incoming = None  # which holds on to this connection
        self._release()
        self._reader.close()
        self._server.left(self)
        task, self._task = self._task, None  # it ends with frames that hold on to this connection, and to what it wrote
        if task is not None:
            task.cancel()

    def eof_received(self) -> bool:
        return False  # a client that has left, or has nothing more to ask: either way it is over

    def data_received(self, data: bytes) -> None:
        if self._closing or self._spoilt:
            return
        if self._ahead or len(data) > PIECE_BYTES or (self._waiting and self._enough_waits):
            self._put_off(data)
        else:
            self._read(data)

    def pause_writing(self) -> None:
        self._full = True
        self._unsent = unread(self._transport)
        self.deadline = self._loop.time() + self._limits.send_idle_timeout_s

    def resume_writing(self) -> None:
        self._full = False
        now, limits = self._loop.time(), self._limits
        if self._closing:
            self.deadline = now + LINGER_S
        elif not self._busy:
            self.deadline = now + limits.keep_alive_s
        else:
            self.deadline = inf if self._incoming is None or self._paused else now + limits.body_idle_timeout_s
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # --- what the server calls

    def refuse(self, error: GatewayError) -> None:
        """Answers without having read anything, and closes."""
        self._spoil(error)

    def drain(self) -> None:
        """Soon closes: an idle connection in a moment, a busy one behind its reply."""
        if not self._busy and not self._closing:
            self.deadline = min(self.deadline, self._loop.time() + IDLE_AT_DRAIN_S)

    async def cut(self) -> None:
        """Ends it in the midst of what it does; returns once that has been recorded."""
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def expired(self) -> None:
        """A deadline is past: which one, the state tells."""
        self.deadline = inf
        incoming = self._incoming
        if self._closing or self._full:
            self._look_whether_read()
        elif incoming is not None:
            incoming.fail(RequestTimeout())
        elif self._within_head:
            self._spoil(RequestTimeout())
        elif self._transport.get_write_buffer_size():
            self._linger()  # mere closing waits without end for a client that reads no more
        else:
            self._transport.close()

    # --- requests

    def _read(self, data: bytes) -> None:
        events = self._reader.feed(data)
        head = events[0] if events else None
        if isinstance(head, RequestHead) and events[-1] is END and len(events) < 4 and self._is_short(events[1]):
            # The usual case, which needs no IncomingBody: all of one request in one read.
            self._within_head = False
            piece = events[1]
            self._queue((head, ArrivedBody(piece if isinstance(piece, bytes) else b"")))
        else:
            for event in events:
                self._take(event)
        if self._reader.fault is not None:
            self._spoil(self._reader.fault)
        elif self._busy:
            self._hold_up()
        elif not self._within_head:
            self._within_head = True
            self.deadline = self._loop.time() + self._limits.head_timeout_s

    def _is_short(self, piece: RequestEvent) -> bool:
        """Whether what follows a head is its end, or a body within the limit."""
        return piece is END or (isinstance(piece, bytes) and len(piece) <= self._limits.body_bytes)

    def _take(self, event: RequestEvent) -> None:
        if isinstance(event, RequestHead):
            limits = self._limits
            invite = self._invite if event.expects_continue else None
            body = IncomingBody(
                event.length, limits.body_bytes, limits.buffer_bytes, self._flow, invite, self._server.bodies
            )
            self._incoming = body
            self._within_head = False
            self._queue((event, body))
        elif self._incoming is None:
            return
        elif event is END:
            self._incoming.finish()
            self._incoming = None
        else:
            self._incoming.push(event)

    def _spoil(self, fault: GatewayError) -> None:
        """The connection carries nothing more that can be understood; what came before is still answered."""
        self._spoilt = True
        if self._incoming is not None:
            self._incoming.fail(fault)
        else:
            self._queue(fault)

    def _queue(self, turn: Turn) -> None:
        """Something is to be answered, once what came before it has been."""
        if self._busy:
            self._waiting.append(turn)
            return
        self._busy = True
        self.deadline = inf
        if self._turn is not None:
            self._turn.set_result(turn)
        else:
            self._waiting.append(turn)
            self._task = self._loop.create_task(self._converse())

    # --- holding the client up

    def _hold_up(self) -> None:
        """A request is being served: its body may be coming in, faster than it is wanted."""
        incoming = self._incoming
        if incoming is not None and incoming.hold:
            self._pause()
        elif not self._full:
            waits = incoming is None or incoming.uninvited
            self.deadline = inf if waits else self._loop.time() + self._limits.body_idle_timeout_s

    def _put_off(self, data: bytes) -> None:
        """Keeps what came until it is its turn: a request is parsed once those before it are being served."""
        self._ahead.extend(data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
        self._ahead_bytes += len(data)
        self._catch_up()
        if self._ahead_bytes > self._limits.pipelined_bytes:
            self._pause()

    def _catch_up(self) -> None:
        """Parses what was put off, up to the next request that has to wait."""
        while self._ahead and not self._spoilt and not (self._waiting and self._enough_waits):
            piece = self._ahead.popleft()
            self._ahead_bytes -= len(piece)
            self._read(piece)
        self._flow()

    @property
    def _enough_waits(self) -> bool:
        """Whether nothing more is to be parsed, some request waiting: the first to wait may still get its body."""
        return self._incoming is None or len(self._waiting) > 1

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if not self._full:
            self.deadline = inf

    def _flow(self) -> None:
        """Reads on, where what held the client up is gone."""
        if not self._paused or self._closing:
            return
        held = self._incoming is not None and self._incoming.hold
        if not held and self._ahead_bytes <= self._limits.pipelined_bytes:
            self._paused = False
            self._transport.resume_reading()
            if self._incoming is not None and not self._full:
                self.deadline = self._loop.time() + self._limits.body_idle_timeout_s

    def _invite(self) -> None:
        """Asks a client that waits for leave to send its body: only now is it sure that somebody wants it."""
        if not self._closing:
            self._outbox.put(self._transport, CONTINUE)
            if not self._full:
                self.deadline = self._loop.time() + self._limits.body_idle_timeout_s

    # --- replies

    async def _converse(self) -> None:
        """Answers what arrives, in order, until the connection closes. One task serves it all: it is cheap to keep."""
        while True:
            turn = self._waiting.popleft() if self._waiting else await self._rest()
            if isinstance(turn, GatewayError):
                await self._send(self._server.refuse(turn, b"", self._reader.target), None, stays=False)
                return
            head, body = turn
            self._served_body = body if isinstance(body, IncomingBody) else None
            reply = await self._reply(head, body)
            stays = self._may_stay(head, body)
            if not stays and isinstance(reply.body, Handover):
                return await self._hand_over(reply, reply.body.successor)
            if not await self._send(reply, head, stays):
                return
            self._release()
            if self._full or self._waiting or self._ahead:
                await self._breathe()

    def _release(self) -> None:
        """A request is over, and what its body took is free."""
        body, self._served_body = self._served_body, None
        if body is not None:
            body.release()

    def _rest(self) -> asyncio.Future[Turn]:
        """All is answered: waits for the next to arrive."""
        self._busy = False
        wait_s = self._limits.head_timeout_s if self._within_head else self._limits.keep_alive_s
        if self._server.draining:  # the reply may have said that the connection stays: a request may be on its way
            wait_s = min(wait_s, IDLE_AT_DRAIN_S)
        self.deadline = self._loop.time() + wait_s
        turn = self._turn = self._loop.create_future()
        return turn

    async def _breathe(self) -> None:
        """Between pipelined requests: the client is to read what it asked for, and others have their turn."""
        if self._full:
            await self._drained()
        else:
            await asyncio.sleep(0)
        self._catch_up()

    async def _reply(self, head: RequestHead, body: IncomingBody | ArrivedBody) -> Reply:
        """What is to be said to a request."""
        self._served += 1
        try:
            if body.fault is not None:
                raise body.fault
            target = head.target
            if target[:1] != b"/" or b"#" in target:
                target = origin_form(target)
            path, _, query = target.partition(b"?")
            return await self._server.answer(Call(head, path, query, body, self._proxied))
        except GatewayError as error:
            return self._server.refuse(error, head.fields.get(b"cf-aig-event-id", b""), head.target)
        except Exception:  # a last resort: the client gets an answer, the process log the reason
            _log.exception("request failed")
            return self._server.refuse(InternalFault(), head.fields.get(b"cf-aig-event-id", b""), head.target)

    async def _send(self, reply: Reply, head: RequestHead | None, stays: bool) -> bool:
        """Writes a reply as it comes. Whether the connection stays open behind it."""
        source, form = reply.body, Form(reply, head)
        part: Part | None = None
        try:
            part = source.poll()  # before the head: a reply without a body ends with its head
            stays = stays and form.delimited
            data = form.head(reply, stays)
            self._server.replied(reply.status)
            while True:
                self._outbox.put(self._transport, data if part is None else data + form.body(part))
                if part is not None and part.last:
                    break
                if self._full:
                    await self._drained()
                data = b""
                part = source.poll() or await self._following(source, form)
                if self._full:  # it came while there was no room: what is unread must not grow meanwhile
                    await self._drained()
        except Exception as error:
            if not isinstance(error, GatewayError):  # a last resort: nobody else would end the connection
                _log.exception("reply failed")
            error.__traceback__ = None  # its frames hold the provider's connection, which holds it: 12 KB to collect
            source.close()
            self._break(form.delimited)
            return False
        except BaseException:
            source.close()
            raise
        if not stays:
            self._linger()
        return stays

    async def _following(self, source: ReplyBody, form: Form) -> Part:
        """The next part that the conversation has to see: the last, or one for which there is no room.

        Those before it are passed on where they arrive: no task is woken for an event of a stream.
        """
        seen: asyncio.Future[Part | None] = self._loop.create_future()
        self._source, self._form, self._seen = source, form, seen
        if not source.alert(self._pass_on):
            return await source.read()
        try:
            part = await seen
        finally:
            source.alert(None)
        return part or await source.read()

    def _pass_on(self) -> None:
        """Something may have come."""
        seen = self._seen
        if seen.done():
            return
        try:
            part = self._source.poll()
            if part is not None and not part.last and not self._full:
                self._outbox.put(self._transport, self._form.body(part))
            else:
                seen.set_result(part)
        except Exception as error:
            seen.set_exception(error)

    async def _hand_over(self, reply: Reply, successor: Successor) -> None:
        """Writes the 101 and lets go of the connection."""
        transport, fault = self._transport, self._reader.fault
        if transport.is_closing():
            return successor.dismiss()
        if fault is not None:
            successor.dismiss()
            await self._send(self._server.refuse(fault, b"", b""), None, stays=False)
            return
        self._server.replied(reply.status)
        self._outbox.put(transport, b"%b%b\r\n" % (status_line(reply.status, reply.reason), b"".join(reply.lines)))
        rest = (self._reader.rest or b"") + b"".join(self._ahead)
        if self._paused:
            transport.resume_reading()
        self._let_go()
        self._server.handed_over(self, successor)
        successor.begin(self._server, transport, rest)

    def _let_go(self) -> None:
        self._closing = True
        self.deadline = inf
        self._ahead.clear()
        self._waiting.clear()
        self._reader.close()
        self._task = None

    def _may_stay(self, head: RequestHead, body: IncomingBody | ArrivedBody) -> bool:
        """Whether the connection may be kept for another request."""
        return (
            head.keep_alive
            and body.ended
            and not head.upgrade
            and not self._server.draining
            and self._served < self._limits.requests_per_connection
        )

    async def _drained(self) -> None:
        self._room = self._loop.create_future()
        await self._room

    def _break(self, delimited: bool) -> None:
        """Ends a reply that was cut short so that the client must notice: never by a terminal chunk."""
        if delimited:
            self._linger()
        else:
            self._outbox.flush()
            # Where the end of the connection is the end of the reply, only a reset tells that this is not it.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()

    def _linger(self) -> None:
        """Closes our side, then reads and discards for a while (design.md 1)."""
        self._closing, self._busy = True, False
        self._waiting.clear()
        self._ahead.clear()
        self._outbox.flush()
        self._unsent = unread(self._transport)
        self.deadline = self._loop.time() + (self._limits.send_idle_timeout_s if self._unsent else LINGER_S)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        finish(self._transport)

    def _look_whether_read(self) -> None:
        """The time to read a reply is up: it begins anew for a client that has read some of it meanwhile."""
        unsent = still_reads(self._transport, self._unsent)
        if unsent is None:
            return self._transport.abort()
        self._unsent = unsent
        self.deadline = self._loop.time() + self._limits.send_idle_timeout_s


def origin_form(target: bytes) -> bytes:
    """Path and query of a request target that is no path by itself (RFC 9112, 3.2.2). Raises MalformedRequest."""
    if b"#" in target:
        raise MalformedRequest("Malformed request: a fragment in the request target")
    scheme, found, rest = target.partition(b"://")
    if found and scheme.lower() in (b"http", b"https"):
        _, slash, path = rest.partition(b"/")
        return slash + path or b"/"
    raise MalformedRequest("Malformed request: the request target is neither a path nor an http URL")
