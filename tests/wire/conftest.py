"""What the tests of the codec share: a stream, cut into pieces, through a reader."""

import gc
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest

from sluice.values.errors import GatewayError
from sluice.wire.events import EndOfMessage, ReplyHead, RequestHead
from sluice.wire.http1 import ReplyReader, RequestReader

Event = RequestHead | ReplyHead | bytes | EndOfMessage


class Reading(NamedTuple):
    """All that came of a stream, adjacent body pieces joined."""

    events: list[Event]
    fault: type[GatewayError] | None
    rest: bytes | None = None


class Replies(NamedTuple):
    """All that came of the replies on one connection, and whether it may carry more."""

    events: list[Event]
    faulty: bool
    reusable: bool


def joined(events: Iterable[Event]) -> list[Event]:
    whole: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and whole and isinstance(whole[-1], bytes):
            whole[-1] += event
        else:
            whole.append(event)
    return whole


@pytest.fixture(scope="session")
def read_requests() -> Callable[..., Reading]:
    """Feeds pieces to a new reader."""

    def read(pieces: Iterable[bytes], head_bytes: int = 65536, most_headers: int = 100) -> Reading:
        reader = RequestReader(head_bytes, most_headers)
        events: list[Event] = []
        for piece in pieces:
            events += reader.feed(piece)
        return Reading(joined(events), type(reader.fault) if reader.fault else None, reader.rest)

    return read


@pytest.fixture(scope="session")
def read_replies() -> Callable[..., Replies]:
    """Feeds the pieces of each reply in turn to one reader; `closed` ends the connection after the last."""

    def read(replies: Iterable[tuple[bytes, Iterable[bytes]]], closed: bool = True, head_bytes: int = 65536) -> Replies:
        reader = ReplyReader(head_bytes)
        events: list[Event] = []
        for method, pieces in replies:
            reader.expect(method)
            for piece in pieces:
                events += reader.feed(piece)
        reusable = reader.reusable
        if closed:
            events += reader.finish()
        return Replies(joined(events), reader.fault is not None, reusable)

    return read


@pytest.fixture(scope="session")
def cut() -> Callable[[bytes, Iterable[int]], list[bytes]]:
    """A stream in pieces, cut at these places, each taken modulo its length."""

    def at(stream: bytes, places: Iterable[int]) -> list[bytes]:
        edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
        return [stream[start:end] for start, end in pairwise(edges)]

    return at


@pytest.fixture
def kept_bytes() -> Callable[[Callable[[], object]], int]:
    """What a call leaves behind in memory."""

    def measured(call: Callable[[], object]) -> int:
        gc.collect()
        tracemalloc.start()
        call()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept

    return measured
