"""What is asked over a universal WebSocket, and what must be said to it, byte for byte."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from bench.exchange import reply_body, request_body
from bench.machine import BenchFault
from bench.websocket.wire import text_frame

_NAME = "00000000"
_METADATA = (
    rb'\{"type":"universal\.%b","metadata":\{"cacheStatus":"MISS","eventId":"(\d{8})","logId":"[0-9A-Z]{26}",'
    rb'"step":"0","contentType":"%b"\}'
)
_CREATED = re.compile(_METADATA % (b"created", b"application/json") + b',"response":')
_BEGUN_OR_DONE = re.compile(_METADATA % (b"(created|done)", b"text/event-stream") + rb"\}")
_EVENT = re.compile(rb'\{"type":"universal\.stream","metadata":\{"eventId":"(\d{8})"\},"response":')
_RESPONSE = reply_body().encode() + b"}"


class Creates:
    """Frames that ask for the same, each under a name of its own: a number."""

    def __init__(self, query: Mapping[str, object], headers: Mapping[str, str]) -> None:
        step = {"eventId": _NAME, "provider": "openai", "endpoint": "chat/completions", "query": query}
        message = {"type": "universal.create", "request": {**step, "headers": headers}}
        self._before, self._behind = text_frame(json.dumps(message).encode()).split(_NAME.encode())

    @classmethod
    def plain(cls) -> "Creates":
        """Of the request that all parts send."""
        return cls(json.loads(request_body()), {})

    @classmethod
    def streamed(cls, headers: Mapping[str, str]) -> "Creates":
        """Of the same, streamed."""
        return cls({**json.loads(request_body()), "stream": True}, headers)

    def frame(self, number: int) -> bytes:
        return b"%b%08d%b" % (self._before, number, self._behind)


def answered(message: bytes) -> int:
    """The number of the request that this is the whole reply to. Raises BenchFault where it is not the one expected."""
    known = _CREATED.match(message)
    if known is None or len(message) != known.end() + len(_RESPONSE) or not message.endswith(_RESPONSE):
        raise BenchFault(f"a wrong message came: {message!r}")
    return int(known[1])


class Told(NamedTuple):
    """A message about a stream: that it begins (`created`), an event of it (`stream`), or that it is over (`done`)."""

    number: int
    kind: bytes
    event: bytes


def told(message: bytes) -> Told:
    """Raises BenchFault for any other message, and for a stream that broke."""
    if known := _EVENT.match(message):
        return Told(int(known[1]), b"stream", message[known.end() : -1])
    if known := _BEGUN_OR_DONE.fullmatch(message):
        return Told(int(known[2]), known[1], b"")
    raise BenchFault(f"a wrong message came: {message!r}")
