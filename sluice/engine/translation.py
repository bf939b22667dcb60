"""Replies told in another shape than the provider's own; the log has the provider's own words."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from sluice.engine.held import hold_whole
from sluice.engine.recorder import Record
from sluice.engine.remarks import refused_at_api
from sluice.engine.words import is_short, plain
from sluice.formats.eventstream import MEDIA_TYPE
from sluice.providers.anthropic_chat import reply as chat
from sluice.providers.anthropic_chat.inverse_error import from_chat_error
from sluice.providers.anthropic_chat.inverse_reply import from_chat
from sluice.providers.anthropic_chat.inverse_stream import EventStream
from sluice.providers.anthropic_chat.stream import ChunkStream
from sluice.providers.anthropic_responses import reply as responses
from sluice.providers.anthropic_responses.stream import ResponseStream
from sluice.providers.bedrock_chat import reply as converse
from sluice.providers.bedrock_chat.reply import Heading
from sluice.providers.bedrock_chat.stream import ConverseStream
from sluice.providers.envelope import enveloped, enveloped_error
from sluice.values.errors import CredentialsRefused, GatewayError, OutputUnreadable
from sluice.values.reply import Part, Ready, Reply, ReplyBody
from sluice.values.request import Translation

Outside = Callable[[Reply], None]
"""What is to be done to a reply once its record stands before its body."""

ERROR_S: Final = 2.0
"""How long the rest of an error is waited for: no client waits without bounds for what may be fallen back from."""
STREAMS: Final = (b"text/event-stream", MEDIA_TYPE.encode())
NOT_TOLD: Final = (b"content-length:", b"content-type:", b"content-encoding:")
JSON_LINES: Final = b"Content-Type: application/json\r\nContent-Length: %d\r\n"
STREAM_LINES: Final = b"Content-Type: text/event-stream\r\n"


class Interpreter(Protocol):
    """A stream in translation: bytes in, bytes out. Once `fault` is there nothing more comes."""

    fault: GatewayError | None

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


async def translated(reply: Reply, record: Record, translation: Translation) -> Outside | None:
    """How a reply is to be told, None for as it comes. A whole one is read to its end before anybody is told of it.

    Raises OutputUnreadable and UpstreamFailure, and TimeoutError for an error that does not end.
    """
    refused = reply.status == CredentialsRefused.status and translation.dialect != "gateway"
    if not refused and _passes(reply, record, translation):
        return None
    heading = Heading(f"chatcmpl-{record.id}", int(time.time()), record.model)
    if reply.status < 400 and record.reply_type.startswith(STREAMS):
        if record.reply_encoding:
            raise OutputUnreadable("A compressed stream cannot be translated")
        listener = Listener(reply.body, _stream(translation, heading))
        reply.body = listener
        await listener.begin()
        return lambda told: _tell_stream(told, record, listener)
    async with asyncio.timeout(None if reply.status < 400 else ERROR_S):
        data = await hold_whole(reply)
    status, encoding = reply.status, record.reply_encoding
    if refused:
        ours = record.credential is not None and not record.credential.stored
        return lambda told: _tell_refused(told, 503 if ours else status, translation)
    if is_short(encoding, data):
        words = _words(translation, status, plain(encoding, data), heading)
    else:
        words = await asyncio.to_thread(lambda: _words(translation, status, plain(encoding, data), heading))
    return lambda told: _tell_whole(told, words)


def _passes(reply: Reply, record: Record, translation: Translation) -> bool:
    """Whether it goes to the client as it comes: an envelope is for JSON and for errors."""
    if translation.shape != "plain":
        return False
    return not translation.enveloped or (reply.status < 400 and b"json" not in record.reply_type)


def _stream(translation: Translation, heading: Heading) -> Interpreter:
    match translation.shape:
        case "converse":
            return ConverseStream(translation.include_usage, heading)
        case "messages":
            return EventStream()
        case "chat":
            return ChunkStream(translation.include_usage, heading.created_s)
    return ResponseStream(heading.created_s)


def _words(translation: Translation, status: int, body: bytes | None, heading: Heading) -> bytes:
    words = _in_shape(translation, status, body or b"", heading)
    if not translation.enveloped:
        return words
    return enveloped_error(status, words) if status >= 400 else enveloped(words)


def _in_shape(translation: Translation, status: int, data: bytes, heading: Heading) -> bytes:
    match translation.shape:
        case "plain":
            return data
        case "converse":
            return converse.from_reply(data, heading) if status < 400 else converse.from_error(status, data)
        case "messages":
            return from_chat_error(status, data) if status >= 400 else from_chat(data)
    if status >= 400:
        return chat.from_error(status, data)
    tell = chat.from_message if translation.shape == "chat" else responses.from_message
    return tell(data, heading.created_s)


def _tell_refused(reply: Reply, status: int, translation: Translation) -> None:
    """It is the client's to mend, or, of the operator's own key, not (contract 1.5)."""
    reply.status, reply.reason = status, None
    _tell_whole(reply, refused_at_api(CredentialsRefused(), status, translation.dialect))


def _tell_whole(reply: Reply, words: bytes) -> None:
    reply.lines = [*_kept(reply.lines), JSON_LINES % len(words)]
    reply.length = len(words)
    reply.body = RetoldWhole(reply.body, words)


def _tell_stream(reply: Reply, record: Record, listener: "Listener") -> None:
    reply.lines = [*_kept(reply.lines), STREAM_LINES]
    reply.length = None
    reply.body = RetoldStream(record, listener)


def _kept(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not line.lower().startswith(NOT_TOLD)]


class RetoldWhole:
    """Other words for a body that ends when that does."""

    def __init__(self, body: ReplyBody, words: bytes) -> None:
        self._body, self._words = body, words

    def poll(self) -> Part | None:
        part = self._body.poll()
        return None if part is None else self._told(part)

    async def read(self) -> Part:
        return self._told(await self._body.read())

    def alert(self, ready: Ready | None) -> bool:
        return False

    def close(self, complete: bool = False) -> None:
        self._body.close(complete)

    def _told(self, part: Part) -> Part:
        return Part(self._words if part.last else b"", part.last)


class Listener:
    """A stream on its way into its log, translated as it passes. A translation that fails breaks it for the log too."""

    def __init__(self, body: ReplyBody, stream: Interpreter) -> None:
        self._body, self._stream = body, stream
        self._first: Part | None = None
        self._told: list[bytes] = []

    async def begin(self) -> None:
        """Listens to the first part, while another provider may still be asked. Raises what is wrong with it."""
        self._first = self._heard(self._body.poll() or await self._body.read())
        if self._stream.fault is not None:
            raise self._stream.fault

    def take(self) -> bytes:
        """What has been translated since it was last asked for."""
        told, self._told = b"".join(self._told), []
        return told

    def poll(self) -> Part | None:
        part, self._first = self._first, None
        if part is None and self._stream.fault is None and (came := self._body.poll()) is not None:
            part = self._heard(came)
        return part

    async def read(self) -> Part:
        part, self._first = self._first, None
        if part is not None:
            return part
        if self._stream.fault is not None:
            raise self._stream.fault
        return self._heard(await self._body.read())

    def alert(self, ready: Ready | None) -> bool:
        return False  # a fault of the translation comes with a part, and nothing behind it

    def close(self, complete: bool = False) -> None:
        self._body.close(complete)

    def _heard(self, part: Part) -> Part:
        stream = self._stream
        self._told.append(stream.feed(part.data))
        if part.last:
            self._told.append(stream.finish())
        return Part(part.data, part.last and stream.fault is None)


class RetoldStream:
    """The translation of a stream, as far as its log has it."""

    def __init__(self, record: Record, listener: Listener) -> None:
        self._record, self._listener = record, listener

    def poll(self) -> Part | None:
        part = self._record.poll()
        return None if part is None else Part(self._listener.take(), part.last)

    async def read(self) -> Part:
        part = await self._record.read()
        return Part(self._listener.take(), part.last)

    def alert(self, ready: Ready | None) -> bool:
        return False

    def close(self, complete: bool = False) -> None:
        self._record.close(complete)
