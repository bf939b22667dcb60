"""A vendor's answer before it becomes bytes: a head, and parts with the pauses before them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final, NamedTuple

import msgspec

from sluice.simulator.words import Json

DATE: Final = "Wed, 01 Jan 2025 00:00:00 GMT"
"""The simulator's clock stands still, so that the same request has the same reply to the byte."""


class Refused(Exception):
    """A vendor answers with an error: its status, and a message unless the vendor's usual words will do."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Part(NamedTuple):
    """A piece of a reply's body: an event of a stream, or any piece of another body."""

    data: bytes
    tail: bool = False
    """Whether this is the event that ends a stream for the vendor's clients."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a vendor answers. `length` is None where it is not known before the parts have been made.

    The parts are drawn one by one, each when it is about to be sent, so that a reply may be larger than memory.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    parts: Iterable[Part]
    length: int | None = None
    stream: bool = False
    """Whether the parts are events: paced, and counted by faults."""

    @property
    def events(self) -> bool:
        """Whether they are server-sent events, or AWS's messages."""
        types = [value.replace("-", "") for name, value in self.headers if name == "Content-Type"]
        return self.stream and any("eventstream" in one for one in types)


def to_json(value: Json) -> bytes:
    """JSON as a stream's events carry it: compact."""
    return msgspec.json.encode(value)


def json_script(value: Json, headers: Sequence[tuple[str, str]] = (), status: int = 200) -> Script:
    """A JSON reply, indented as vendors write it."""
    return bytes_script(msgspec.json.format(to_json(value), indent=2) + b"\n", "application/json", headers, status)


FILL: Final = "\ue000sluice\ue000"
"""Stands in a string of a reply for filler."""


def filled_script(value: Json, filler: str, blocks: int) -> Script:
    """A JSON reply in which so many blocks of filler stand for each FILL, made as they are sent."""
    if not blocks:
        return json_script(value)
    pieces = (msgspec.json.format(to_json(value), indent=2) + b"\n").split(FILL.encode())
    block = Part(filler.encode())
    parts = [chain((Part(piece),), repeat(block, blocks)) for piece in pieces[:-1]]
    length = sum(map(len, pieces)) + (len(pieces) - 1) * blocks * len(block.data)
    headers = (("Content-Type", "application/json"),)
    return Script(200, headers, chain(*parts, (Part(pieces[-1]),)), length)


def bytes_script(body: bytes, content_type: str, headers: Sequence[tuple[str, str]] = (), status: int = 200) -> Script:
    """A reply whose body is at hand."""
    return Script(status, (("Content-Type", content_type), *headers), (Part(body),), len(body))


def stream_script(parts: Iterable[Part], headers: Sequence[tuple[str, str]] = ()) -> Script:
    """A stream of events."""
    return Script(200, (("Content-Type", "text/event-stream; charset=utf-8"), *headers), parts, stream=True)


def event(value: Json, name: str | None = None) -> Part:
    """One server-sent event."""
    line = b"data: %b\n\n" % to_json(value)
    return Part(line if name is None else b"event: %b\n%b" % (name.encode(), line))


DONE = Part(b"data: [DONE]\n\n", tail=True)
"""The terminal event of OpenAI's streams."""
