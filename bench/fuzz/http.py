"""The HTTP/1.1 codec, both sides: it never raises, reads the same however the bytes come, and holds within bounds."""

from typing import Final

from bench.fuzz.cuts import Broken, bounded, given, joined, same
from sluice.wire.events import END, ReplyEvent, ReplyHead, RequestEvent, RequestHead
from sluice.wire.http1 import ReplyReader, RequestReader

ROOMY: Final = 1 << 20
"""A limit that no input reaches: what is too large may be told earlier or later as the pieces come."""
NARROW: Final = 64
MOST_HEADERS: Final = 20
SLACK: Final = 256
"""What a head read in pieces may have beyond the limit (wire/http1.py)."""


def requests(raw: bytes) -> None:
    """What a client sends."""
    bits, data, pieces = given(raw)
    if bits & 1:
        return _narrow_requests(pieces)
    whole, split = RequestReader(ROOMY, MOST_HEADERS), RequestReader(ROOMY, MOST_HEADERS)
    events = joined(whole.feed(data))
    same("requests", events, joined([event for piece in pieces for event in split.feed(piece)]))
    same("faults", type(whole.fault), type(split.fault))
    same("what follows an upgrade", whole.rest, split.rest)
    _check_requests(events)


def _check_requests(events: list[RequestEvent]) -> None:
    """A message is a head, its body, its end; of a body no more than was said."""
    length: int | None = 0
    within = False
    for event in events:
        if isinstance(event, RequestHead):
            if within:
                raise Broken("a head within a message")
            within, length = True, event.length
        elif not within:
            raise Broken("a body or an end without a head")
        elif event is END:
            if length:
                raise Broken(f"{length} bytes are missing at the end")
            within = False
        elif isinstance(event, bytes) and length is not None:
            length -= len(event)
            if length < 0:
                raise Broken("a body longer than was said")


def _narrow_requests(pieces: list[bytes]) -> None:
    reader = RequestReader(NARROW, MOST_HEADERS)
    for piece in pieces:
        reader.feed(piece)
        if reader.fault is None:
            held = len(reader.target) + sum(len(name) + len(value) for _, name, value in reader._headers)
            bounded("a head", held, NARROW + SLACK + len(piece))
            bounded("what follows an upgrade", len(reader.rest or b""), NARROW + len(piece))


def replies(raw: bytes) -> None:
    """What a provider sends, and then hangs up, properly or not."""
    bits, data, pieces = given(raw)
    if bits & 1:
        return _narrow_replies(pieces)
    whole, split = _expecting(bits, ROOMY), _expecting(bits, ROOMY)
    events, others = whole.feed(data), [event for piece in pieces for event in split.feed(piece)]
    same("reusable", whole.reusable, split.reusable)
    for reader, said in ((whole, events), (split, others)):
        if bits & 8:
            reader.cut()
        else:
            said += reader.finish()
    same("replies", joined(events), joined(others))
    same("faults", type(whole.fault), type(split.fault))
    same("what follows a switch", whole.rest, split.rest)
    _check_replies(joined(events), whole)


def _expecting(bits: int, limit: int) -> ReplyReader:
    reader = ReplyReader(limit)
    reader.expect(b"HEAD" if bits & 2 else b"GET", switches=bool(bits & 4))
    return reader


def _check_replies(events: list[ReplyEvent], reader: ReplyReader) -> None:
    """One head, its body, its end: either that or a fault."""
    heads = [event for event in events if isinstance(event, ReplyHead)]
    if len(heads) > 1 or (events and not isinstance(events[0], ReplyHead)) or END in events[:-1]:
        raise Broken(f"out of order: {events!r:.500}")
    if (reader.fault is None) != reader.ended or (END in events) != reader.ended:
        raise Broken(f"neither ended nor at fault: {reader.fault!r} {reader.ended}")
    length = heads[0].length if heads else None
    body = sum(len(event) for event in events if isinstance(event, bytes))
    if reader.ended and length is not None and body not in (0, length):
        raise Broken(f"a body of {body} bytes of which {length} were said")


def _narrow_replies(pieces: list[bytes]) -> None:
    reader = _expecting(0, NARROW)
    for piece in pieces:
        reader.feed(piece)
        if reader.fault is None:
            held = len(reader._reason) + sum(len(name) + len(value) for _, name, value in reader._headers)
            bounded("a head", held, NARROW + SLACK + len(piece))
