"""WebSockets: handshakes that are none, frames that break RFC 6455, messages that ask for nothing."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

from bench.abuse.bodies import SCALARS, nested
from bench.abuse.cases import GATEWAY, QUERY, STEP, Aim, Case, Family, asked, encoded, family, request, word

REALTIME = f"{GATEWAY}/cartesia/tts/websocket"
"""A provider that says what it is told (docs/simulator.md)."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
MESSAGE_BYTES = 1_000_000
"""What the gateway under attack takes (house.py)."""
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def handshake(aim: Aim, target: str = GATEWAY, **fields: str | None) -> bytes:
    given = FIELDS | {name.replace("_", "-"): value for name, value in fields.items()}
    return request(target, fields=[(name, value) for name, value in given.items() if value is not None], aim=aim)


def frame(
    kind: int, data: bytes = b"", *, last: bool = True, reserved: int = 0, masked: bool = True, said: int | None = None
) -> bytes:
    """A frame as a client sends it, unless it is to be worse; `said` is another length than its own."""
    size = len(data) if said is None else said
    first, mask = kind | reserved << 4 | last << 7, masked << 7
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 65_536:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" * masked + data  # a mask of zeros leaves the bytes as they are


def create(step: Any = STEP, **fields: Any) -> bytes:
    return frame(TEXT, encoded({"type": "universal.create", "request": step, **fields}))


def broken(aim: Aim, target: str, frames: bytes, right: str = "") -> Case:
    """Frames for which the gateway must close."""
    right = f"101 end reset {right}" if right else ""
    return Case((handshake(aim, target), frames), right, least=2, most=2, until_end=True, upgrades=True)


def handshakes(rng: Random, aim: Aim) -> Case:
    """Without a key, with one that is none, of another version."""
    if rng.random() < 0.5:
        key = rng.choice((None, "", "x", KEY[:-1], KEY + KEY, "dGhl", word(rng)))
        return asked(handshake(aim, rng.choice((GATEWAY, REALTIME)), Sec_WebSocket_Key=key))
    version = rng.choice(("12", "8", "0", "x", "14", "13, 8"))
    return asked(handshake(aim, rng.choice((GATEWAY, REALTIME)), Sec_WebSocket_Version=version))


def handshake_methods(rng: Random, aim: Aim) -> Case:
    method = rng.choice(("POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
    target = rng.choice((GATEWAY, REALTIME, "/healthz", f"{GATEWAY}/nobody/x", "/v1/x/y"))
    return asked(request(target, fields=FIELDS.items(), method=method, aim=aim), "405:2004 200 400:2008 404:2004")


def handshake_tokens(rng: Random, aim: Aim) -> Case:
    offered = rng.choice(("x", "cf-aig-authorization.", f"cf-aig-authorization.{word(rng)}", ",", "a b", "x" * 9_000))
    fields = [*FIELDS.items(), ("Sec-WebSocket-Protocol", offered)]
    return asked(request(rng.choice((GATEWAY, REALTIME)), fields=fields))


def extensions(rng: Random, aim: Aim) -> Case:
    bad = (
        "permessage-deflate; client_max_window_bits=99",
        "x" * 3_000,
        ";",
        "permessage-deflate; a=b",
        ",,,",
        "a;b;c=",
    )
    return asked(handshake(aim, rng.choice((GATEWAY, REALTIME)), Sec_WebSocket_Extensions=rng.choice(bad)))


def bad_frames(target: str) -> Callable[[Random, Aim], Case]:
    def make(rng: Random, aim: Aim) -> Case:
        text = word(rng, 1, 100).encode()
        bad = rng.choice(
            (
                frame(TEXT, text, masked=False),
                frame(TEXT, text, reserved=rng.randint(1, 3)),
                frame(rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), text),
                frame(TEXT, text, said=2**63 + rng.randrange(2**62)),
                frame(CONTINUATION, text),
                frame(TEXT, text, last=False) + frame(TEXT, text),
            )
        )
        return broken(aim, target, bad)

    return make


def bad_controls(target: str) -> Callable[[Random, Aim], Case]:
    def make(rng: Random, aim: Aim) -> Case:
        kind = rng.choice((CLOSE, PING, PONG))
        bad = rng.choice((frame(kind, b"xy", last=False), frame(kind, b"x" * rng.randint(126, 70_000))))
        return broken(aim, target, bad)

    return make


def goodbyes(target: str) -> Callable[[Random, Aim], Case]:
    """Codes that may not be sent, half a code, a reason that is no text."""

    def make(rng: Random, aim: Aim) -> Case:
        code = rng.choice((0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2_999, 5_000, 65_535))
        bad = rng.choice((code.to_bytes(2, "big") + b"why", b"\x03", b"\x03\xe8\xff\xfe"))
        return broken(aim, target, frame(CLOSE, bad))

    return make


def huge_frames(target: str) -> Callable[[Random, Aim], Case]:
    def make(rng: Random, aim: Aim) -> Case:
        said = rng.randint(MESSAGE_BYTES + 1, 2**62)
        if rng.random() < 0.7 or target == REALTIME:
            return broken(aim, target, frame(rng.choice((TEXT, BINARY)), b"x" * rng.randint(0, 5_000), said=said))
        piece = frame(CONTINUATION, b"x" * 60_000, last=False)
        return broken(aim, target, frame(TEXT, b"x", last=False) + piece * 18)

    return make


def no_text(target: str) -> Callable[[Random, Aim], Case]:
    def make(rng: Random, aim: Aim) -> Case:
        bad = rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"))
        text = word(rng).encode() + bad + b"x"
        return broken(aim, target, rng.choice((frame(TEXT, text), frame(TEXT, b"x", last=False) + frame(0, text))))

    return make


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """A message of several times what is taken, in few bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (packer.compress(b"[" * 4 * MESSAGE_BYTES) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def packed(rng: Random, aim: Aim) -> Case:
    """Compressed messages: bombs, and what cannot be unpacked."""
    bad = rng.choice((bomb(), b"\xff" * rng.randint(1, 99)))
    opening = handshake(aim, Sec_WebSocket_Extensions="permessage-deflate")
    return replace(broken(aim, GATEWAY, frame(TEXT, bad, reserved=4)), sends=(opening, frame(TEXT, bad, reserved=4)))


def messages(rng: Random, aim: Aim) -> Case:
    """Text that is no request."""
    known = {"type": "universal.create", "request": STEP}
    bad = (
        b"",
        b"{",
        nested(rng),
        encoded({"type": rng.choice(SCALARS)}),
        encoded({"type": f"universal.{word(rng)}"}),
        encoded({"type": "universal.create", "request": rng.choice((None, 1, "x", [], [1], {}))}),
        encoded({**known, "request": {**STEP, rng.choice(("provider", "endpoint", "config")): [1]}}),
        encoded({"type": "universal.cancel", "eventId": word(rng)}),
        encoded({"type": "universal.cancel", "eventId": rng.choice([1, {}, []])}),
        json.dumps(known).replace(":", "=").encode(),
    )
    several = [frame(rng.choice((TEXT, BINARY)), rng.choice(bad)) for _ in range(rng.randint(1, 5))]
    return Case((handshake(aim), b"".join(several)), least=1 + len(several), most=1 + len(several), upgrades=True)


def requests_refused(rng: Random, aim: Aim) -> Case:
    """Requests that are answered by an error, as they would be over HTTP."""
    step = rng.choice(
        (
            {**STEP, "provider": "compat", "query": {**QUERY, "model": rng.choice(("", "x", "nobody/x"))}},
            {**STEP, "query": {**QUERY, "model": "gpt-4o~status-500"}},
            {**STEP, "query": {**QUERY, "model": "gpt-4o~drop"}},
            {**STEP, "query": {**QUERY, "model": "gpt-4o~bad-head"}},
            {**STEP, "provider": "compat", "endpoint": word(rng)},
        )
    )
    return Case((handshake(aim), create(step)), least=2, most=2, upgrades=True)


def flood_of_pings(rng: Random, aim: Aim) -> Case:
    count = rng.randint(100, 2_000)
    pings = b"".join(frame(PING, word(rng, 0, 60).encode()) for _ in range(count))
    return Case((handshake(aim), pings), least=1 + count, most=1 + count, upgrades=True)


def flood_of_messages(rng: Random, aim: Aim) -> Case:
    count = rng.randint(50, 500)
    return Case((handshake(aim), frame(TEXT, b"{}") * count), least=1 + count, most=1 + count, upgrades=True)


def flood_of_fragments(rng: Random, aim: Aim) -> Case:
    """A message in pieces of nothing."""
    pieces = frame(TEXT, b"", last=False) + frame(CONTINUATION, b"", last=False) * rng.randint(100, 5_000)
    return Case((handshake(aim), pieces + frame(CONTINUATION, b"{}")), least=2, most=2, upgrades=True)


def abandoned(target: str) -> Callable[[Random, Aim], Case]:
    """A client that is gone: in the midst of a frame, or of what it asked for."""

    def make(rng: Random, aim: Aim) -> Case:
        whole = create() if target == GATEWAY else frame(TEXT, b"hello")
        data = whole[: rng.randint(0, len(whole))]
        return Case((handshake(aim, target), data), least=0, goes=rng.choice(("leaves", "resets")))

    return make


def half_open(target: str) -> Callable[[Random, Aim], Case]:
    """A client that is there and says nothing more, be it in the midst of a frame."""

    def make(rng: Random, aim: Aim) -> Case:
        data = frame(TEXT, b"hello")[: rng.randint(0, 8)]
        return Case((handshake(aim, target), data), least=2, most=2, until_end=True, upgrades=True)

    return make


def unread(rng: Random, aim: Aim) -> Case:
    """Asks for megabytes, or pings without end, and reads none of it."""
    if rng.random() < 0.5:
        huge = {**STEP, "query": {**QUERY, "model": "gpt-4o~huge-9", "stream": rng.random() < 0.5}}
        return Case((handshake(aim), create(huge) * 2), most=10**6, goes="reads late", upgrades=True)
    pings = [frame(PING, b"x" * 125) * 500] * 120
    return Case((handshake(aim), *pings), most=10**6, goes="reads late", upgrades=True)


def unread_realtime(rng: Random, aim: Aim) -> Case:
    """What the provider says again and again is not read."""
    said = frame(TEXT, b"x" * 60_000)
    return Case((handshake(aim, REALTIME), *[said] * 250), most=10**6, goes="reads late", upgrades=True)


def failing(rng: Random, aim: Aim) -> Case:
    """The provider's side of a realtime connection fails (docs/simulator.md)."""
    faults = (
        "status=403",
        "drop",
        "bad-head",
        "cut=1",
        "reset=1",
        "half-close=1",
        "malformed=1",
        "goodbye=4000",
        "drip=1",
    )
    fields = {"x_sluice_fault": rng.choice(faults)}
    case = broken(aim, REALTIME, frame(TEXT, b"hello") * 3)
    return replace(case, sends=(handshake(aim, REALTIME, **fields), *case.sends[1:]), least=1, most=10**6)


def eager(rng: Random, aim: Aim) -> Case:
    """Does not wait for the 101: what it sends too early counts, as far as it is not too much."""
    return Case((handshake(aim) + frame(TEXT, b"{}") * 3,), least=4, most=4)


def too_eager(rng: Random, aim: Aim) -> Case:
    data = frame(BINARY, b"x" * rng.randint(70_000, 200_000))
    return Case((handshake(aim) + data,), least=1, most=2)


BROKEN = "101 close1002 close1009 end reset"
FAMILIES: tuple[Family, ...] = (
    family("WebSocket: handshakes", handshakes, "400:2004"),
    family("WebSocket: methods", handshake_methods, ""),
    family("WebSocket: tokens", handshake_tokens, "401:2009"),
    family("WebSocket: extensions", extensions, "101 400:2004"),
    family("WebSocket: frames", bad_frames(GATEWAY), BROKEN),
    family("WebSocket: control frames", bad_controls(GATEWAY), BROKEN),
    family("WebSocket: goodbyes", goodbyes(GATEWAY), f"{BROKEN} close1007"),
    family("WebSocket: frames too long", huge_frames(GATEWAY), "101 close1009 end reset", 0.5),
    family("WebSocket: no UTF-8", no_text(GATEWAY), "101 close1007 end reset"),
    family("WebSocket: compressed", packed, "101 close1009 close1002 close1007 end reset", 0.2),
    family("WebSocket: messages", messages, "101 error2004 created400:2004"),
    family(
        "WebSocket: requests",
        requests_refused,
        "101 created400:2005 created400:2019 created400:2008 created500 error2004 created400:2004",
    ),
    family("WebSocket: flood of pings", flood_of_pings, "101 pong", 0.05),
    family("WebSocket: flood of messages", flood_of_messages, "101 error2004", 0.05),
    family("WebSocket: flood of fragments", flood_of_fragments, "101 error2004", 0.1),
    family("WebSocket: abandoned", abandoned(GATEWAY), ""),
    family("WebSocket: silence", half_open(GATEWAY), "101 close1000 end reset", 0.1, slow=True),
    family("WebSocket: words before the 101", eager, "101 error2004", 0.5),
    family("WebSocket: too many of them", too_eager, "101 400:2004 error2004 error2009", 0.1),
    family("WebSocket: unread", unread, "101 pong created stream done close1000 end reset cut", 0.02, slow=True),
    family("realtime: unread", unread_realtime, "101 text close1001 close1014 end reset cut", 0.02, slow=True),
    family(
        "realtime: failing providers",
        failing,
        "101 text 403 400:2005 close1014 close1001 close4000 end reset",
        0.3,
        slow=True,
    ),
    family("realtime: frames", bad_frames(REALTIME), BROKEN),
    family("realtime: control frames", bad_controls(REALTIME), BROKEN, 0.5),
    family("realtime: goodbyes", goodbyes(REALTIME), f"{BROKEN} close1007", 0.5),
    family("realtime: frames too long", huge_frames(REALTIME), "101 close1009 end reset", 0.5),
    family("realtime: no UTF-8", no_text(REALTIME), "101 close1007 end reset text", 0.5),
    family("realtime: abandoned", abandoned(REALTIME), "", 0.5),
    family("realtime: silence", half_open(REALTIME), "101 close1001 end reset", 0.05, slow=True),
)
