"""Ends every request exactly once, with its log appended before the reply's last bytes are handed over."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

from sluice.engine.head_tokens import HEAD_TOKENS_IN, head_tokens
from sluice.engine.heard import Heard, Repeated
from sluice.engine.remarks import allowance, origin, refusal, unlogged
from sluice.engine.terminal_line import TerminalLine
from sluice.engine.watch import Watch
from sluice.journal import fields
from sluice.spool.tape import Recording, Tape, Whole
from sluice.spool.writer import SpoolWriter
from sluice.values.credential import Credential, Keyring
from sluice.values.errors import GatewayError, InternalFault, Overloaded, UpstreamFailure, forget_frames
from sluice.values.exchange import Ending, Exchange
from sluice.values.limits import Permit, Reservation
from sluice.values.reply import Part, Ready, Reply, ReplyBody
from sluice.values.request import Body, Dialect, Request, Step
from sluice.values.tenancy import Admission, Gateway

_log = logging.getLogger(__name__)

CLIENT_LEFT: Final = 499
"""The status logged for a client that left before it was answered, as nginx has it."""

LONGEST_DETAIL: Final = 4096


class Recorder:
    """Opens a trace for each request."""

    def __init__(self, spool: SpoolWriter, failure_status: int, waits_for_sync: bool) -> None:
        self.spool, self.failure_status = spool, failure_status
        self.waits = waits_for_sync
        """Whether the last bytes of a reply wait until its log would survive a power loss."""
        self.watch = Watch()

    def open(self, request: Request) -> "Trace":
        return Trace(self, request)

    def refuse(self, error: GatewayError, event_id: bytes = b"", dialect: Dialect = "gateway") -> Reply:
        """The answer to what never became a request to a gateway: it has ids, for people to name it by, but no log."""
        reply = refusal(error, error.status, dialect)
        forget_frames(error)
        reply.lines.append(self.ids(event_id))
        return reply

    def ids(self, event_id: bytes) -> bytes:
        """The field lines that name a request that is not logged."""
        log_id = self.spool.mint.mint().encode()
        return unlogged(log_id, event_id or log_id)


class Trace:
    """One request on its way: who was let in, and a record for the step that runs."""

    __slots__ = ("_record", "_recorder", "_request", "admitted", "outside", "request_id")

    def __init__(self, recorder: Recorder, request: Request) -> None:
        self._recorder, self._request = recorder, request
        self._record: Record | None = None
        self.admitted: Admission | None = None
        self.request_id = ""
        """The id of the first record, once there is another: it names the request in all of them."""
        self.outside: Callable[[Reply], None] | None = None
        """What is to be done to a reply that is being recorded, and not seen by its log."""

    @property
    def account(self) -> str:
        return self._request.account

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None and self._record is not None:
            self._record.crash(error)

    def begin(self, step: Step) -> "Record":
        """A record for a step. Raises Overloaded where the spool is full and must not drop."""
        assert self.admitted is not None
        earlier = self._record
        record = self._record = Record(self._recorder, self._request, self.admitted, step)
        if earlier is not None:
            self.request_id = record.request_id = self.request_id or earlier.id
            record.permit = earlier.permit
        return record

    async def abandon(self, error: GatewayError) -> None:
        """Ends the record of a step that failed without a reply, for the request goes on to another."""
        if self._record is not None:
            self._record.refused(error, self._status_of(error))
            await self._record.settle()

    def refuse(self, error: GatewayError) -> Reply:
        """The reply that says no. What never reached a step is not logged."""
        status = self._status_of(error)
        if self._record is not None:
            self._record.refused(error, status)
        forget_frames(error)
        return refusal(error, status, self._request.dialect)

    def _status_of(self, error: GatewayError) -> int:
        return self._recorder.failure_status if isinstance(error, UpstreamFailure) else error.status

    def follow(self, reply: Reply) -> Reply:
        """The same reply, its body watched and its head telling the ids."""
        if self._record is not None:
            self._record.follow(reply)
            if self.outside is not None:
                self.outside(reply)
        else:
            reply.lines.append(self._recorder.ids(self._request.options.event_id))
        return reply


NO_BODY: Final = Whole(b"")
NO_FIELDS: Final[Mapping[bytes, bytes]] = {}


class Record:
    """The record of one step, and the body of its reply as the edge pulls it. Only its first ending counts."""

    # What most requests never change is said once here, not set on each.
    _latency_s: float | None = None
    _ending: Ending = "complete"
    _status: int = 0
    _error: int = 0
    attempts: int = 0
    _detail: str = ""
    _path: str = ""
    reply_type: bytes = b""
    """The media type of the provider's reply, as it says; likewise `reply_encoding`."""
    reply_encoding: bytes = b""
    _terminal: TerminalLine | None = None
    _held: Part | None = None
    _ended = False
    _announced = False
    _body: ReplyBody
    _heard: "Heard | None" = None
    _asked: Recording = NO_BODY
    _told: Recording = NO_BODY
    _tape: Tape | None = None
    """The reply's tape, once it came in more than one part."""
    _head_tokens: tuple[int | None, int | None] | None = None
    request_id: str = ""
    """Empty where it is the id."""
    credential: Credential | None = None
    """The key that Sluice put into the request, where it did."""
    cached = False
    """Whether the reply comes out of the cache."""
    reply_fields: Mapping[bytes, bytes] = NO_FIELDS
    """The head of the provider's reply, by lower-case name."""
    repeats = False
    """Whether the request may have to be sent again, so that its body is to be kept."""
    permit: Permit | None = None
    """What the gateway's rate limit said, once the request was counted."""
    reservation: Reservation | None = None
    """What is set aside for this step's cost."""
    model_seen = ""
    """The model that it was set aside for."""
    given_up = 0
    """How many tries were not waited for to their end, because the client said how long."""
    idle = False
    """Whether no try runs: the next one is waited for."""
    _told_reservation = False
    _unserved = False
    counted_key: str = ""
    """The stored key at whose limit the step was counted."""

    def __init__(self, recorder: Recorder, request: Request, admission: Admission, step: Step) -> None:
        spool, options = recorder.spool, step.options
        collect = admission.gateway.collect_logs if options.collect_log is None else options.collect_log
        if collect and spool.refusing:
            raise Overloaded
        self._recorder, self._request, self._admission, self._step = recorder, request, admission, step
        self.id = spool.mint.mint()
        self._started_ms, self.started_s = spool.mint.last_ms, time.monotonic()
        self.collects = collect
        if collect:
            recorder.watch.young.add(self)

    @property
    def gateway(self) -> Gateway:
        """What was called."""
        return self._admission.gateway

    @property
    def model(self) -> str:
        """The model that the step asks for, as far as that is known."""
        return self._step.model

    @property
    def account(self) -> str:
        """Whose gateway was called."""
        return self._admission.gateway.account

    def hand_over(self) -> Reservation | None:
        """What was set aside and no frame tells of, for another record that waits for the same reply."""
        if self._told_reservation:
            return None
        held, self.reservation = self.reservation, None
        return held

    @property
    def keyring(self) -> Keyring | None:
        """What the gateway has to say about credentials."""
        return self._admission.gateway.keyring

    @property
    def authenticated(self) -> bool:
        """Whether a token vouches for the request."""
        return self._admission.authenticated

    # --- what happens to the step, in this order

    def found(self, path: str) -> None:
        """Where the attempt would go, should it fail before it begins."""
        self._path = path

    def called(self, path: str, body: Body) -> Body:
        """An attempt begins: the request body as the provider is to read it. What passes is recorded."""
        self._path = path
        self.attempts += 1
        return self._called_again(body) if self.attempts > 1 else self._listened(body)

    def given(self, path: str, body: Body, cached: bool) -> None:
        """A reply is at hand that another request got, so that no attempt is made; `cached` where it costs nothing.

        The request's body is whole.
        """
        self._path, self.cached, self._terminal = path, cached, None
        if self._asked is NO_BODY:
            self._listened(body)

    def _listened(self, body: Body) -> Body:
        """Records a request body; one that is still to be read is heard as it passes."""
        if self._ended:
            return body  # its client has left, and others wait for the reply
        whole = body.whole
        if whole == b"" or not (self.collects or (self.repeats and whole is None)):
            return body
        spool = self._recorder.spool
        if whole is not None and len(whole) <= spool.inline_bytes:
            self._asked = Whole(whole)
            return body
        self._asked = tape = spool.tape(self.id, "request")
        if whole is None:
            self._heard = heard = Heard(body, tape)
            return heard
        tape.add(whole)
        return body

    def _called_again(self, body: Body) -> Body:
        self._status, self._latency_s, self._terminal = 0, None, None
        self._head_tokens = None
        return body if self._heard is None else Repeated(self._heard)

    @property
    def repeatable(self) -> bool:
        """Whether all that was read of the request's body is still there."""
        return self._heard is None or self._heard.kept

    def answered(self, status: int, fields: dict[bytes, bytes], terminal_line: bytes) -> None:
        """The head of the reply is in."""
        self._latency_s = time.monotonic() - self.started_s
        content_type, encoding = fields.get(b"content-type", b""), fields.get(b"content-encoding", b"")
        self._status, self.reply_type, self.reply_encoding = status, content_type, encoding
        self.reply_fields = fields
        if terminal_line and content_type.startswith(b"text/event-stream") and not encoding:
            self._terminal = TerminalLine(terminal_line)
        if HEAD_TOKENS_IN in fields:
            self._head_tokens = head_tokens(fields)
        if self._announced and not self._ended:
            self.announce()

    def refused(self, error: GatewayError, status: int) -> None:
        """The client gets an error of ours instead of a reply."""
        self._ending, self._status, self._error, self._detail = "refused", status, error.code, error.detail
        self.reply_type, self.reply_encoding, self._terminal = b"application/json", b"", None

    def watch(self, body: ReplyBody) -> None:
        """Takes the body of a reply, which is now to be read through this record."""
        self._body = body

    def follow(self, reply: Reply) -> None:
        """Puts itself before the reply's body, and the ids into its head."""
        self._body, reply.body = reply.body, self
        log_id = self.id.encode()
        request_id = self.request_id.encode() if self.request_id else log_id
        step = self._step
        reply.lines.append(
            b"cf-aig-step: %d\r\ncf-aig-cache-status: %b\r\ncf-aig-request-id: %b\r\ncf-aig-event-id: %b\r\n"
            % (step.index, b"HIT" if self.cached else b"MISS", request_id, step.options.event_id or request_id)
        )
        if self.permit is not None:
            reply.lines.append(allowance(self.permit))
        if self.collects:
            reply.lines.append(b"cf-aig-log-id: %b\r\n" % log_id)
        if self._request.type != "provider":
            reply.lines.append(origin(step))

    def transcribe(self) -> tuple[Tape, Tape] | None:
        """Tapes for what both sides of a relayed connection say, the client's first; None where it is not logged."""
        if not self.collects:
            return None
        spool = self._recorder.spool
        asked, told = spool.tape(self.id, "request"), spool.tape(self.id, "response")
        self._asked, self._told = asked, told
        self.announce()
        return asked, told

    def announce(self) -> None:
        """It goes on for long: what is known of it so far is its log, should its worker die."""
        self._announced = True
        self._recorder.watch.young.discard(self)
        try:
            self._recorder.spool.announce(self._admission.gateway, self._exchange())
        except Exception:  # a last resort, as when it ends
            _log.exception("opening not written", extra=fields(log_id=self.id))

    async def conclude(self, ending: Ending, error: int, detail: str) -> None:
        """A relayed connection ends so; returns once its log is written."""
        if not self._ended:
            self._ending, self._error, self._detail = ending, error, detail
            await self.settle()

    async def spoil(self, error: GatewayError) -> None:
        """What came of the reply is of no use, and the rest of it is not waited for."""
        if not self._ended:
            self._ending, self._error, self._detail = "broken", error.code, error.detail or error.said
            await self.settle()

    def doubt(self, error: GatewayError) -> None:
        """The reply does not serve, even if it comes whole."""
        self._unserved, self._terminal = True, None
        self._error, self._detail = error.code, error.detail or error.said

    def crash(self, error: BaseException) -> None:
        """The request ends without a reply: its client left, or a bug of ours."""
        if isinstance(error, asyncio.CancelledError):
            self._ending, self._status = "abandoned", CLIENT_LEFT
        else:
            self._ending, self._status, self._error = "refused", InternalFault.status, InternalFault.code
            _log.error("request crashed", extra=fields(request_id=self.id, error=type(error).__name__))
        self._end()

    # --- the body of the reply

    def poll(self) -> Part | None:
        if self._held is not None or (self._tape is not None and self._tape.behind):
            return None
        part = self._body.poll()
        if part is None or self._saw(part):
            return part
        self._held = part
        return None

    async def read(self) -> Part:
        if self._held is None:
            if self._tape is not None and self._tape.behind:
                await self._tape.settle()
            try:
                part = await self._body.read()
            except GatewayError as error:
                self._ending, self._error, self._detail = "broken", error.code, error.detail
                await self.settle()
                raise
            if self._saw(part):
                return part
            self._held = part
        await self.settle()
        part, self._held = self._held, None
        return part

    def alert(self, ready: Ready | None) -> bool:
        if ready is not None and (self._held is not None or (self._tape is not None and self._tape.behind)):
            return False
        return self._body.alert(ready)

    def close(self, complete: bool = False) -> None:
        self._body.close(complete or (self._ended and self._ending == "complete"))
        if not self._ended:
            self._ending = "abandoned"
            self._end()

    def _saw(self, part: Part) -> bool:
        """Records a part; whether it may pass now. The one that completes the reply passes after its log."""
        if self._ended:
            return True
        data = part.data
        if data and self.collects:
            self._record(data, part.last)
        if not part.last and (self._terminal is None or not self._terminal.ends_in(data)):
            return True
        if self._must_wait:
            return False
        self._end()
        return True

    def _record(self, data: bytes, last: bool) -> None:
        spool = self._recorder.spool
        if self._tape is not None:
            self._tape.add(data)
        elif last and len(data) <= spool.inline_bytes:
            self._told = Whole(data)
        else:
            self._told = self._tape = spool.tape(self.id, "response")
            self._tape.add(data)

    # --- the ending

    async def settle(self) -> None:
        """Ends the record once all that must be written before it is."""
        for recording in (self._asked, self._told):
            if isinstance(recording, Tape):
                await recording.settle()
        self._end()
        if self._recorder.waits:
            await self._recorder.spool.durable()

    @property
    def _must_wait(self) -> bool:
        """Whether the record cannot be ended at once; if it must be, the spool lets its frame follow later."""
        if self._recorder.waits:
            return self.collects
        return not (self._asked.settled and self._told.settled)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self.reservation is not None:
            self._told_reservation = True
        if not self.collects:
            self._asked.discard()
            if self.reservation is None:
                return
            self._asked = NO_BODY
        self._recorder.watch.young.discard(self)
        try:
            self._recorder.spool.append(self._admission.gateway, self._exchange(), self._asked, self._told)
        except Exception:  # a last resort: a log that cannot be written must not break the reply
            _log.exception("log not written", extra=fields(log_id=self.id))

    def _exchange(self) -> Exchange:
        request, step, options = self._request, self._step, self._step.options
        latency_s, credential = self._latency_s, self.credential
        return Exchange(
            id=self.id,
            account=self._admission.gateway.account,
            provider=step.provider,
            path=self._path,
            method=step.method.decode(),
            request_type=request.type,
            started_ms=self._started_ms,
            latency_us=None if latency_s is None else int(latency_s * 1_000_000),
            duration_us=int((time.monotonic() - self.started_s) * 1_000_000),
            status=self._status,
            ending=self._ending,
            error=self._error,
            step=step.index,
            attempts=self.attempts,
            authenticated=self._admission.authenticated,
            payload=options.collect_payload,
            request_content_type=step.content_type,
            request_encoding=step.content_encoding,
            response_content_type=self.reply_type,
            response_encoding=self.reply_encoding,
            user_agent=request.user_agent,
            metadata=options.metadata,
            custom_cost=options.custom_cost,
            request_bytes=self._asked.length,
            response_bytes=self._told.length,
            cached=self.cached,
            byok=credential is not None and credential.stored,
            wholesale=credential is not None and not credential.stored,
            compat=step.compat,
            connection_id=request.connection_id,
            request_id=self.request_id,
            detail=self._detail[:LONGEST_DETAIL],
            event_id=options.event_id.decode("utf-8", "replace") or self.request_id,
            model=step.model or self.model_seen,
            reservation=self.reservation,
            unlogged=not self.collects,
            head_tokens=self._head_tokens,
            unserved=self._unserved,
            given_up=self.given_up,
            idle=self.idle,
        )
