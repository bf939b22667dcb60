"""Anthropic's streamed replies to OpenAI's chunks, event by event."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sluice.providers.anthropic_chat import chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.events import DataReader, Event, broken_by, decode_event, merged, problem_of
from sluice.providers.anthropic_chat.reply import finish_reason, input_of, to_usage
from sluice.values.errors import GatewayError, OutputUnreadable, UpstreamBroken

_DONE: Final = b"data: [DONE]\n\n"
_OPENING: Final = b'{"role":"assistant","content":"","refusal":null}'


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
        "_include_usage",
        "_reader",
        "_stop_reason",
        "_tail",
        "_usage",
        "ended",
        "fault",
    )

    def __init__(self, include_usage: bool, created_s: int) -> None:
        self._include_usage = include_usage
        self._created_s = created_s
        self._reader = DataReader()
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
        return b"" if self.ended or self.fault is not None else self._translate(self._reader.feed(data))

    def finish(self) -> bytes:
        """What is left when the stream has ended; a stream without its last event is at fault from here on."""
        if self.ended or self.fault is not None:
            return b""
        rest = self._translate(self._reader.end())
        if not self.ended and self.fault is None:
            self.fault = UpstreamBroken("the stream ended without message_stop")
        return rest

    def _translate(self, events: Iterable[bytes]) -> bytes:
        told = []
        try:
            for data in events:
                event = decode_event(data)
                translate = _TRANSLATIONS.get(event.type)
                if translate is not None:
                    told.append(translate(self, event))
                    if self.ended or self.fault is not None:
                        break
        except OutputUnreadable as fault:
            self.fault = fault
        return b"".join(told)

    def _start(self, event: Event) -> bytes:
        message = event.message
        if message is None or self._head:
            raise OutputUnreadable("message_start is not as it should be")
        self._usage = message.usage
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            ENCODER.encode(message.id),
            self._created_s,
            ENCODER.encode(message.model),
        )
        return self._chunk(_OPENING)

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        if not self._head:
            raise OutputUnreadable("the stream does not begin with message_start")
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            finish,
            self._tail,
        )

    def _open_block(self, event: Event) -> bytes:
        block = event.content_block
        if block is None or block.type not in ("text", "tool_use"):
            return b""
        if block.type == "text":
            return self._text(block.text)
        call = _OpenCall(self._calls_made, input_of(block))
        self._calls[event.index] = call
        self._calls_made += 1
        begun = chat.ToolCall(block.id, "function", chat.FunctionCall(block.name))
        return self._chunk(b'{"tool_calls":[{"index":%d,%b]}' % (call.number, ENCODER.encode(begun)[1:]))

    def _extend_block(self, event: Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.type == "text_delta":
            return self._text(delta.text)
        call = self._calls.get(event.index)
        if delta.type != "input_json_delta" or call is None:
            return b""
        return self._arguments(call, delta.partial_json)

    def _close_block(self, event: Event) -> bytes:
        """A call without arguments is streamed without any; OpenAI's clients parse what they have got."""
        call = self._calls.pop(event.index, None)
        return b"" if call is None else self._close(call)

    def _close(self, call: _OpenCall) -> bytes:
        return b"" if call.begun else self._arguments(call, call.input)

    def _text(self, text: str) -> bytes:
        return self._chunk(b'{"content":%b}' % ENCODER.encode(text)) if text else b""

    def _arguments(self, call: _OpenCall, text: str) -> bytes:
        if not text:
            return b""
        call.begun = True
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        return self._chunk(delta % (call.number, ENCODER.encode(text)))

    def _note(self, event: Event) -> bytes:
        if event.delta is not None and event.delta.stop_reason is not None:
            self._stop_reason = event.delta.stop_reason
        if event.usage is not None:
            self._usage = merged(self._usage, event.usage)
        return b""

    def _stop(self, event: Event) -> bytes:
        """All of the end at once: a stream that is cut before it shows no reason of a good end."""
        last = b"".join([self._close(call) for call in self._calls.values()])
        last += self._chunk(b"{}", b'"%b"' % finish_reason(self._stop_reason).encode())
        self.ended = True
        if not self._include_usage or self._usage is None:
            return last + _DONE
        usage = ENCODER.encode(to_usage(self._usage))
        return b'%b%b],"usage":%b}\n\n%b' % (last, self._head, usage, _DONE)

    def _error(self, event: Event) -> bytes:
        problem = problem_of(event)
        self.fault = broken_by(problem)
        return b"data: %b\n\n" % ENCODER.encode(chat.Failure(chat.Problem(problem.message, problem.type)))


_TRANSLATIONS: Final[dict[str, Callable[[ChunkStream, Event], bytes]]] = {
    "content_block_delta": ChunkStream._extend_block,
    "content_block_start": ChunkStream._open_block,
    "content_block_stop": ChunkStream._close_block,
    "error": ChunkStream._error,
    "message_delta": ChunkStream._note,
    "message_start": ChunkStream._start,
    "message_stop": ChunkStream._stop,
}
"""Any other event is skipped, `ping` and those that Anthropic may add."""
