"""What a client may ask the simulator to do wrong, or otherwise than by default.

Faults are suffixes of the model's name, each after a tilde: `gpt-4o~slow-head-2000~cut-3`. They may also be asked by
header, which needs no model: `x-sluice-fault: slow-head=2000, cut=3`. Several may be combined; one that is unknown or
out of range is answered with a 400 that says so. A count of parts counts the events of a stream, and blocks of 32 bytes
of any other body, and messages over a WebSocket, whose opening `status`, `slow-head`, `drop` and `bad-head` hit.

| Fault | Value | What the simulator does |
| --- | --- | --- |
| `status-N` | 200-999 | answers with status N and an error body in the vendor's shape |
| `retry-after-N` | seconds | adds `Retry-After: N`; the status is 429 unless `status` gives another |
| `error-200` | | answers 200 with an error body; in a stream with an error event |
| `slow-head-N` | ms | waits before the head |
| `slow-first-token-N` | ms | sends the head at once and waits before the first part |
| `drop` | | closes the connection with no byte of a reply |
| `drop-reused` | | the same, unless this is the first request on its connection |
| `bad-head` | | answers with bytes that are not HTTP |
| `long-head-N` | KB | adds a header field of N KB |
| `interim` | | sends a 103 before the head |
| `cut-N` | parts | closes the connection after N parts, before the end of the reply |
| `reset-N` | parts | the same by a TCP reset |
| `half-close-N` | parts | the same by closing its sending side alone |
| `stall-N` | parts | sends nothing after N parts, for ten minutes or until the client leaves |
| `malformed-N` | parts, 1 if not said | sends a chunk with a length that is no number after N parts, and closes |
| `garbled-N` | parts, 1 if not said | goes on after N parts with one that cannot be read: its JSON is damaged |
| `error-event-N` | parts | ends a stream with an error event after N parts |
| `no-tail` | | ends a stream without its terminal event (`data: [DONE]`, `message_stop`) |
| `linger-N` | ms | waits between the last part and the end of the reply |
| `surplus` | | sends bytes after the end of the reply |
| `close` | | closes the connection after a whole reply, without having announced it |
| `drip-N` | bytes | sends N bytes at a time, over a WebSocket in fragments of N bytes |
| `goodbye-N` | 1000-4999 | closes a WebSocket with code N instead of answering |
| `huge-N` | MB (`huge-60mb` too) | makes the text, or else the body, N MB long |
| `wrong-usage` | | reports token counts that are not true |
| `no-usage` | | reports none |
| `first-N` | requests | the faults hit the first N requests only that have the same target, model and marker |
| `pace-N` | ms | waits before each event of a stream |
| `words-N` | words | answers with N words |
| `cached-N` | tokens | reports N tokens of the prompt as cached |
| `cache-write-N` | tokens | reports N tokens of the prompt as written to the cache, where the vendor counts them |
| `reasoning-N` | tokens | reports N tokens of reasoning |
| `refusal` | | ends the answer for the vendor's reason of safety |

Other wishes are headers:

| Header | What the simulator does |
| --- | --- |
| `x-sluice-echo: 1` | answers with what it received (so does the model `echo`) |
| `x-sluice-framing: length`, `chunked` or `close` | frames the body so (unsaid: `length` where it is known) |
| `x-sluice-encoding: gzip` | compresses the body, if `Accept-Encoding` allows it |
| `x-sluice-marker: TEXT` | a name by which the journal finds the request |
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

_MS_MOST: Final = 3_600_000
_COUNT_MOST: Final = 1_000_000_000
_UNIT: Final = re.compile(r"(\d{1,12})(?:ms|mb|s)?")


class FaultError(ValueError):
    """A fault that the table does not know, or with a value out of its range."""


class Value(NamedTuple):
    """The range of a fault's value, and what it is where none is said (None: it must be)."""

    least: int
    most: int
    unsaid: int | None = None


_FLAG: Final = Value(1, 1, 1)
_MS: Final = Value(0, _MS_MOST)
_COUNT: Final = Value(0, _COUNT_MOST)

FAULTS: Final[dict[str, Value]] = {
    "status": Value(200, 999),
    "retry-after": Value(0, 86_400),
    "error-200": _FLAG,
    "slow-head": _MS,
    "slow-first-token": _MS,
    "drop": _FLAG,
    "drop-reused": _FLAG,
    "bad-head": _FLAG,
    "long-head": Value(1, 16_384),
    "interim": _FLAG,
    "cut": _COUNT,
    "reset": _COUNT,
    "half-close": _COUNT,
    "stall": _COUNT,
    "malformed": Value(0, _COUNT_MOST, 1),
    "garbled": Value(0, _COUNT_MOST, 1),
    "error-event": _COUNT,
    "no-tail": _FLAG,
    "linger": _MS,
    "surplus": _FLAG,
    "close": _FLAG,
    "drip": Value(1, _COUNT_MOST),
    "goodbye": Value(1000, 4999),
    "huge": Value(1, 4096),
    "wrong-usage": _FLAG,
    "no-usage": _FLAG,
    "first": Value(0, _COUNT_MOST),
    "pace": _MS,
    "words": Value(0, 100_000),
    "cached": _COUNT,
    "cache-write": _COUNT,
    "reasoning": _COUNT,
    "refusal": _FLAG,
}
_MANNERS: Final = frozenset({"pace", "words", "cached", "cache_write", "reasoning", "refusal"})
"""What is no fault, and so not ended by `first`."""


class Faults(msgspec.Struct, frozen=True):
    """What was asked, by the table's names with underscores; None where it was not."""

    status: int | None = None
    retry_after: int | None = None
    error_200: int | None = None
    slow_head: int | None = None
    slow_first_token: int | None = None
    drop: int | None = None
    drop_reused: int | None = None
    bad_head: int | None = None
    long_head: int | None = None
    interim: int | None = None
    cut: int | None = None
    reset: int | None = None
    half_close: int | None = None
    stall: int | None = None
    malformed: int | None = None
    garbled: int | None = None
    error_event: int | None = None
    no_tail: int | None = None
    linger: int | None = None
    surplus: int | None = None
    close: int | None = None
    drip: int | None = None
    goodbye: int | None = None
    huge: int | None = None
    wrong_usage: int | None = None
    no_usage: int | None = None
    first: int | None = None
    pace: int | None = None
    words: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    refusal: int | None = None


NONE: Final = Faults()


def base_model(model: str) -> str:
    """The model's name without its faults."""
    return model.partition("~")[0]


def parse_faults(model: str, header: str) -> Faults:
    """The faults that a model's name and a header ask for. Raises FaultError."""
    asked = dict(_suffixes(model)) | dict(_listed(header))
    return Faults(**asked) if asked else NONE


def without_faults(faults: Faults) -> Faults:
    """What is left once `first` has had its number of requests: the manners."""
    return Faults(**{name: getattr(faults, name) for name in _MANNERS})


def _suffixes(model: str) -> Iterator[tuple[str, int]]:
    for text in model.split("~")[1:]:
        if text in FAULTS:
            yield _fault(text, "")
        else:
            name, _, value = text.rpartition("-")
            yield _fault(name, value)


def _listed(header: str) -> Iterator[tuple[str, int]]:
    for text in header.split(","):
        if text.strip():
            name, _, value = text.partition("=")
            yield _fault(name.strip(), value.strip())


def _fault(name: str, value: str) -> tuple[str, int]:
    known = FAULTS.get(name)
    if known is None:
        raise FaultError(f"The simulator knows no fault '{name or value}'")
    number = known.unsaid
    if value:
        match = _UNIT.fullmatch(value.lower())
        number = int(match[1]) if match else None
    if number is None or not known.least <= number <= known.most:
        raise FaultError(f"The fault '{name}' takes a number from {known.least} to {known.most}")
    return name.replace("-", "_"), number
