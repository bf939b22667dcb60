"""The simulator's server: a loop of its own over the codec, for faults need raw bytes. Start reading at `serve`."""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from sluice.simulator.call import EMPTY, END_BYTES, WHOLE_BYTES, Body, BodyKeeper
from sluice.simulator.house import BODIES_BYTES, Cue, House, Opening
from sluice.simulator.journal import Entry
from sluice.simulator.own import PREFIX
from sluice.simulator.sockets import Conversation
from sluice.simulator.staging import Send, Stop, Wait, perform
from sluice.wire.events import EndOfMessage, RequestEvent, RequestHead
from sluice.wire.frames import Frame, FrameReader
from sluice.wire.handshake import acceptance
from sluice.wire.http1 import RequestReader
from sluice.wire.lines import CONTINUE, field, status_line

HEAD_BYTES: Final = 256 * 1024
HEADERS: Final = 1000
_AHEAD_BYTES: Final = 256 * 1024
"""How much of what a client sent may wait to be read."""
_MOST_FRAME_BYTES: Final = 256 * 1024 * 1024
_JOIN_BYTES: Final = 64 * 1024
_IDLE_S: Final = 660.0
"""Longest wait for a client, to send or to read; longer than any stall."""
_TLS_HANDSHAKE: Final = b"\x16"
"""How a client that expects TLS begins."""
_TLS_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal alert, `handshake_failure` (RFC 8446, section 6): the simulator's way to fail in TLS."""
_RESET: Final = struct.pack("ii", 1, 0)

log = logging.getLogger("sluice.simulator")


async def serve(host: str, port: int, ready: Callable[[int], None] | None, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. `ready` is told the port once connections are accepted; port 0 takes a free one."""
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        await serve_on(listener, ready, stop)


async def serve_on(listener: socket.socket, ready: Callable[[int], None] | None, stop: asyncio.Event) -> None:
    """The same, on a socket that listens already."""
    house = House()
    running: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(house, running), sock=listener, backlog=4096)
    try:
        if ready is not None:
            ready(listener.getsockname()[1])
        await stop.wait()
    finally:
        server.close()
        tasks = [one.leave() for one in running]
        await asyncio.gather(*tasks, return_exceptions=True)


class Connection(asyncio.Protocol):
    """One client: its requests are answered one after another by a task that ends with the connection."""

    def __init__(self, house: House, running: "set[Connection]") -> None:
        self._house, self._running = house, running
        self._reader = RequestReader(HEAD_BYTES, HEADERS)
        self._events: deque[RequestEvent] = deque()
        self._waiting_bytes = 0
        self._came = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._number = self._held = 0
        self._opening = b""
        self._socket: FrameReader | None = None
        self._frames: deque[Frame] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        journal = self._house.journal
        journal.connections_opened += 1
        journal.connections_open += 1
        self._serial = journal.connections_opened
        self._running.add(self)
        self._task = asyncio.get_running_loop().create_task(self._converse())
        self._task.add_done_callback(self._over)

    def data_received(self, data: bytes) -> None:
        self._opening = self._opening or data[:1]
        if self._socket is not None:
            self._frames.extend(self._socket.feed(data))
        else:
            self._events.extend(self._reader.feed(data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _AHEAD_BYTES:
            self._transport.pause_reading()
        self._came.set()

    def eof_received(self) -> bool:
        """A client that closes its side has left."""
        self._task.cancel()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._house.journal.connections_open -= 1
        self._drained.set()
        self._task.cancel()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def leave(self) -> asyncio.Task[None]:
        """Ends the connection; the task returned is over when that is done."""
        self._task.cancel()
        return self._task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._running.discard(self)
        self._transport.abort() if task.cancelled() else self._transport.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection of the simulator failed", exc_info=error)

    async def _converse(self) -> None:
        while isinstance(head := await self._next(), RequestHead):
            self._number += 1
            if not await self._exchange(head):
                return
        if self._reader.fault is not None:
            self._refuse(str(self._reader.fault))

    async def _next(self) -> RequestEvent | None:
        """The next event; None where no more can come."""
        while not self._events:
            self._listen()
            if self._reader.fault is not None or not await self._more():
                return None
        return self._events.popleft()

    async def _next_frame(self) -> Frame | None:
        """The same of a WebSocket."""
        assert self._socket is not None
        while not self._frames:
            self._listen()
            if self._socket.fault is not None or not await self._more():
                return None
        return self._frames.popleft()

    def _listen(self) -> None:
        self._waiting_bytes = 0
        self._transport.resume_reading()

    async def _more(self) -> bool:
        """Waits until something has come; whether it did."""
        self._came.clear()
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._came.wait()
        except TimeoutError:
            return False
        return True

    async def _exchange(self, head: RequestHead) -> bool:
        """Answers one request; whether another may follow."""
        entry = self._enter(head)
        journal = self._house.journal
        try:
            body = await self._body(head, entry)
            if body is None:
                journal.end(entry, "malformed")
                self._refuse(str(self._reader.fault))
                return False
            cue = await self._cue(head, body)
            if isinstance(cue, Opening):
                return await self._part(await self._open(cue, head, entry))
            journal.received(entry, body, cue.provider)
            entry.status = cue.script.status
            stop = await self._perform(cue, entry)
            journal.end(entry, "complete" if stop.whole else "broken")
            return await self._part(stop)
        finally:
            self._hold(0)
            journal.end(entry, "client gone")

    async def _cue(self, head: RequestHead, body: Body) -> Cue | Opening:
        if head.upgrade:
            return await self._house.opening(head, self._serial, self._number)
        return await self._house.cue(head, body, self._serial, self._number)

    async def _open(self, opening: Opening, head: RequestHead, entry: Entry) -> Stop:
        """Opens a WebSocket and converses on it to its end."""
        faults, journal = opening.faults, self._house.journal
        journal.received(entry, EMPTY, opening.provider)
        if faults.slow_head:
            await asyncio.sleep(faults.slow_head / 1000)
        if faults.drop or faults.bad_head:
            self._transport.write(b"SIP/2.0 two hundred\r\n\r\n" if faults.bad_head else b"")
            journal.end(entry, "broken")
            return Stop("close", False)
        entry.status = 101
        lines = acceptance(head, opening.subprotocol)
        await self._write(b"%b%b\r\n" % (status_line(101), b"".join(lines)))
        self._socket = FrameReader(masked=True, most_bytes=_MOST_FRAME_BYTES)
        self._frames.extend(self._socket.feed(self._reader.rest or b""))
        conversation = Conversation(opening.live, self._next_frame, self._write)
        try:
            stop = await conversation.run()
            journal.end(entry, "complete" if stop.whole else "broken")
        finally:
            said = conversation.said.body()
            entry.body_bytes = said.length
            journal.received(entry, said, opening.provider)
        return stop

    def _enter(self, head: RequestHead) -> Entry:
        method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
        if target.startswith(PREFIX):
            return Entry(0, self._serial, self._number, method, target)
        return self._house.journal.open(self._serial, self._number, method, target, head.headers)

    async def _body(self, head: RequestHead, entry: Entry) -> Body | None:
        """The request's body; None where it is malformed."""
        if head.expects_continue and head.length != 0:
            self._transport.write(CONTINUE)
        house = self._house
        keeper: BodyKeeper | None = None
        while isinstance(event := await self._next(), bytes):
            if keeper is None:
                keeper = BodyKeeper(WHOLE_BYTES if house.bodies_bytes < BODIES_BYTES else END_BYTES)
            keeper.add(event)
            self._hold(keeper.held)
            entry.body_bytes += len(event)
        if not isinstance(event, EndOfMessage):
            return None
        return EMPTY if keeper is None else keeper.body()

    def _hold(self, size: int) -> None:
        """Tells the house how much of a body this connection holds now."""
        self._house.bodies_bytes += size - self._held
        self._held = size

    async def _perform(self, cue: Cue, entry: Entry) -> Stop:
        """Sends the reply in few writes; a stream's events one by one, and so the drops of a dripping reply."""
        single = cue.script.stream or cue.faults.drip is not None
        join = 1 if single else _JOIN_BYTES
        ready: list[bytes] = []
        size = 0
        for act in perform(cue.script, cue.stage, cue.faults):
            if isinstance(act, Send):
                ready.append(act.data)
                size += len(act.data)
                if size < join:
                    continue
            if ready:
                await self._write(b"".join(ready))
                entry.sent_bytes += size
                ready.clear()
                size = 0
                if single:
                    await asyncio.sleep(0)  # uvloop joins what is written in one turn
            if isinstance(act, Wait):
                await asyncio.sleep(act.ms / 1000)
            elif isinstance(act, Stop):
                return act
        raise AssertionError("a performance ends with a Stop")

    async def _write(self, data: bytes) -> None:
        self._transport.write(data)
        if self._transport.is_closing():
            await asyncio.sleep(_IDLE_S)  # the client is gone: the loop, once it has its turn, ends this task
        if not self._drained.is_set():
            async with asyncio.timeout(_IDLE_S):
                await self._drained.wait()

    async def _part(self, stop: Stop) -> bool:
        """What becomes of the connection after a reply."""
        if stop.how == "reset":
            self._transport.set_write_buffer_limits(high=0)
            await self._write(b"")
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        elif stop.how == "half-close":
            self._transport.write_eof()
            await asyncio.sleep(_IDLE_S)
        return stop.how == "keep"

    def _refuse(self, reason: str) -> None:
        if self._opening == _TLS_HANDSHAKE:
            self._transport.write(_TLS_ALERT)
            return
        text = reason.encode("utf-8", "replace") + b"\n"
        lines = (status_line(400), field(b"Content-Length", b"%d" % len(text)), field(b"Connection", b"close"), b"\r\n")
        self._transport.write(b"".join(lines) + text)
