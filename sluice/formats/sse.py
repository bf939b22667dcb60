"""Server-sent events, as the WHATWG standard defines the stream (HTML, 9.2.6)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

Sign = Callable[[bytes, int], int]
"""Where something is next in a stream from a place on, -1 where it is not."""

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 16 * 1024 * 1024
"""`response.completed` repeats the whole answer, generated images included."""


class Event(NamedTuple):
    """One event; `id` and `retry` are left out, for nothing here resumes a stream."""

    name: str
    data: bytes


class EventSplitter:
    """Cuts a stream, however it was split, into blocks: the lines of one event each, joined by LF.

    Most readers want few of the events, so a block is parsed only on demand, by `parse_event`. An event past
    `max_event_bytes` is left out. A block may hold nothing but comments.
    """

    __slots__ = ("_after_cr", "_dropping", "_held", "_held_bytes", "_limit", "_started")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._dropping = False
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """The blocks that this data completes, none of them empty."""
        data = self._with_plain_line_ends(data)
        held = self._held
        if held and held[-1].endswith(b"\n"):  # half of a blank line may wait at the end of what is held
            held[-1] = held[-1][:-1]
            self._held_bytes -= 1
            data = b"\n" + data
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        if blocks:
            held.append(blocks[0])
            blocks[:1] = self._take()
        held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes - rest.endswith(b"\n") > self._limit:
            self._dropping = True
            held[:] = [rest[-1:]]
        return [block for block in blocks if 0 < len(block) <= self._limit]

    def end(self) -> bytes:
        """The block that the end of the stream cut. The standard drops it; its data may be whole all the same."""
        return b"".join(self._take())

    def _take(self) -> list[bytes]:
        block = b"".join(self._held)
        dropped, self._dropping = self._dropping or len(block) > self._limit, False
        self._held.clear()
        self._held_bytes = 0
        if not self._started:
            self._started = True
            block = block.removeprefix(BOM)
        return [] if dropped else [block]

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


def blocks_with(stream: bytes, signs: Sequence[Sign]) -> Iterator[bytes]:
    """The blocks of a stream in memory, none of whose lines ends with CR, that have the first sign that any of it has.

    A tenth of the time that it takes to split it where few have one; for a sign is sought through all of the stream.
    """
    for sign in signs:
        if (place := sign(stream, 0)) >= 0:
            break
    else:
        return
    while place >= 0:
        start = stream.rfind(b"\n\n", 0, place)
        end = stream.find(b"\n\n", place)
        if end < 0:
            end = len(stream)
        yield stream[start + 2 : end] if start >= 0 else stream[:end].removeprefix(BOM)
        place = sign(stream, end)


def parse_event(block: bytes) -> Event | None:
    """The event in a block, None where it has no data."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return Event("message", block[6:])
    name = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return Event(name or "message", b"\n".join(data)) if data else None
