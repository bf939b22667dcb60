"""Good requests with some of their bytes turned into others, and what was said before said again in another order."""

from collections.abc import Callable
from random import Random

from bench.abuse.cases import ACCOUNT, CHAT, COMPAT, GATEWAY, QUERY, STEP, Aim, Case, Family, encoded, family, request
from bench.abuse.sockets import create, handshake

LAWFUL = (
    "200 204 400 401 403 404 405 409 415 422 429 500 400:2001 400:2002 400:2004 400:2005 400:2008 400:2019 400:2040"
    " 401:2009 404:2004 404:2031 405:2004 408:2004 413:2004 431:2004 501:2004 505:2004 m400:7001 m400:7003 m401:10000"
    " m403:10000 m404:7002 m404:7003 m405:7003 m400:2004 200-cut end reset cut"
)
"""Nobody knows what a request asks for that was altered at random: anything but a 5xx of ours, silence, or a leak."""


def mutated(rng: Random, data: bytes) -> bytes:
    """A few bytes altered, taken out, put in, or said twice."""
    altered = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(altered))
        way = rng.randrange(5)
        if way == 0:
            altered[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            altered[place] = rng.randrange(256)
        elif way == 2:
            del altered[place : place + rng.randint(1, 4)]
        elif way == 3:
            altered[place:place] = rng.choice((b"\r\n", b"\0", b"\n", b" ", b"%", b'"', b"{", b":", b"\xff", b"0"))
        else:
            altered[place:place] = altered[place : place + rng.randint(1, 40)]
        if not altered:
            break
    return bytes(altered)


def whole_request(rng: Random, aim: Aim) -> bytes:
    return rng.choice(
        (
            request(CHAT, encoded(QUERY), aim=aim),
            request(GATEWAY, encoded([STEP, STEP]), aim=aim),
            request(COMPAT, encoded({**QUERY, "model": "openai/gpt-4o"}), aim=aim),
            request(f"{ACCOUNT}/gateways/default/logs?per_page=1", aim=aim),
            request(f"{ACCOUNT}/gateways", aim=aim),
        )
    )


def requests(rng: Random, aim: Aim) -> Case:
    return Case((mutated(rng, whole_request(rng, aim)),), least=0, most=1)


def cut_up(rng: Random, aim: Aim) -> Case:
    """Right to the byte, and sent in pieces: no answer may depend on where they end."""
    whole = request(CHAT, encoded(QUERY), aim=aim)
    places = sorted(rng.sample(range(1, len(whole)), rng.randint(1, 6)))
    pieces = [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]
    return Case(tuple(pieces), "200", pause_s=0.001)


def bodies(target: str, body: bytes) -> Callable[[Random, Aim], Case]:
    """The length is right, the body is not."""

    def make(rng: Random, aim: Aim) -> Case:
        return Case((request(target, mutated(rng, body), aim=aim),))

    return make


def handshakes(rng: Random, aim: Aim) -> Case:
    return Case((mutated(rng, handshake(aim)),), f"101 {LAWFUL}", least=0, most=1)


def frames(rng: Random, aim: Aim) -> Case:
    data = mutated(rng, create()[:-1] + b"}")
    words = "101 close1000 close1002 close1005 close1007 close1009 pong error2004 created end reset cut"
    refused = "created400:2005 created400:2019 created400:2008 created400:2004 created400 created404"
    return Case((handshake(aim), data), f"{words} {refused}", least=1, most=2, upgrades=True)


FAMILIES: tuple[Family, ...] = (
    family("altered requests", requests, LAWFUL, 2.0, slow=True),
    family("requests in pieces", cut_up, ""),
    family("altered steps", bodies(GATEWAY, encoded([STEP, STEP])), LAWFUL, 2.0),
    family("altered unified calls", bodies(COMPAT, encoded({**QUERY, "model": "openai/gpt-4o"})), LAWFUL),
    family("altered native calls", bodies(CHAT, encoded(QUERY)), LAWFUL),
    family("altered handshakes", handshakes, "", 0.5, slow=True),
    family("altered frames", frames, "", 0.5, slow=True),
)
