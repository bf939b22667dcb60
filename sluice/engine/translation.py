"""Replies of a provider that does not speak the unified schema, told in it; the log has the provider's own words."""

import time
from collections.abc import Callable
from typing import Final

from sluice.engine.held import hold_whole
from sluice.engine.recorder import Record
from sluice.engine.words import plain
from sluice.providers.anthropic_chat import reply as chat
from sluice.providers.anthropic_chat.stream import ChunkStream
from sluice.providers.anthropic_responses import reply as responses
from sluice.providers.anthropic_responses.stream import ResponseStream
from sluice.values.errors import OutputUnreadable
from sluice.values.reply import Part, Reply, ReplyBody
from sluice.values.request import Translation

Outside = Callable[[Reply], None]
"""What is to be done to a reply once its record stands before its body."""

EVENT_STREAM: Final = b"text/event-stream"
NOT_TOLD: Final = (b"content-length:", b"content-type:", b"content-encoding:")
JSON_LINES: Final = b"Content-Type: application/json\r\nContent-Length: %d\r\n"
STREAM_LINES: Final = b"Content-Type: text/event-stream\r\n"


async def translated(reply: Reply, record: Record, translation: Translation) -> Outside:
    """How a reply is to be told. A whole one is read to its end, and judged, before anybody is told of it.

    Raises OutputUnreadable and UpstreamFailure.
    """
    now_s = int(time.time())
    if reply.status < 400 and record.reply_type.startswith(EVENT_STREAM):
        if record.reply_encoding:
            raise OutputUnreadable("A compressed stream cannot be translated")
        return lambda told: _tell_stream(told, record, _stream(translation, now_s))
    data = plain(record.reply_encoding, await hold_whole(reply)) or b""
    words = _words(translation, data, now_s) if reply.status < 400 else chat.from_error(reply.status, data)
    return lambda told: _tell_whole(told, words)


def _stream(translation: Translation, now_s: int) -> ChunkStream | ResponseStream:
    return ChunkStream(translation.include_usage, now_s) if translation.shape == "chat" else ResponseStream(now_s)


def _words(translation: Translation, data: bytes, now_s: int) -> bytes:
    tell = chat.from_message if translation.shape == "chat" else responses.from_message
    return tell(data, now_s)


def _tell_whole(reply: Reply, words: bytes) -> None:
    reply.lines = [*_kept(reply.lines), JSON_LINES % len(words)]
    reply.length = len(words)
    reply.body = RetoldWhole(reply.body, words)


def _tell_stream(reply: Reply, record: Record, stream: ChunkStream | ResponseStream) -> None:
    reply.lines = [*_kept(reply.lines), STREAM_LINES]
    reply.length = None
    reply.body = RetoldStream(record, stream)


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

    def close(self, complete: bool = False) -> None:
        self._body.close(complete)

    def _told(self, part: Part) -> Part:
        return Part(self._words if part.last else b"", part.last)


class RetoldStream:
    """A stream, event by event. One that is at fault never ends as if it were whole."""

    def __init__(self, record: Record, stream: ChunkStream | ResponseStream) -> None:
        self._record, self._stream = record, stream

    def poll(self) -> Part | None:
        if self._stream.fault is not None:
            return None
        part = self._record.poll()
        return None if part is None else self._told(part)

    async def read(self) -> Part:
        fault = self._stream.fault
        if fault is None:
            return self._told(await self._record.read())
        await self._record.spoil(fault)
        raise fault

    def close(self, complete: bool = False) -> None:
        self._record.close(complete)

    def _told(self, part: Part) -> Part:
        stream = self._stream
        data = stream.feed(part.data)
        if part.last:
            data += stream.finish()
        return Part(data, part.last and stream.fault is None)
