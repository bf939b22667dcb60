"""Converse's streamed replies, which are AWS's binary messages, to OpenAI's chunks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from sluice.formats.eventstream import Message, MessageReader
from sluice.providers.anthropic_chat import chat
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.bedrock_chat import converse
from sluice.providers.bedrock_chat.reply import Heading, finish_reason, to_usage
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import GatewayError, OutputUnreadable, UpstreamBroken

_DONE: Final = b"data: [DONE]\n\n"
_OPENING: Final = b'{"role":"assistant","content":"","refusal":null}'
_EVENT: Final = msgspec.json.Decoder(converse.Event)
_MOST_SAID: Final = 1000


@dataclass(slots=True)
class _OpenCall:
    """A call whose arguments are arriving."""

    number: int
    begun: bool = False


class ConverseStream:
    """One reply in translation: bytes of Bedrock's stream in, however split, bytes of OpenAI's out.

    `ended` tells that `[DONE]` has passed. A `fault` tells that it never will: the stream was cut, is damaged, or holds
    an exception, which alone is passed on. After either, what is fed is ignored.
    """

    __slots__ = (
        "_calls",
        "_calls_made",
        "_head",
        "_include_usage",
        "_reader",
        "_stop_reason",
        "_tail",
        "ended",
        "fault",
    )

    def __init__(self, include_usage: bool, heading: Heading) -> None:
        self._include_usage = include_usage
        self._reader = MessageReader()
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            ENCODER.encode(heading.id),
            heading.created_s,
            ENCODER.encode(heading.model),
        )
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._calls: dict[int, _OpenCall] = {}
        self._calls_made = 0
        self._stop_reason: str | None = None
        self.ended = False
        self.fault: GatewayError | None = None

    def feed(self, data: bytes) -> bytes:
        """The chunks that this data completes."""
        if self.ended or self.fault is not None:
            return b""
        told = []
        try:
            for message in self._reader.feed(data):
                told.append(self._translated(message))
                if self.ended or self.fault is not None:
                    break
        except ValueError as error:
            self.fault = OutputUnreadable(f"the stream is damaged: {error}")
        return b"".join(told)

    def finish(self) -> bytes:
        """What is left when the stream has ended; one without its reason to stop is at fault from here on."""
        if self.ended or self.fault is not None:
            return b""
        if self._stop_reason is None or not self._reader.whole:
            self.fault = UpstreamBroken("the stream ended without messageStop")
            return b""
        return self._end(None)

    def _translated(self, message: Message) -> bytes:
        try:
            event = _EVENT.decode(message.payload or b"{}")
        except UNREADABLE as error:
            self.fault = OutputUnreadable(f"an event of the stream cannot be read: {error}")
            return b""
        if message.headers.get(":message-type", "event") != "event":
            return self._failed(message, event)
        translate = _TRANSLATIONS.get(message.headers.get(":event-type", ""))
        return b"" if translate is None else translate(self, event)

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        line = b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b'
        return line % (self._head, delta, finish, self._tail)

    def _start(self, event: converse.Event) -> bytes:
        return self._chunk(_OPENING)

    def _open_block(self, event: converse.Event) -> bytes:
        use = None if event.start is None else event.start.tool_use
        if use is None:
            return b""
        call = self._calls[event.content_block_index] = _OpenCall(self._calls_made)
        self._calls_made += 1
        begun = chat.ToolCall(use.tool_use_id, "function", chat.FunctionCall(use.name))
        return self._chunk(b'{"tool_calls":[{"index":%d,%b]}' % (call.number, ENCODER.encode(begun)[1:]))

    def _extend_block(self, event: converse.Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.text is not None:
            return self._chunk(b'{"content":%b}' % ENCODER.encode(delta.text)) if delta.text else b""
        call = self._calls.get(event.content_block_index)
        return b"" if call is None or delta.tool_use is None else self._arguments(call, delta.tool_use.input)

    def _close_block(self, event: converse.Event) -> bytes:
        """A call without arguments may be streamed without any; OpenAI's clients parse what they have got."""
        call = self._calls.pop(event.content_block_index, None)
        return b"" if call is None or call.begun else self._arguments(call, "{}")

    def _arguments(self, call: _OpenCall, text: str) -> bytes:
        if not text:
            return b""
        call.begun = True
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        return self._chunk(delta % (call.number, ENCODER.encode(text)))

    def _stop(self, event: converse.Event) -> bytes:
        """Told with the usage behind it: a stream that is cut before its end shows no reason of a good one."""
        self._stop_reason = event.stop_reason
        return b""

    def _note(self, event: converse.Event) -> bytes:
        return b"" if self._stop_reason is None else self._end(event.usage)

    def _end(self, usage: converse.Usage | None) -> bytes:
        self.ended = True
        last = self._chunk(b"{}", b'"%b"' % finish_reason(self._stop_reason or "").encode())
        if not self._include_usage or usage is None:
            return last + _DONE
        return b'%b%b],"usage":%b}\n\n%b' % (last, self._head, ENCODER.encode(to_usage(usage)), _DONE)

    def _failed(self, message: Message, event: converse.Event) -> bytes:
        headers = message.headers
        kind = headers.get(":exception-type") or headers.get(":error-code") or "api_error"
        said = event.message or headers.get(":error-message", "")
        self.fault = UpstreamBroken(f"the stream ended with {kind[:64]}: {said[:_MOST_SAID]}")
        return b"data: %b\n\n" % ENCODER.encode(chat.Failure(chat.Problem(said, kind)))


_TRANSLATIONS: Final[dict[str, Callable[[ConverseStream, converse.Event], bytes]]] = {
    "contentBlockDelta": ConverseStream._extend_block,
    "contentBlockStart": ConverseStream._open_block,
    "contentBlockStop": ConverseStream._close_block,
    "messageStart": ConverseStream._start,
    "messageStop": ConverseStream._stop,
    "metadata": ConverseStream._note,
}
"""Any other event is skipped."""
