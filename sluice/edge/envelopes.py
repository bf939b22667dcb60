"""What a client is told of one event of its WebSocket: the JSON around a reply (contract 4.1). Pure."""

import io
from base64 import b64encode
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import Raw

from sluice.edge.messages import Metadata, Said
from sluice.formats.encodings import coding_of, decoded
from sluice.formats.sse import Event, EventSplitter, parse_event
from sluice.providers.replies import ends_stream
from sluice.values.errors import GatewayError, MalformedRequest

MOST_REPLY_BYTES: Final = 32 * 1024 * 1024
"""The longest reply that goes into one message, encoded or decoded."""
EVENT_STREAM: Final = "text/event-stream"
END_MARK: Final = b"[DONE]"
"""How OpenAI's streams end; here `universal.done` says it."""
NOTHING: Final = b"null"

Kind = Literal["created", "done"]
_value: Final = msgspec.json.Decoder(Raw)


class Envelopes:
    """The messages of one event, in order: `begin`, then `add` for each part of the body, or one of the other endings.

    `event_id` is JSON.
    """

    __slots__ = ("_coding", "_latest", "_metadata", "_parts", "_size", "_splitter", "_stream", "event_id")

    def __init__(self, event_id: bytes) -> None:
        self.event_id = event_id
        self._coding = "identity"
        self._metadata = Metadata(event_id=Raw(event_id), step="0")
        self._stream = b'{"type":"universal.stream","metadata":{"eventId":%b},"response":' % event_id
        self._splitter: EventSplitter | None = None
        self._latest: Event | None = None
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def streams(self) -> bool:
        """Whether the reply is told as it comes; else it is held until it is whole."""
        return self._splitter is not None

    @property
    def packed(self) -> bool:
        """Whether the whole reply has to be unpacked, which may take long: 40 ms for 8 MB of gzip."""
        return self._coding != "identity" and self._splitter is None

    def begin(self, status: int, lines: Iterable[bytes]) -> list[bytes]:
        """The head of the reply is in."""
        fields = fields_of(lines)
        kind = fields.get(b"content-type", b"").partition(b";")[0].strip().decode("latin-1")
        self._coding = coding_of(fields.get(b"content-encoding", b""))
        self._metadata = Metadata(
            cache_status=fields.get(b"cf-aig-cache-status", b"").decode("latin-1"),
            event_id=Raw(self.event_id),
            log_id=fields.get(b"cf-aig-log-id", b"").decode("latin-1"),
            step=fields.get(b"cf-aig-step", b"0").decode("latin-1"),
            content_type=kind,
            status_code=status if status >= 400 else 0,
        )
        if kind.lower() == EVENT_STREAM and self._coding == "identity":
            return self._open()
        return []

    def add(self, data: bytes, last: bool) -> list[bytes]:
        """More of the body is in. Raises MalformedRequest where it is too long for a message."""
        if self._splitter is not None:
            return self._streamed(self._splitter, data, last)
        self._size += len(data)
        check_length(self._size)
        self._parts.append(data)
        return self._whole() if last else []

    def broken(self, error: GatewayError, refusal: tuple[int, bytes]) -> bytes:
        """The rest will not come: what was begun ends with the error, else the error is the reply.

        A stream whose last event was told has lost nothing, as its log says too.
        """
        if self._splitter is not None:
            if self._latest is None or not ends_stream(self._latest):
                self._note(error=(Said(error.code, error.said),))
            return self._message("done")
        status, body = refusal
        self._note(status_code=status, content_type="application/json")
        return self._message("created", body)

    def cancelled(self) -> bytes:
        """The client wanted no more of it."""
        self._note(cancelled=True)
        return self._message("done")

    def _message(self, kind: Kind, response: bytes | None = None) -> bytes:
        """A message with all that is known of the reply."""
        metadata = msgspec.json.encode(self._metadata)
        if response is None:
            return b'{"type":"universal.%b","metadata":%b}' % (kind.encode(), metadata)
        return b'{"type":"universal.%b","metadata":%b,"response":%b}' % (kind.encode(), metadata, response)

    def _note(self, **fields: object) -> None:
        self._metadata = msgspec.structs.replace(self._metadata, **fields)

    def _open(self) -> list[bytes]:
        self._splitter = EventSplitter()
        return [self._message("created")]

    def _streamed(self, splitter: EventSplitter, data: bytes, last: bool) -> list[bytes]:
        blocks = splitter.feed(data)
        if last:
            blocks.append(splitter.end())
        messages = []
        for block in blocks:
            event = parse_event(block)
            if event is not None and event.data:
                self._latest = event
                if event.data != END_MARK:
                    messages.append(b"%b%b}" % (self._stream, json_or_text(event.data)))
        if last:
            messages.append(self._message("done"))
        return messages

    def _whole(self) -> list[bytes]:
        data = b"".join(self._parts)
        self._parts = []
        if self._coding != "identity":
            data = plain(data, self._coding)
            check_length(len(data))
        kind = self._metadata.content_type.lower()
        if kind == EVENT_STREAM:
            messages = self._open()
            assert self._splitter is not None
            return messages + self._streamed(self._splitter, data, True)
        return [self._message("created", self._response(data, kind))]

    def _response(self, data: bytes, kind: str) -> bytes:
        """A whole body as JSON (contract 4.1)."""
        if not data:
            return NOTHING
        if not kind or kind == "application/json" or kind.endswith("+json"):
            value = json_in(data)
            if value is not None:
                return value
        if kind.startswith("text/") or (kind.endswith("json") and is_text(data)) or (not kind and is_text(data)):
            return msgspec.json.encode(data.decode("utf-8", "replace"))
        self._note(encoding="base64")
        return b'"%b"' % b64encode(data)


def fields_of(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """Header fields by lower-case name, the last of each."""
    fields = {}
    for line in b"".join(lines).split(b"\r\n"):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return fields


def check_length(size: int) -> None:
    """Raises MalformedRequest for more than goes into a message."""
    if size > MOST_REPLY_BYTES:
        raise MalformedRequest(f"A reply of more than {MOST_REPLY_BYTES} bytes cannot be sent over a WebSocket")


def plain(data: bytes, coding: str) -> bytes:
    """A body without its content coding, as far as it can be read and a byte past what goes into a message.

    As it is where the coding is unknown.
    """
    pieces = decoded(io.BytesIO(data), coding, MOST_REPLY_BYTES + 1)
    return data if pieces is None else b"".join(pieces)


def json_or_text(data: bytes) -> bytes:
    """JSON as it stands, anything else as a string."""
    value = json_in(data)
    return msgspec.json.encode(data.decode("utf-8", "replace")) if value is None else value


def json_in(data: bytes) -> bytes | None:
    """The JSON in these bytes, None where they are something else."""
    try:
        value = bytes(_value.decode(data))
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if is_text(value) else None  # the decoder looks at no text that it skips


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
