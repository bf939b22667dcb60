"""Anthropic's streamed replies to the events that build up a response."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from sluice.providers.anthropic_chat import messages
from sluice.providers.anthropic_chat.decoding import ENCODER
from sluice.providers.anthropic_chat.events import DataReader, Event, broken_by, decode_event, merged, problem_of
from sluice.providers.anthropic_chat.reply import input_of
from sluice.providers.anthropic_responses.reply import call_item, said_item, to_response
from sluice.providers.anthropic_responses.responses import OutputItem, OutputText, Response
from sluice.values.errors import GatewayError, OutputUnreadable, UpstreamBroken

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""A response repeats at its end all that was said, so that much of it is held."""


@dataclass(slots=True)
class _OpenItem:
    """A text or a call that is arriving, and what is there of it. Its place is known once it is told of."""

    block: messages.AnswerBlock
    number: int = 0
    id: str = ""
    pieces: list[str] = field(default_factory=list)


class ResponseStream:
    """One reply in translation: bytes of Anthropic's stream in, however split, bytes of OpenAI's out.

    `ended` tells that `message_stop` and with it `response.completed` or `response.incomplete` has passed. A `fault`
    tells that it never will: the stream was cut, cannot be read, or holds an error of the provider, which alone is
    passed on. After either, what is fed is ignored.
    """

    __slots__ = (
        "_created_s",
        "_head",
        "_held",
        "_items",
        "_number",
        "_open",
        "_output",
        "_reader",
        "_stop_reason",
        "_usage",
        "ended",
        "fault",
    )

    def __init__(self, created_s: int) -> None:
        self._created_s = created_s
        self._reader = DataReader()
        self._head: messages.Head | None = None
        self._held = 0
        self._number = 0
        self._items = 0
        self._open: dict[int, _OpenItem] = {}
        self._output: dict[int, OutputItem] = {}
        self._stop_reason: str | None = None
        self._usage: messages.Usage | None = None
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

    def _say(self, name: str, /, **fields: object) -> bytes:
        data = ENCODER.encode({"type": name, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)

    def _known(self) -> messages.Head:
        if self._head is None:
            raise OutputUnreadable("the stream does not begin with message_start")
        return self._head

    def _start(self, event: Event) -> bytes:
        head = event.message
        if head is None or self._head is not None:
            raise OutputUnreadable("message_start is not as it should be")
        self._head, self._usage = head, head.usage
        response = Response(head.id, self._created_s, head.model, "in_progress", [])
        return self._say("response.created", response=response) + self._say("response.in_progress", response=response)

    def _open_block(self, event: Event) -> bytes:
        """A text is told of when its first piece is there, for one that stays empty is none."""
        block = event.content_block
        if block is None or block.type not in ("text", "tool_use"):
            return b""
        self._open[event.index] = opened = _OpenItem(block)
        return self._text(opened, block.text) if block.type == "text" else self._tell(opened, call_item(block, None))

    def _tell(self, opened: _OpenItem, item: OutputItem) -> bytes:
        self._known()
        opened.number, opened.id = self._items, item.id
        self._items += 1
        return self._say("response.output_item.added", output_index=opened.number, item=item)

    def _extend_block(self, event: Event) -> bytes:
        delta, opened = event.delta, self._open.get(event.index)
        if delta is None or opened is None:
            return b""
        if delta.type == "text_delta" and opened.block.type == "text":
            return self._text(opened, delta.text)
        if delta.type == "input_json_delta" and opened.block.type == "tool_use":
            return self._arguments(opened, delta.partial_json)
        return b""

    def _close_block(self, event: Event) -> bytes:
        opened = self._open.pop(event.index, None)
        return b"" if opened is None else self._close(opened)

    def _close(self, opened: _OpenItem) -> bytes:
        return self._close_text(opened) if opened.block.type == "text" else self._close_call(opened)

    def _text(self, opened: _OpenItem, text: str) -> bytes:
        if not text:
            return b""
        told = b""
        if not opened.pieces:
            told = self._tell(opened, said_item(self._known().id, self._items, None))
            told += self._say_of_text("response.content_part.added", opened, part=OutputText(""))
        self._hold(opened, text)
        return told + self._say_of_text("response.output_text.delta", opened, delta=text, logprobs=())

    def _say_of_text(self, name: str, opened: _OpenItem, **fields: object) -> bytes:
        return self._say(name, item_id=opened.id, output_index=opened.number, content_index=0, **fields)

    def _close_text(self, opened: _OpenItem) -> bytes:
        if not opened.pieces:
            return b""
        text = "".join(opened.pieces)
        item = self._output[opened.number] = said_item(self._known().id, opened.number, text)
        told = self._say_of_text("response.output_text.done", opened, text=text, logprobs=())
        told += self._say_of_text("response.content_part.done", opened, part=OutputText(text))
        return told + self._say("response.output_item.done", output_index=opened.number, item=item)

    def _arguments(self, opened: _OpenItem, text: str) -> bytes:
        if not text:
            return b""
        self._hold(opened, text)
        name = "response.function_call_arguments.delta"
        return self._say(name, item_id=opened.id, output_index=opened.number, delta=text)

    def _close_call(self, opened: _OpenItem) -> bytes:
        """A call without arguments is streamed without any; OpenAI's clients parse what they have got."""
        told = b"" if opened.pieces else self._arguments(opened, input_of(opened.block))
        text = "".join(opened.pieces)
        item = self._output[opened.number] = call_item(opened.block, text)
        name = "response.function_call_arguments.done"
        told += self._say(name, item_id=opened.id, output_index=opened.number, name=item.name, arguments=text)
        return told + self._say("response.output_item.done", output_index=opened.number, item=item)

    def _hold(self, opened: _OpenItem, text: str) -> None:
        self._held += len(text)
        if self._held > MAX_ANSWER_BYTES:
            raise OutputUnreadable("the answer is too large to be repeated at its end")
        opened.pieces.append(text)

    def _note(self, event: Event) -> bytes:
        if event.delta is not None and event.delta.stop_reason is not None:
            self._stop_reason = event.delta.stop_reason
        if event.usage is not None:
            self._usage = merged(self._usage, event.usage)
        return b""

    def _stop(self, event: Event) -> bytes:
        head = self._known()
        told = b"".join([self._close(opened) for opened in self._open.values()])
        output = [self._output[number] for number in sorted(self._output)]
        response = to_response(head, output, self._stop_reason, self._usage, self._created_s)
        self.ended = True
        return told + self._say(f"response.{response.status}", response=response)

    def _error(self, event: Event) -> bytes:
        problem = problem_of(event)
        self.fault = broken_by(problem)
        return self._say("error", code=problem.type, message=problem.message, param=None)


_TRANSLATIONS: Final[dict[str, Callable[[ResponseStream, Event], bytes]]] = {
    "content_block_delta": ResponseStream._extend_block,
    "content_block_start": ResponseStream._open_block,
    "content_block_stop": ResponseStream._close_block,
    "error": ResponseStream._error,
    "message_delta": ResponseStream._note,
    "message_start": ResponseStream._start,
    "message_stop": ResponseStream._stop,
}
