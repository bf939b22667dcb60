"""Heads that are too long, too slow, malformed, or ask for what there is not."""

from random import Random

from bench.abuse.cases import (
    BODY,
    CHAT,
    COMPAT,
    GATEWAY,
    TARGETS,
    Aim,
    Case,
    Family,
    asked,
    family,
    raw,
    refused,
    request,
    word,
)

CONTROLS = [chr(number) for number in (*range(1, 9), 11, 12, *range(14, 32), 127)]
OPTIONS = (
    *("skip-cache", "cache-ttl", "max-attempts", "retry-delay", "backoff", "request-timeout", "metadata"),
    *("custom-cost", "collect-log", "collect-log-payload", "event-id", "no-wholesale", "unheard-of"),
)
BLANKS = " \t"
TOKEN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SMALL = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "PURGE", "MKCOL", "REPORT", "LINK", "TRACE")


def too_long(rng: Random, aim: Aim) -> Case:
    long = word(rng, 8, 8) * rng.randint(8_300, 30_000)
    target = rng.choice(TARGETS)
    part = rng.randrange(4)
    if part == 0:
        return refused(request(f"{target}?{long}", aim=aim))
    if part == 1:
        return refused(request(target, fields=[(long, "x")], aim=aim))
    if part == 2:
        return refused(request(target, fields=[("x-long", long)], aim=aim))
    size = rng.randint(500, 1_000)
    return refused(request(target, fields=[(f"x-{at}", long[:size]) for at in range(66_000 // size + 1)], aim=aim))


def flood_of_fields(rng: Random, aim: Aim) -> Case:
    names = [(f"x-{rng.randrange(40)}", word(rng, 0, 3)) for _ in range(rng.randint(201, 3_000))]
    return refused(request(rng.choice(TARGETS), fields=names, aim=aim))


def dribbled(rng: Random, aim: Aim) -> Case:
    """Slowloris: a byte, or a field, now and then, and no end."""
    start = request(rng.choice(TARGETS), aim=aim)[:-2]
    if rng.random() < 0.5:
        return Case(tuple(start[at : at + 1] for at in range(len(start))), until_end=True, pause_s=0.1)
    fields = tuple(f"x-{at}: {word(rng)}\r\n".encode() for at in range(100))
    return Case((start, *fields), until_end=True, pause_s=rng.uniform(0.05, 0.2))


def silent(rng: Random, aim: Aim) -> Case:
    """Half-open: a connection on which nothing is ever said, or no more after a reply."""
    if rng.random() < 0.5:
        return Case((), "end", least=0, most=0)
    return Case((request("/healthz"),), "200 end", until_end=True)


def abandoned(rng: Random, aim: Aim) -> Case:
    whole = request(rng.choice(TARGETS), BODY, aim=aim)
    cut = whole[: rng.randint(0, len(whole))]
    return Case((cut,), least=0, goes=rng.choice(("leaves", "resets")))


def half_closed(rng: Random, aim: Aim) -> Case:
    whole = request(rng.choice((CHAT, GATEWAY, COMPAT)), BODY, aim=aim)
    return Case((whole[: rng.randint(0, len(whole) - 1)],), least=0, most=0, goes="half-closes")


def flood_of_connections(rng: Random, aim: Aim) -> Case:
    start = request(CHAT, BODY, aim=aim)[: rng.randint(0, 60)]
    return Case((start,), least=0, goes=rng.choice(("leaves", "resets")), copies=rng.randint(20, 50))


def controls(rng: Random, aim: Aim) -> Case:
    bad = rng.choice(CONTROLS)
    target, name, value = rng.choice(TARGETS), "x-field", word(rng, 2, 20)
    part = rng.randrange(3)
    if part == 0:
        return refused(request(f"{target}{bad}{word(rng)}", aim=aim))
    if part == 1:
        return refused(request(target, fields=[(f"{name}{bad}{word(rng)}", value)], aim=aim))
    place = rng.randint(1, len(value) - 1)
    return refused(request(target, fields=[(name, value[:place] + bad + value[place:])], aim=aim))


def nothing_bytes(rng: Random, aim: Aim) -> Case:
    """NUL bytes: nowhere in a head may one stand."""
    whole = request(rng.choice(TARGETS), aim=aim)
    place = rng.randint(0, len(whole) - 5)
    return refused(whole[:place] + b"\0" + whole[place:])


def bare_ends(rng: Random, aim: Aim) -> Case:
    """A line that ends with LF or with CR alone."""
    lines = request(rng.choice(TARGETS), fields=[("x-a", word(rng))], aim=aim)[:-4].split(b"\r\n")
    which = rng.randrange(len(lines))
    ends = [rng.choice((b"\n", b"\r")) if at == which else b"\r\n" for at in range(len(lines))]
    rest = b"x-after: 1\r\n\r\n" if ends[-1] != b"\r\n" else b"\r\n"
    return refused(b"".join(line + end for line, end in zip(lines, ends, strict=True)) + rest)


def folded(rng: Random, aim: Aim) -> Case:
    name = rng.choice(("X-Field", "Content-Length", "Transfer-Encoding", "cf-aig-metadata", "Host"))
    line = f"{name}:{rng.choice(('', ' a'))}\r\n{rng.choice(BLANKS)}{word(rng)}\r\n"
    return refused(raw(rng.choice(TARGETS), line.encode(), aim=aim))


def spaced(rng: Random, aim: Aim) -> Case:
    name = rng.choice(("X-Field", "Content-Length", "Transfer-Encoding", "cf-aig-metadata"))
    line = rng.choice((f"{name}{rng.choice(BLANKS)}: 3\r\n", f" {name}: 3\r\n", ": 3\r\n", f"{name} 3\r\n"))
    return refused(raw(rng.choice(TARGETS), line.encode(), aim=aim))


def methods(rng: Random, aim: Aim) -> Case:
    """Ones that nobody knows, and known ones that the path has not."""
    if rng.random() < 0.5:
        unknown = word(rng, 1, 12, TOKEN_LETTERS) + "Q"
        return refused(request(rng.choice(TARGETS), method=rng.choice((unknown, unknown.lower(), "get", "G@T"))))
    target = rng.choice((GATEWAY, COMPAT))
    return asked(request(target, method=rng.choice(SMALL), aim=aim), "405:2004")


def versions(rng: Random, aim: Aim) -> Case:
    version = rng.choice(("2.0", "0.9", "1.2", "3.0", "9.9", "1.10", "1", "11", "x.y", "1.1 ", ""))
    start = f"GET {rng.choice(TARGETS)} HTTP/{version}\r\nHost: a\r\n\r\n"
    return refused(rng.choice((start, start, start.replace("HTTP", "HTP"), start.lower())).encode())


def targets(rng: Random, aim: Aim) -> Case:
    """What stands where a path should."""
    bad = rng.choice(("*", "healthz", "//", "http:/healthz", "ftp://a/healthz", f"/{word(rng)}#x", "?x", "gopher:x"))
    return Case((request(bad, aim=aim),), "400:2004 404:2004")


def targets_with_bytes(rng: Random, aim: Aim) -> Case:
    bad = "".join(chr(rng.randint(0x80, 0xFF)) for _ in range(rng.randint(1, 9)))
    return refused(request(f"{rng.choice(TARGETS)}{rng.choice('/?')}{bad}", aim=aim))


def hosts(rng: Random, aim: Aim) -> Case:
    host = rng.choice(("a b", "a/b", "u@h", "\xe9", '"a"', "<a>", "a\\b", "a?b", "a{b}"))
    lines = rng.choice(("", "Host: a\r\nHost: a\r\n", "Host: a\r\nhost: b\r\n", f"Host: {host}\r\n"))
    return refused(f"GET {rng.choice(TARGETS)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))


def unknown_paths(rng: Random, aim: Aim) -> Case:
    path = "/" + "/".join(word(rng, 0, 9, "abcxyz0189.-_~%") for _ in range(rng.randint(1, 6)))
    start = rng.choice(("", "", "/v1", "/v1/local", "/v2", "/metrics"))
    return asked(request(start + path, BODY, aim=aim), "404:2004 400:2001 400:2008 401:2009 m405:7003")


def unknown_gateways(rng: Random, aim: Aim) -> Case:
    strange = rng.choice(("..", "%2e%2e", "a%2Fb", "%00", "%ff%fe", "a" * 300, word(rng), "default%20", "%25"))
    path = rng.choice((f"/v1/{strange}/default", f"/v1/local/{strange}"))
    return asked(request(path + rng.choice(("", "/openai/v1/models", "/compat/chat/completions")), BODY, aim=aim))


def unknown_providers(rng: Random, aim: Aim) -> Case:
    provider = rng.choice(("..", "%2e%2e%2f", "open%61i2", "%00", "custom-", f"custom-{word(rng)}", word(rng) + "-x"))
    return asked(request(f"{GATEWAY}/{provider}/{word(rng)}", BODY, aim=aim))


def climbing(rng: Random, aim: Aim) -> Case:
    """Paths that would leave their provider's, or their own."""
    step = rng.choice(("..", "%2e%2e", ".%2e", "%2E.", "..%2f..", "..;", "%252e%252e"))
    path = "/".join(rng.choice((step, "v1", word(rng))) for _ in range(rng.randint(1, 6)))
    target = f"{GATEWAY}/openai/{step}/{path}"
    return asked(request(target, BODY, aim=aim), "400:2004 400 404 405 200")


def options(rng: Random, aim: Aim) -> Case:
    """Values that no option has are as if they were not there (docs/headers.md); none of them may be felt."""
    value = rng.choice(
        ("-1", "1e999", "NaN", "x" * 3000, "{", "[" * 2000, "true false", "9" * 400, "\xff\xfe", '{"a":')
    )
    names = rng.sample(
        OPTIONS,
        rng.randint(1, 4),
    )
    return asked(request(CHAT, BODY, [(f"cf-aig-{name}", value) for name in names], aim=aim))


def tokens(rng: Random, aim: Aim) -> Case:
    value = rng.choice(("", "Bearer", "Bearer  ", f"Bearer {word(rng, 1, 60)}", "sluice_" + word(rng, 40, 45), "\xff"))
    name = rng.choice(("cf-aig-authorization", "CF-AIG-TOKEN", "Authorization", "x-api-key", "api-key"))
    field = [(name, rng.choice((value, value * 50, aim.token[:-1], aim.token[::-1])))]
    return asked(request(rng.choice((CHAT, GATEWAY, COMPAT)), BODY, field))


def flood_of_requests(rng: Random, aim: Aim) -> Case:
    """Far more than one at a time: each is answered, in order."""
    count = rng.randint(20, 150)
    ones = [request(rng.choice(("/healthz", "/readyz", "/nowhere", "/v1/x"))) for _ in range(count)]
    return Case((b"".join(ones),), least=count, most=count)


def pipelined_garbage(rng: Random, aim: Aim) -> Case:
    good = request("/healthz") * rng.randint(1, 5)
    count = good.count(b"\r\n\r\n")
    bad = bytes(rng.randrange(128, 256) for _ in range(rng.randint(1, 3_000)))
    return Case((good + bad,), least=count + 1, most=count + 1, until_end=True)


def expectations(rng: Random, aim: Aim) -> Case:
    value = rng.choice(("100-continue", "100-Continue", "200-ok", "", "100-continue, 100-continue", word(rng)))
    return asked(request(CHAT, BODY, [("Expect", value)], aim=aim))


def upgrades(rng: Random, aim: Aim) -> Case:
    """To what is no WebSocket: as if it had not been asked."""
    to = rng.choice(("h2c", "TLS/1.0", "websocket2", "HTTP/2.0, h2c", word(rng), ""))
    connection = rng.choice(("upgrade", "Upgrade, HTTP2-Settings", "keep-alive, upgrade"))
    return asked(request(CHAT, BODY, [("Connection", connection), ("Upgrade", to)], aim=aim))


def no_http(rng: Random, aim: Aim) -> Case:
    """Other protocols, and none."""
    noise = bytes(rng.randrange(256) for _ in range(rng.randint(20, 300)))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    speech = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise, preface, b"SSH-2.0-x\r\n", b"\x00" + noise)
    return refused(rng.choice((*speech, b"EHLO x\r\n\r\n", b"\xff" + noise)))


FAMILIES: tuple[Family, ...] = (
    family("head too long", too_long, "431:2004 end", 0.5),
    family("head of too many fields", flood_of_fields, "431:2004 end", 0.5),
    family("head dribbled", dribbled, "408:2004 end", 0.2, slow=True),
    family("silence", silent, "", 0.2, slow=True),
    family("head abandoned", abandoned, ""),
    family("head half-closed", half_closed, "end"),
    family("flood of connections", flood_of_connections, "", 0.2),
    family("control characters", controls, "400:2004 end"),
    family("NUL bytes", nothing_bytes, "400:2004 end"),
    family("bare line ends", bare_ends, "400:2004 end"),
    family("folded fields", folded, "400:2004 end"),
    family("spaces about names", spaced, "400:2004 end"),
    family("methods", methods, "400:2004 end"),
    family("versions", versions, "400:2004 505:2004 end"),
    family("targets", targets, ""),
    family("targets with bytes", targets_with_bytes, "400:2004 end"),
    family("hosts", hosts, "400:2004 end"),
    family("unknown paths", unknown_paths, ""),
    family("unknown gateways", unknown_gateways, "400:2001 401:2009 404:2004"),
    family("unknown providers", unknown_providers, "400:2008 404:2004"),
    family("climbing paths", climbing, ""),
    family("option values", options, "200"),
    family("tokens", tokens, "401:2009"),
    family("flood of pipelined requests", flood_of_requests, "200 404:2004", 0.3),
    family("pipelined garbage", pipelined_garbage, "200 400:2004 end"),
    family("expectations", expectations, "200"),
    family("upgrades", upgrades, "200"),
    family("no HTTP", no_http, "400:2004 505:2004 end"),
)
