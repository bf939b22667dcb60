"""Bodies whose length may be read in two ways, or in none; bodies that are too long, too slow, or never come."""

from random import Random

from bench.abuse.cases import (
    ACCOUNT,
    BODY,
    CHAT,
    COMPAT,
    GATEWAY,
    Aim,
    Case,
    Family,
    family,
    raw,
    refused,
    request,
    word,
)

BODY_BYTES = 1_000_000
"""What the gateway under attack takes (house.py)."""
TARGETS = (CHAT, GATEWAY, COMPAT)
ANYWHERE = (*TARGETS, "/healthz", f"{ACCOUNT}/gateways")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
"""Behind a body of doubtful length: never may it be answered."""


def lengths(rng: Random, aim: Aim) -> Case:
    size = str(len(BODY))
    bad = ("-1", f"+{size}", f"0x{len(BODY):x}", f"{size},{size}", f"{size} {size}", "1_0", "", "٣", f"{size}.0", "1e3")
    value = rng.choice((*bad, "18446744073709551616", "9" * rng.randint(20, 3_000), word(rng, 1, 5, "abcxyz")))
    return refused(raw(rng.choice(ANYWHERE), f"Content-Length: {value}\r\n".encode(), BODY + SMUGGLED, aim=aim))


def two_lengths(rng: Random, aim: Aim) -> Case:
    first, second = rng.choice(((len(BODY), len(BODY)), (0, len(BODY)), (len(BODY), rng.randint(1, 999))))
    between = rng.choice(("", "X: y\r\n"))
    lines = f"Content-Length: {first}\r\n{between}content-length: {second}\r\n"
    return refused(raw(rng.choice(ANYWHERE), lines.encode(), BODY + SMUGGLED, aim=aim))


def length_and_chunks(rng: Random, aim: Aim) -> Case:
    lines = [f"Content-Length: {rng.choice((0, 3, len(BODY)))}\r\n".encode(), CHUNKED]
    rng.shuffle(lines)
    body = rng.choice((b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n")) + SMUGGLED
    return refused(raw(rng.choice(ANYWHERE), b"".join(lines), body, aim=aim))


def codings(rng: Random, aim: Aim) -> Case:
    other = ("gzip", "gzip, chunked", "chunked, gzip", "identity", "xchunked", '"chunked"', "chunked\t", "chunked;a=b")
    value = rng.choice((*other, "\x0bchunked", "chunked, chunked", "", word(rng), "chunked\xa0", ",chunked"))
    lines = f"Transfer-Encoding: {value}\r\n" * rng.choice((1, 1, 1, 2))
    return refused(raw(rng.choice(ANYWHERE), lines.encode("latin-1"), b"0\r\n\r\n" + SMUGGLED, aim=aim))


def chunk_sizes(rng: Random, aim: Aim) -> Case:
    bad = rng.choice(
        (
            "",
            "g",
            "-1",
            "0x3",
            " 3",
            "3 ",
            "0_3",
            "3\t",
            "10000000000000000",
            "f" * 40,
            "3\n",
            "3\r",
            ";a",
            "+3",
            "3;\0",
        )
    )
    good = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n" if rng.random() < 0.5 else b""
    return refused(raw(rng.choice(TARGETS), CHUNKED, good + bad.encode() + b"\r\nabc\r\n0\r\n\r\n" + SMUGGLED, aim=aim))


def chunk_ends(rng: Random, aim: Aim) -> Case:
    """More, less or other than its size said."""
    bad = rng.choice((b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nab\r\n0\r\n\r\n"))
    ends = rng.choice((bad, b"3\r\nabc\r\n0\n\r\n", b"3\r\nabc\r\n0\r\n\n", b"3\r\nabc\r\r0\r\n\r\n"))
    return refused(raw(rng.choice(TARGETS), CHUNKED, ends + SMUGGLED, aim=aim))


def chunk_extensions(rng: Random, aim: Aim) -> Case:
    """What nobody uses is read over, as long as it is short."""
    if rng.random() < 0.5:
        said = ";".join(f"{word(rng)}={word(rng)}" for _ in range(rng.randint(1, 20)))
        whole = f"{len(BODY):x};{said}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
        return Case((raw(CHAT, CHUNKED, whole, aim=aim),), "200")
    endless = b"1;" + b"a=b;" * rng.randint(22_000, 50_000)
    return refused(raw(rng.choice(TARGETS), CHUNKED, endless, aim=aim), "431:2004 end")


def trailers(rng: Random, aim: Aim) -> Case:
    body = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n"
    part = rng.randrange(3)
    if part == 0:
        lines = "".join(f"x-{word(rng)}: {word(rng)}\r\n" for _ in range(rng.randint(1, 20)))
        return Case((raw(CHAT, CHUNKED, body + lines.encode() + b"\r\n", aim=aim),), "200")
    if part == 1:
        bad = rng.choice(
            (b"Content-Length: 5\r\n", CHUNKED, b"T: v\r\n w\r\n", b"T : v\r\n", b"T: \0\r\n", b"no colon\r\n")
        )
        return refused(raw(rng.choice(TARGETS), CHUNKED, body + bad + b"\r\n" + SMUGGLED, aim=aim), "400:2004 end")
    return refused(raw(CHAT, CHUNKED, body + b"x: y\r\n" * 20_000, aim=aim), "431:2004 end")


def tiny_chunks(rng: Random, aim: Aim) -> Case:
    whole = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    return Case((raw(CHAT, CHUNKED, whole, aim=aim),))


def too_long(rng: Random, aim: Aim) -> Case:
    said = rng.randint(BODY_BYTES + 1, 10**12)
    return refused(raw(rng.choice(TARGETS), b"Content-Length: %d\r\n" % said, b"x" * rng.randint(0, 5_000), aim=aim))


def too_many_chunks(rng: Random, aim: Aim) -> Case:
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    return refused(raw(rng.choice(TARGETS), CHUNKED, piece * (BODY_BYTES // 0x8000 + rng.randint(1, 9)), aim=aim))


def dribbled(rng: Random, aim: Aim) -> Case:
    """Byte by byte, and then no more; or all of it, which is slow and right."""
    whole = request(rng.choice(TARGETS), BODY, aim=aim)
    start = len(whole) - len(BODY)
    bites = tuple(whole[at : at + 1] for at in range(start, len(whole)))
    if rng.random() < 0.3:
        return Case((request(CHAT, BODY, aim=aim)[: -len(BODY)], *bites), "200", pause_s=0.005)
    return refused_slowly((whole[:start], *bites[: rng.randint(1, 40)]))


def refused_slowly(pieces: tuple[bytes, ...]) -> Case:
    return Case(pieces, until_end=True, pause_s=0.02)


def unsent(rng: Random, aim: Aim) -> Case:
    """A length, or leave to send it, and then silence."""
    lines = f"Content-Length: {rng.randint(1, 9_999)}\r\n" + rng.choice(("", "Expect: 100-continue\r\n"))
    return refused_slowly((raw(rng.choice(TARGETS), lines.encode(), aim=aim),))


def cut(rng: Random, aim: Aim) -> Case:
    whole = request(rng.choice(ANYWHERE), BODY, aim=aim)
    return Case((whole[: -rng.randint(1, len(BODY))],), least=0, goes=rng.choice(("leaves", "resets")))


def left_alone(rng: Random, aim: Aim) -> Case:
    """A client that asks and leaves before the answer."""
    return Case((request(rng.choice(TARGETS), BODY, aim=aim),), least=0, goes=rng.choice(("leaves", "resets")))


def unread(rng: Random, aim: Aim) -> Case:
    """Slowloris the other way round: a reply of megabytes that is asked for and not read."""
    body = BODY.replace(b"gpt-4o-mini", b"gpt-4o-mini~huge-9")
    return Case((request(CHAT, body, aim=aim),), most=1, goes="reads late")


def surplus(rng: Random, aim: Aim) -> Case:
    """A body where there should be none, or behind a request that is the last."""
    if rng.random() < 0.5:
        return Case((request("/healthz", b"x" * rng.randint(1, 5_000), method="GET"),), "200")
    last = request("/healthz", fields=[("Connection", "close")])
    return Case((last + SMUGGLED * rng.randint(1, 9),), "200 end", until_end=True)


FAMILIES: tuple[Family, ...] = (
    family("lengths", lengths, "400:2004 413:2004 end"),
    family("two lengths", two_lengths, "400:2004 end"),
    family("length and chunks", length_and_chunks, "400:2004 end"),
    family("transfer codings", codings, "400:2004 501:2004 end"),
    family("chunk sizes", chunk_sizes, "400:2004 end"),
    family("chunk ends", chunk_ends, "400:2004 end"),
    family("chunk extensions", chunk_extensions, ""),
    family("trailers", trailers, ""),
    family("tiny chunks", tiny_chunks, "200"),
    family("body too long", too_long, "413:2004 end"),
    family("body of too many chunks", too_many_chunks, "413:2004 end", 0.2),
    family("body dribbled", dribbled, "408:2004 end", 0.2, slow=True),
    family("body unsent", unsent, "408:2004 end", 0.2, slow=True),
    family("body cut", cut, ""),
    family("client that leaves", left_alone, ""),
    family("reply unread", unread, "200 200-cut reset cut", 0.02, slow=True),
    family("surplus", surplus, ""),
)
