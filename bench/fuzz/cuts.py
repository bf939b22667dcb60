"""What all targets share: how an input is cut in pieces, and how it is said that a promise was broken."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

Event = TypeVar("Event")
CONTROL: Final = 3
"""Bytes before the input proper: options of the target, where to cut once, how long the pieces are."""


class Broken(AssertionError):
    """A codec does not keep what it promises."""


class Given(NamedTuple):
    """An input: bits that choose among a target's ways, the bytes, and the same bytes in pieces."""

    bits: int
    data: bytes
    pieces: list[bytes]


def given(raw: bytes) -> Given:
    """Reads the control bytes; an input without them is none at all."""
    bits, at, size = raw[:CONTROL].ljust(CONTROL, b"\0")
    data = raw[CONTROL:]
    return Given(bits, data, list(_pieces(data, at * len(data) // 255, size)))


def _pieces(data: bytes, at: int, size: int) -> Iterator[bytes]:
    """Two pieces, or many of one size; a size of nothing is the former."""
    if size:
        yield from (data[start : start + size] for start in range(0, len(data), size))
    else:
        yield from (piece for piece in (data[:at], data[at:]) if piece)


def same(what: str, whole: object, split: object) -> None:
    """Raises Broken where splitting made a difference."""
    if whole != split:
        raise Broken(f"{what} differ:\nwhole {whole!r:.2000}\nsplit {split!r:.2000}")


def bounded(what: str, size: int, most: int) -> None:
    if size > most:
        raise Broken(f"{what}: {size} held, and {most} allowed")


def joined(events: Sequence[Event]) -> list[Event | bytes]:
    """The events with adjacent pieces of a body put together: where they were cut is nobody's promise."""
    found: list[Event | bytes] = []
    for event in events:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found
