"""The universal WebSocket protocol without a socket: what a client's messages ask for (contract 4.1)."""

from typing import Final, NamedTuple
from uuid import uuid4

import msgspec

from sluice.edge.envelopes import is_text
from sluice.edge.messages import EventName, Message, Named, Said, Untyped
from sluice.edge.native import Names
from sluice.edge.shapes import StepShape, decode_steps, given, told
from sluice.edge.steps import event_id_of, steps_of
from sluice.values.errors import GatewayError, MalformedRequest
from sluice.values.request import Options, Request, Step

CREATE: Final = "universal.create"
CANCEL: Final = "universal.cancel"
MESSAGE: Final = "The message"


class Create:
    """A request to be run. `event_id` is JSON, `size` that of the message in bytes."""

    __slots__ = ("event_id", "fault", "request", "size", "steps")

    def __init__(
        self, event_id: bytes, request: Request, steps: tuple[Step, ...], fault: GatewayError | None, size: int
    ) -> None:
        self.event_id, self.request, self.size = event_id, request, size
        self.steps, self.fault = steps, fault

    async def parse(self) -> tuple[Step, ...]:
        """The steps. Raises GatewayError where they are not what the client was to send."""
        if self.fault is not None:
            raise self.fault
        return self.steps


class Cancel(NamedTuple):
    """A request that is to be run no further."""

    event_id: bytes


class NotExecuted(Exception):
    """A message that asks for nothing that could be done; `reply` says so to its sender."""

    def __init__(self, error: GatewayError, event_id: bytes | None) -> None:
        super().__init__(error.said)
        self.reply = error_message(error, event_id)


_MESSAGE: Final = msgspec.json.Decoder(Message)
_UNTYPED: Final = msgspec.json.Decoder(Untyped)
_NAMED: Final[msgspec.json.Decoder[Named | list[Named]]] = msgspec.json.Decoder(Named | list[Named])


class Session:
    """One WebSocket's requests. What its upgrade asked for holds for each, unless that says otherwise itself."""

    def __init__(self, opening: Request, names: Names) -> None:
        self._opening, self._names = opening, names

    def read(self, data: bytes) -> Create | Cancel:
        """What a message asks for. Raises NotExecuted."""
        message = decode(data)
        if message.type == CREATE:
            return self._create(message, len(data))
        if message.type != CANCEL:
            raise NotExecuted(MalformedRequest(f"type must be {CREATE} or {CANCEL}"), name_in(message))
        if message.event_id is None:
            raise NotExecuted(MalformedRequest("eventId is required"), None)
        return Cancel(msgspec.json.encode(message.event_id))

    def _create(self, message: Message, size: int) -> Create:
        """What is wrong within its steps is the reply to it, as it is over HTTP."""
        body = given(message.request)
        if not body:
            raise NotExecuted(MalformedRequest("request is required"), name_in(message))
        name: EventName = message.event_id
        options = self._opening.options
        try:
            shapes = decode_steps(body)
            name = first_name(shapes) or name
            options = self._options(name)
            steps = steps_of(shapes, options, self._names)
        except GatewayError as error:
            event_id = name_in(message) or msgspec.json.encode(self._own_name(options))
            return Create(event_id, self._request(options), (), error, size)
        event_id = msgspec.json.encode(steps[0].options.event_id.decode("utf-8", "replace") if name is None else name)
        return Create(event_id, self._request(options), steps, None, size)

    def _options(self, name: EventName) -> Options:
        """Those of the session, with the event's name for its logs."""
        options = self._opening.options
        if name is not None:
            return msgspec.structs.replace(options, event_id=event_id_of(str(name), ""))
        return options if options.event_id else msgspec.structs.replace(options, event_id=str(uuid4()).encode())

    def _own_name(self, options: Options) -> str:
        return options.event_id.decode("utf-8", "replace") or str(uuid4())

    def _request(self, options: Options) -> Request:
        return msgspec.structs.replace(self._opening, options=options)


def decode(data: bytes) -> Message:
    """A message, its text checked. Raises NotExecuted."""
    if not is_text(data):
        raise NotExecuted(MalformedRequest(f"{MESSAGE} is not UTF-8"), None)
    try:
        return _MESSAGE.decode(data)
    except msgspec.ValidationError as error:
        raise NotExecuted(told(str(error), MESSAGE), name_in_wrong(data)) from None
    except RecursionError:
        raise NotExecuted(MalformedRequest(f"{MESSAGE} is nested too deeply"), None) from None
    except msgspec.DecodeError as error:
        raise NotExecuted(MalformedRequest(f"{MESSAGE} is not valid JSON: {error}"), None) from None


def first_name(shapes: StepShape | list[StepShape]) -> str | None:
    """Of several steps the first one with a name names the event."""
    for shape in shapes if isinstance(shapes, list) else (shapes,):
        name = shape.event_id or (shape.config.event_id if shape.config is not None else None)
        if name:
            return name
    return None


def name_in(message: Message | Untyped) -> bytes | None:
    """The event's name as JSON, of a message whose steps may be anything."""
    try:
        found = _NAMED.decode(message.request) if given(message.request) else Named()
    except (msgspec.DecodeError, RecursionError):
        found = Named()
    steps = found if isinstance(found, list) else [found]
    name = next((step.event_id for step in steps if step.event_id is not None), message.event_id)
    return None if name is None else msgspec.json.encode(name)


def name_in_wrong(data: bytes) -> bytes | None:
    """The same of a message that is wrong in itself."""
    try:
        return name_in(_UNTYPED.decode(data))
    except (msgspec.DecodeError, RecursionError):
        return None


def error_message(error: GatewayError, event_id: bytes | None) -> bytes:
    """`universal.error`: nothing was run."""
    said = msgspec.json.encode([Said(error.code, error.said)])
    metadata = b"{}" if event_id is None else b'{"eventId":%b}' % event_id
    return b'{"type":"universal.error","metadata":%b,"error":%b,"success":false}' % (metadata, said)
