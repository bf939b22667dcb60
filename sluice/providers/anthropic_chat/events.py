"""The events of streams, read from bytes however split, and what is common to reading Anthropic's."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from sluice.formats.sse import MAX_EVENT_BYTES, EventSplitter, parse_event
from sluice.providers.anthropic_chat import messages
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable, UpstreamBroken

_MOST_SAID: Final = 1000


class Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class Event(msgspec.Struct, frozen=True):
    """Any event; which fields are filled depends on its type."""

    type: str = ""
    index: int = 0
    message: messages.Head | None = None
    content_block: messages.AnswerBlock | None = None
    delta: Delta | None = None
    usage: messages.Usage | None = None
    error: messages.Problem | None = None


_EVENT: Final = msgspec.json.Decoder(Event)


class DataReader:
    """Cuts a stream into the data of its events. One past all bounds is an OutputUnreadable."""

    __slots__ = ("_held_bytes", "_splitter")

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._held_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of the events that this completes."""
        self._held_bytes += len(data)
        if self._held_bytes > MAX_EVENT_BYTES:  # the splitter would leave it out, and a piece of the answer with it
            raise OutputUnreadable("an event of the stream is too large")
        blocks = self._splitter.feed(data)
        if blocks:
            self._held_bytes = len(data)
        yield from _data_of(blocks)

    def end(self) -> Iterator[bytes]:
        """The data of the event that lacks its blank line when the stream has ended, if there is one."""
        return _data_of([self._splitter.end()])


def _data_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        event = parse_event(block)
        if event is not None:
            yield event.data


def decode_event(data: bytes) -> Event:
    """An event of Anthropic's."""
    try:
        return _EVENT.decode(data)
    except UNREADABLE as error:
        raise OutputUnreadable(f"an event of the stream cannot be read: {error}") from None


def problem_of(event: Event) -> messages.Problem:
    """What an `error` event says."""
    return event.error or messages.Problem("api_error", "the stream ended with an error")


def broken_by(problem: messages.Problem) -> UpstreamBroken:
    """The fault of a stream that the provider itself ended with an error."""
    return UpstreamBroken(f"the stream ended with {problem.type}: {problem.message[:_MOST_SAID]}")


def merged(earlier: messages.Usage | None, later: messages.Usage) -> messages.Usage:
    """What both say together, the later one where both speak."""
    if earlier is None:
        return later
    told = {name: value for name in later.__struct_fields__ if (value := getattr(later, name)) is not None}
    return msgspec.structs.replace(earlier, **told)
