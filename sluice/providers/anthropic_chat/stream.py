"""Anthropic's streamed replies to OpenAI's chunks, event by event."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from sluice.formats.sse import MAX_EVENT_BYTES, EventSplitter, parse_event
from sluice.providers.anthropic_chat import chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.reply import finish_reason, to_usage
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import GatewayError, OutputUnreadable, UpstreamBroken

_DONE: Final = b"data: [DONE]\n\n"
_MOST_SAID: Final = 1000
_OPENING: Final = b'{"role":"assistant","content":"","refusal":null}'


class _Head(msgspec.Struct, frozen=True):
    id: str
    model: str
    usage: messages.Usage | None = None


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    """Any event; which fields are filled depends on its type."""

    type: str = ""
    index: int = 0
    message: _Head | None = None
    content_block: messages.AnswerBlock | None = None
    delta: _Delta | None = None
    usage: messages.Usage | None = None
    error: messages.Problem | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)


@dataclass(slots=True)
class _OpenCall:
    """A call whose arguments are arriving. `input` is what its first event said of them, mostly `{}`."""

    number: int
    input: str
    begun: bool = False


class ChunkStream:
    """One reply in translation: bytes of Anthropic's stream in, however split, bytes of OpenAI's out.

    `ended` tells that `message_stop` and with it `[DONE]` has passed. A `fault` tells that it never will: the stream
    was cut, cannot be read, or holds an error of the provider, which alone is passed on. After either, what is fed is
    ignored.
    """

    __slots__ = (
        "_calls",
        "_calls_made",
        "_created_s",
        "_head",
        "_held_bytes",
        "_include_usage",
        "_splitter",
        "_stop_reason",
        "_tail",
        "_usage",
        "ended",
        "fault",
    )

    def __init__(self, include_usage: bool, created_s: int) -> None:
        self._include_usage = include_usage
        self._created_s = created_s
        self._splitter = EventSplitter()
        self._held_bytes = 0
        self._head = b""
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._calls: dict[int, _OpenCall] = {}
        self._calls_made = 0
        self._stop_reason: str | None = None
        self._usage: messages.Usage | None = None
        self.ended = False
        self.fault: GatewayError | None = None

    def feed(self, data: bytes) -> bytes:
        """The chunks that this data completes."""
        if self.ended or self.fault is not None:
            return b""
        self._held_bytes += len(data)
        if self._held_bytes > MAX_EVENT_BYTES:  # the splitter would leave it out, and a piece of the answer with it
            return self._fail(OutputUnreadable("an event of the stream is too large"))
        blocks = self._splitter.feed(data)
        if blocks:
            self._held_bytes = len(data)
        return b"".join([self._translate(block) for block in blocks])

    def finish(self) -> bytes:
        """What is left when the stream has ended; a stream without its last event is at fault from here on."""
        if self.ended or self.fault is not None:
            return b""
        rest = self._translate(self._splitter.end())
        if not self.ended and self.fault is None:
            self.fault = UpstreamBroken("the stream ended without message_stop")
        return rest if self.ended else b""

    def _translate(self, block: bytes) -> bytes:
        event = parse_event(block)
        if event is None or self.ended or self.fault is not None:
            return b""
        try:
            found = _EVENT.decode(event.data)
            translate = _TRANSLATIONS.get(found.type)
            return b"" if translate is None else translate(self, found)
        except UNREADABLE as error:
            return self._fail(OutputUnreadable(f"an event of the stream cannot be read: {error}"))

    def _fail(self, fault: GatewayError) -> bytes:
        self.fault = fault
        return b""

    def _start(self, event: _Event) -> bytes:
        if event.message is None or self._head:
            return self._fail(OutputUnreadable("message_start is not as it should be"))
        message = event.message
        self._usage = message.usage
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            ENCODER.encode(message.id),
            self._created_s,
            ENCODER.encode(message.model),
        )
        return self._chunk(_OPENING)

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        if not self._head:
            return self._fail(OutputUnreadable("the stream does not begin with message_start"))
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            finish,
            self._tail,
        )

    def _text(self, text: str) -> bytes:
        return self._chunk(b'{"content":%b}' % ENCODER.encode(text)) if text else b""

    def _arguments(self, call: _OpenCall, text: str) -> bytes:
        if not text:
            return b""
        call.begun = True
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        return self._chunk(delta % (call.number, ENCODER.encode(text)))

    def _open_block(self, event: _Event) -> bytes:
        block = event.content_block
        if block is None or block.type not in ("text", "tool_use"):
            return b""
        if block.type == "text":
            return self._text(block.text)
        call = _OpenCall(self._calls_made, "{}" if block.input is msgspec.UNSET else bytes(block.input).decode())
        self._calls[event.index] = call
        self._calls_made += 1
        begun = chat.ToolCall(block.id, "function", chat.FunctionCall(block.name))
        return self._chunk(b'{"tool_calls":[{"index":%d,%b]}' % (call.number, ENCODER.encode(begun)[1:]))

    def _extend_block(self, event: _Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.type == "text_delta":
            return self._text(delta.text)
        call = self._calls.get(event.index)
        if delta.type != "input_json_delta" or call is None:
            return b""
        return self._arguments(call, delta.partial_json)

    def _close_block(self, event: _Event) -> bytes:
        """A call without arguments is streamed without any; OpenAI's clients parse what they have got."""
        call = self._calls.pop(event.index, None)
        return b"" if call is None or call.begun else self._arguments(call, call.input)

    def _note(self, event: _Event) -> bytes:
        if event.delta is not None and event.delta.stop_reason is not None:
            self._stop_reason = event.delta.stop_reason
        if event.usage is not None:
            self._usage = event.usage if self._usage is None else _merged(self._usage, event.usage)
        return b""

    def _stop(self, event: _Event) -> bytes:
        """All of the end at once: a stream that is cut before it shows no reason of a good end."""
        last = self._chunk(b"{}", b'"%b"' % finish_reason(self._stop_reason).encode())
        if self.fault is not None:
            return b""
        self.ended = True
        if not self._include_usage or self._usage is None:
            return last + _DONE
        usage = ENCODER.encode(to_usage(self._usage))
        return b'%b%b],"usage":%b}\n\n%b' % (last, self._head, usage, _DONE)

    def _error(self, event: _Event) -> bytes:
        found = event.error or messages.Problem("api_error", "the stream ended with an error")
        self.fault = UpstreamBroken(f"the stream ended with {found.type}: {found.message[:_MOST_SAID]}")
        return b"data: %b\n\n" % ENCODER.encode(chat.Failure(chat.Problem(found.message, found.type)))


_TRANSLATIONS: Final[dict[str, Callable[[ChunkStream, _Event], bytes]]] = {
    "content_block_delta": ChunkStream._extend_block,
    "content_block_start": ChunkStream._open_block,
    "content_block_stop": ChunkStream._close_block,
    "error": ChunkStream._error,
    "message_delta": ChunkStream._note,
    "message_start": ChunkStream._start,
    "message_stop": ChunkStream._stop,
}
"""Any other event is skipped, `ping` and those that Anthropic may add."""


def _merged(earlier: messages.Usage, later: messages.Usage) -> messages.Usage:
    told = {name: value for name in later.__struct_fields__ if (value := getattr(later, name)) is not None}
    return msgspec.structs.replace(earlier, **told)
