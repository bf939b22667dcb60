"""From a vendor's script to the bytes, pauses and the ending that a connection is to perform, faults included. Pure."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, NamedTuple

from sluice.simulator.faults import Faults
from sluice.simulator.script import Part, Script
from sluice.wire.lines import LAST_CHUNK, chunk, field, status_line

Ending = Literal["keep", "close", "reset", "half-close"]
Framing = Literal["length", "chunked", "close"]

STALL_MS: Final = 600_000
_BLOCK_BYTES: Final = 32
"""What counts as a part of a body that is no stream."""
_PAD: Final = Part(b" " * 65_536)
_GATHERED_BYTES: Final = 4 * 1024 * 1024
"""A body of unknown length is gathered to be sent with one, up to here."""


class Send(NamedTuple):
    data: bytes


class Wait(NamedTuple):
    ms: float


class Stop(NamedTuple):
    """The last act: what becomes of the connection, and whether the reply was whole."""

    how: Ending
    whole: bool


NOTHING: Final = Part(b"")

Act = Send | Wait | Stop


@dataclass(frozen=True, slots=True)
class Stage:
    """What the connection and the request's headers say about the way to answer."""

    first: bool = True
    """Whether this is the connection's first request."""
    keep_alive: bool = True
    http11: bool = True
    head_only: bool = False
    framing: Framing | None = None
    gzip: bool = False
    error_event: Part = NOTHING


@dataclass(frozen=True, slots=True)
class _Break:
    """Where a reply is broken off, and what happens there."""

    after: int
    acts: tuple[Act, ...]


def perform(script: Script, stage: Stage, faults: Faults) -> Iterator[Act]:
    """All the acts of one reply; the last is a Stop and there is no other."""
    acts = _acts(script, stage, faults)
    return acts if faults.drip is None else _drip(acts, faults.drip)


def _acts(script: Script, stage: Stage, faults: Faults) -> Iterator[Act]:
    if faults.slow_head:
        yield Wait(faults.slow_head)
    if faults.drop or (faults.drop_reused and not stage.first):
        yield Stop("close", False)
        return
    if faults.bad_head:
        yield Send(b"SIP/2.0 two hundred\r\n\r\n")
        yield Stop("close", False)
        return
    if faults.interim and stage.http11:
        yield Send(b"HTTP/1.1 103 Early Hints\r\nLink: </v1>; rel=preload\r\n\r\n")
    breaking = _breaking(faults)
    script = _encoded(_altered(script, stage, faults, breaking), stage)
    script, framing = _framed(script, stage, breaking)
    closing = framing == "close" or not stage.keep_alive
    yield Send(_head(script, stage, framing, faults, closing))
    bodiless = stage.head_only or script.status in (204, 304)
    if not bodiless:
        yield from _body(script, framing == "chunked", faults, breaking)
        if breaking is not None:
            yield from breaking.acts
            return
    if faults.linger:
        yield Wait(faults.linger)
    end = LAST_CHUNK if framing == "chunked" and not bodiless else b""
    if faults.surplus:
        end += b"HTTP/1.1 200 surplus\r\n"
    if end:
        yield Send(end)
    yield Stop("close" if closing or faults.close else "keep", True)


def _body(script: Script, chunked: bool, faults: Faults, breaking: _Break | None) -> Iterator[Act]:
    if faults.slow_first_token:
        yield Wait(faults.slow_first_token)
    for number, part in enumerate(script.parts):
        if breaking is not None and number >= breaking.after:
            return
        if faults.pace and script.stream:
            yield Wait(faults.pace)
        if part.data:
            yield Send(chunk(part.data) if chunked else part.data)


def _breaking(faults: Faults) -> _Break | None:
    """The earliest of the faults that break a reply off."""
    found: list[_Break] = []
    if faults.cut is not None:
        found.append(_Break(faults.cut, (Stop("close", False),)))
    if faults.reset is not None:
        found.append(_Break(faults.reset, (Stop("reset", False),)))
    if faults.half_close is not None:
        found.append(_Break(faults.half_close, (Stop("half-close", False),)))
    if faults.stall is not None:
        found.append(_Break(faults.stall, (Wait(STALL_MS), Stop("close", False))))
    if faults.malformed is not None:
        found.append(_Break(faults.malformed, (Send(b"a lot\r\nof it\r\n"), Stop("close", False))))
    return min(found, key=lambda one: one.after, default=None)


def _altered(script: Script, stage: Stage, faults: Faults, breaking: _Break | None) -> Script:
    """The script with the faults that change its parts."""
    parts, length = script.parts, script.length
    if script.stream and faults.error_event is not None:
        parts = _with_error(parts, faults.error_event, stage.error_event)
    if script.stream and faults.no_tail:
        parts = (part for part in parts if not part.tail)
    if faults.huge and length is not None and length < faults.huge << 20:
        blocks = faults.huge << 4
        parts = chain(parts, (_PAD for _ in range(blocks)))
        length += blocks * len(_PAD.data)
    if (breaking is not None or faults.garbled is not None) and not script.stream:
        parts = _blocks(parts)
    if faults.garbled is not None:
        parts = _garbled(parts, faults.garbled)
    return Script(script.status, script.headers, parts, length, script.stream)


def _with_error(parts: Iterable[Part], after: int, error: Part) -> Iterator[Part]:
    for number, part in enumerate(parts):
        if number >= after:
            break
        yield part
    yield error


def _garbled(parts: Iterable[Part], after: int) -> Iterator[Part]:
    """The parts, one of them with a control character in its last quarter, which no JSON may have anywhere."""
    for number, (data, tail) in enumerate(parts):
        place = len(data) * 3 // 4
        yield Part(data[:place] + b"\x01" + data[place + 1 :] if number == after else data, tail)


def _blocks(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        for start in range(0, len(part.data), _BLOCK_BYTES):
            yield Part(part.data[start : start + _BLOCK_BYTES])


def _encoded(script: Script, stage: Stage) -> Script:
    if not stage.gzip:
        return script
    headers = (*script.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
    return Script(script.status, headers, _gzipped(script.parts), None, script.stream)


def _gzipped(parts: Iterable[Part]) -> Iterator[Part]:
    """Each part flushed, so that it can be read when it arrives."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    for part in parts:
        yield Part(packer.compress(part.data) + packer.flush(zlib.Z_SYNC_FLUSH))
    yield Part(packer.flush())


def _framed(script: Script, stage: Stage, breaking: _Break | None) -> tuple[Script, Framing]:
    """The framing to use, and the script with its length known where the framing needs it."""
    if not stage.http11:
        return script, "length" if script.length is not None else "close"
    wanted = stage.framing or ("chunked" if script.length is None else "length")
    if breaking is not None and isinstance(breaking.acts[0], Send):
        wanted = "chunked"
    if wanted == "length" and script.length is None:
        return _gathered(script)
    return script, wanted


def _gathered(script: Script) -> tuple[Script, Framing]:
    parts: list[Part] = []
    length = 0
    rest = iter(script.parts)
    for part in rest:
        parts.append(part)
        length += len(part.data)
        if length > _GATHERED_BYTES:
            return Script(script.status, script.headers, chain(parts, rest), None, script.stream), "chunked"
    return Script(script.status, script.headers, parts, length, script.stream), "length"


def _head(script: Script, stage: Stage, framing: Framing, faults: Faults, closing: bool) -> bytes:
    lines = [status_line(script.status)]
    lines += [field(name.encode(), value.encode("latin-1", "replace")) for name, value in script.headers]
    if faults.retry_after is not None:
        lines.append(field(b"Retry-After", b"%d" % faults.retry_after))
    if faults.long_head:
        lines.append(field(b"X-Long", b"x" * (faults.long_head << 10)))
    if script.status not in (204, 304):
        if framing == "chunked":
            lines.append(field(b"Transfer-Encoding", b"chunked"))
        elif framing == "length":
            lines.append(field(b"Content-Length", b"%d" % (script.length or 0)))
    lines.append(field(b"Connection", b"close" if closing else b"keep-alive"))
    lines.append(b"\r\n")
    return b"".join(lines)


def _drip(acts: Iterator[Act], size: int) -> Iterator[Act]:
    for act in acts:
        if not isinstance(act, Send):
            yield act
            continue
        for start in range(0, len(act.data), size):
            yield Send(act.data[start : start + size])
            yield Wait(0)
