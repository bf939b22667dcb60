"""OpenAI's streamed chat completions to Anthropic's events, chunk by chunk."""

from collections.abc import Iterable
from typing import Final

import msgspec

from sluice.providers.anthropic_chat import inverse_chat, messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.events import DataReader, broken_by
from sluice.providers.anthropic_chat.inverse_chat import decode_chunk, said
from sluice.providers.anthropic_chat.inverse_reply import stop_reason, to_usage
from sluice.providers.usage import Told, counted, may_tell_usage, merged, told_by_event
from sluice.values.errors import GatewayError, OutputUnreadable, UpstreamBroken

_TEXT: Final = -1
"""Stands for the open text among the indices of calls."""
_NO_INPUT: Final = msgspec.Raw(b"{}")


class EventStream:
    """One reply in translation: bytes of OpenAI's stream in, however split, bytes of Anthropic's out.

    `ended` tells that `[DONE]` and with it `message_stop` has passed. A `fault` tells that it never will: the stream
    was cut, cannot be read, or holds an error of the provider, which alone is passed on. After either, what is fed is
    ignored.
    """

    __slots__ = ("_begun", "_blocks", "_finish_reason", "_ids", "_last", "_open", "_reader", "_usage", "ended", "fault")

    def __init__(self) -> None:
        self._reader = DataReader()
        self._begun = False
        self._open: dict[int, int] = {}
        self._ids: dict[int, str] = {}
        self._last = 0
        self._blocks = 0
        self._finish_reason: str | None = None
        self._usage: Told | None = None
        self.ended = False
        self.fault: GatewayError | None = None

    def feed(self, data: bytes) -> bytes:
        """The events that this data completes."""
        return b"" if self.ended or self.fault is not None else self._translate(self._reader.feed(data))

    def finish(self) -> bytes:
        """What is left when the stream has ended; a stream without its last event is at fault from here on."""
        if self.ended or self.fault is not None:
            return b""
        rest = self._translate(self._reader.end())
        if not self.ended and self.fault is None:
            self.fault = UpstreamBroken("the stream ended without [DONE]")
        return rest

    def _translate(self, events: Iterable[bytes]) -> bytes:
        told = []
        try:
            for data in events:
                told.append(self._stop() if data == b"[DONE]" else self._chunk(data))
                if self.ended or self.fault is not None:
                    break
        except OutputUnreadable as fault:
            self.fault = fault
        return b"".join(told)

    def _chunk(self, data: bytes) -> bytes:
        chunk = decode_chunk(data)
        if chunk.error is not None:
            return self._error(chunk.error)
        told = b"" if self._begun else self._start(chunk)
        if may_tell_usage(data):
            self._usage = merged(self._usage, told_by_event(data))
        for choice in chunk.choices or ():
            if not choice.index:
                told += self._choice(choice)
        return told

    def _start(self, chunk: inverse_chat.Chunk) -> bytes:
        """Anthropic tells of the input here, OpenAI only at the end: it is zero until then."""
        self._begun = True
        message = messages.Message(chunk.id or "", "message", chunk.model or "", [], usage=messages.Usage(0, 0))
        return _event("message_start", message=message)

    def _choice(self, choice: inverse_chat.ChoiceDelta) -> bytes:
        delta = choice.delta or inverse_chat.Delta()
        self._finish_reason = choice.finish_reason or self._finish_reason
        told = self._text(said(delta.content)) + self._text(said(delta.refusal))
        for call in delta.tool_calls or ():
            told += self._call(call)
        return told

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        opened = b"" if _TEXT in self._open else self._open_block(_TEXT, messages.AnswerBlock("text"))
        return opened + self._extend(_TEXT, {"type": "text_delta", "text": text})

    def _call(self, call: inverse_chat.CallDelta) -> bytes:
        """Calls may arrive side by side. What has neither place nor id belongs to the last one."""
        function = call.function or inverse_chat.Function()
        place = self._last if call.index is None else call.index
        if place < 0:
            raise OutputUnreadable("a call at a place that is none")
        begun = self._begin(place, call.id, function.name) if self._begins(call, function, place) else b""
        self._last = place
        if not function.arguments:
            return begun
        return begun + self._extend(place, {"type": "input_json_delta", "partial_json": function.arguments})

    def _begins(self, call: inverse_chat.CallDelta, function: inverse_chat.Function, place: int) -> bool:
        """Some vendors number all calls alike; others give each piece of one another id, but its first alone a name."""
        if place not in self._open:
            return bool(call.id or function.name or function.arguments)
        return bool(call.id) and call.id != self._ids[place] and bool(function.name or call.index is None)

    def _begin(self, place: int, id: str | None, name: str | None) -> bytes:
        """A call ends the text before it, and the one that was at its place."""
        if id is None or name is None:
            raise OutputUnreadable("a call that does not begin with its id and name")
        self._ids[place] = id
        ended = b"".join([self._close(before) for before in (_TEXT, place) if before in self._open])
        return ended + self._open_block(place, messages.AnswerBlock("tool_use", id=id, name=name, input=_NO_INPUT))

    def _open_block(self, place: int, block: messages.AnswerBlock) -> bytes:
        index = self._open[place] = self._blocks
        self._blocks += 1
        if block.type == "text":
            return _event("content_block_start", index=index, content_block=messages.Text(""))
        return _event("content_block_start", index=index, content_block=block)

    def _extend(self, place: int, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", index=self._open[place], delta=delta)

    def _close(self, place: int) -> bytes:
        return _event("content_block_stop", index=self._open.pop(place))

    def _stop(self) -> bytes:
        if not self._begun:
            raise OutputUnreadable("the stream ended before it began")
        told = b"".join([self._close(place) for place in sorted(self._open, key=self._open.__getitem__)])
        delta = {"stop_reason": stop_reason(self._finish_reason, bool(self._ids)), "stop_sequence": None}
        used = counted(self._usage)
        usage = messages.Usage(output_tokens=0) if used is None else to_usage(used)
        self.ended = True
        return told + _event("message_delta", delta=delta, usage=usage) + _event("message_stop")

    def _error(self, problem: inverse_chat.Problem) -> bytes:
        error = messages.Problem(problem.type or "api_error", problem.message)
        self.fault = broken_by(error)
        return _event("error", error=error)


def _event(name: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), ENCODER.encode({"type": name, **fields}))
