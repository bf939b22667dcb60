"""One connection to an origin: a request goes out, its reply comes in, and then perhaps another."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, cast

from sluice.deadlines import Deadlines
from sluice.outbox import Outbox
from sluice.values.errors import GatewayError, UpstreamBroken, UpstreamTimeout
from sluice.values.reply import Part, Ready
from sluice.values.request import Body
from sluice.values.settings import UpstreamSettings
from sluice.wire.events import END, ReplyHead
from sluice.wire.http1 import ReplyReader
from sluice.wire.lines import LAST_CHUNK, chunk

HEAD_BYTES: Final = 256 * 1024
"""The largest head taken from a provider; some send kilobytes of cookies and policies."""
BUFFER_BYTES: Final = 256 * 1024
"""How much of a reply waits in memory for its client before the provider is held up."""


class Connection(asyncio.Protocol):
    """A keep-alive connection. It carries one exchange at a time; between them `idle` is true."""

    def __init__(
        self, settings: UpstreamSettings, deadlines: Deadlines, outbox: Outbox, gone: Callable[["Connection"], None]
    ) -> None:
        self._settings, self._deadlines, self._outbox, self._gone = settings, deadlines, outbox, gone
        self._loop = asyncio.get_running_loop()
        self._reader = ReplyReader(HEAD_BYTES)
        self._waiter: asyncio.Future[None] | None = None
        self._ready: Ready | None = None
        self._room: asyncio.Future[None] | None = None
        self._full = self._paused = False
        self._parts: list[bytes] = []
        self._held = 0
        self._head: ReplyHead | None = None
        self._fault: GatewayError | None = None
        self._transport: asyncio.Transport | None = None
        self.deadline = inf
        self.idle = True
        self.silent = True
        """No byte of the current exchange's reply has come."""
        self.used = False
        """It has carried an exchange to its end before."""
        self.closed = False

    # --- what a client of this class calls

    def start(self, method: bytes, data: bytes, switches: bool = False) -> None:
        """Sends a head and what there is of its body, and begins to wait for the reply.

        `switches` says that the head offers to go on as a WebSocket: see `release`.
        """
        self._reader.expect(method, switches)
        self._head = self._fault = None
        self.idle, self.silent = False, True
        self.deadline = self._deadlines.time() + self._settings.first_byte_timeout_s
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fault = UpstreamBroken("The connection was closed before the request was sent")
        else:
            self._outbox.put(transport, data)

    async def pump(self, body: Body) -> None:
        """Sends the rest of a request body as it comes; a fault of the client's ends the exchange."""
        try:
            while data := await body.read():
                self.write(chunk(data) if body.length is None else data)
                if self._full:
                    self._room = self._loop.create_future()
                    await self._room
            if body.length is None:
                self.write(LAST_CHUNK)
        except GatewayError as error:
            self.fail(error)
        except BaseException:
            self.abort()  # nobody looks at this task: the exchange must not wait for the rest of its request
            raise

    def write(self, data: bytes) -> None:
        """Sends a piece of the body."""
        if self._transport is not None:
            self.deadline = self._deadlines.time() + self._settings.first_byte_timeout_s
            self._outbox.put(self._transport, data)

    async def head(self) -> ReplyHead:
        """The head of the reply. Raises UpstreamFailure, and what reading the request body raised."""
        while self._head is None:
            if self._fault is not None:
                raise self._fault
            await self._wait()
        return self._head

    def poll(self) -> Part | None:
        """What has come of the body, if anything has."""
        parts = self._parts
        if not parts:
            return Part(b"", True) if self._reader.ended else None
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._held = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
            self.deadline = self._deadlines.time() + self._settings.idle_timeout_s
        return Part(data, self._reader.ended)

    async def read(self) -> Part:
        """The next part of the body. Raises UpstreamFailure, after all that came before it was read."""
        while True:
            part = self.poll()
            if part is not None:
                return part
            if self._fault is not None:
                raise self._fault
            await self._wait()

    def alert(self, ready: Ready | None) -> bool:
        """Has `ready` called for whatever comes, in place of waking who reads. False where a fault has come already."""
        self._ready = ready if self._fault is None else None
        return self._fault is None

    @property
    def reusable(self) -> bool:
        """The exchange is over and the connection may carry another."""
        return self._reader.reusable and self._transport is not None and not self._transport.is_closing()

    def release(self) -> tuple[asyncio.Transport, bytes]:
        """Gives its socket up, whose protocol was switched, with what came behind the reply. Raises UpstreamBroken.

        Nothing is read from it since, until its new owner resumes that.
        """
        transport, self._transport = self._transport, None
        if transport is None or transport.is_closing():
            raise UpstreamBroken("The connection was closed as soon as it was open")
        rest = self._reader.rest or b""
        self._deadlines.forget(self)
        self._reader.close()
        self.closed = True
        self._gone(self)
        return transport, rest

    def rest(self) -> None:
        """Lies idle until it is started again."""
        self.idle = self.used = True
        self._parts = []
        self._held = 0
        self.deadline = self._deadlines.time() + self._settings.keep_alive_s

    def fail(self, error: GatewayError) -> None:
        """Ends the exchange, and the connection with it."""
        if self._fault is None:
            self._fault = error
        self.abort()
        self._wake()

    def forgo(self) -> None:
        """It was never opened."""
        self._reader.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop and the deadlines call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape alone
        self._deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        if self.idle:  # nothing was asked: whatever this is, it spoils the connection
            return self.abort()
        self.silent = False
        for event in self._reader.feed(data):
            if isinstance(event, bytes):
                self._parts.append(event)
                self._held += len(event)
            elif event is not END:
                self._head = event  # type narrows to ReplyHead
        if self._reader.fault is not None:
            return self.fail(self._reader.fault)
        self.deadline = self._deadlines.time() + self._settings.idle_timeout_s
        if self._reader.rest is not None and self._transport is not None:
            self._transport.pause_reading()  # what comes now is no HTTP
        if self._held > BUFFER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self.deadline = inf  # the client's slowness is not the provider's
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._deadlines.forget(self)
        self.deadline = inf
        if not self.idle and self._fault is None:
            if error is None:
                self._reader.finish()  # the END of a reply that ends so, or a fault
            else:
                self._reader.cut()
            self._fault = self._reader.fault
        self._reader.close()
        self._transport = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self.closed = True
        self._gone(self)
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def expired(self) -> None:
        self.deadline = inf
        if self.idle:
            self.abort()
        else:
            self.time_out()

    def time_out(self) -> None:
        """The reply's head, or its next byte, took too long."""
        self.fail(UpstreamTimeout("The provider did not answer in time" if self._head is None else "The reply stalled"))

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._ready is not None:
            return self._ready()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
