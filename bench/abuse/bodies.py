"""JSON that is too deep, too wide, wrong, or none, for every endpoint that looks into it."""

import gzip
import json
from random import Random
from typing import Any

from bench.abuse.cases import (
    CHAT,
    COMPAT,
    GATEWAY,
    QUERY,
    STEP,
    Aim,
    Case,
    Family,
    asked,
    encoded,
    family,
    request,
    word,
)

API = "/client/v4/accounts/local/ai"
OPENERS = ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"))
SCALARS: tuple[Any, ...] = (None, True, -1, 1.5, 10**30, "", "x", [], {}, [[]], [None], {"a": 1}, "\ud800", "\0")


def posted(target: str, body: bytes, aim: Aim, right: str = "") -> Case:
    return asked(request(target, body, aim=aim), right)


def anywhere(rng: Random) -> str:
    return rng.choice((GATEWAY, COMPAT))


def nested(rng: Random, inner: bytes = b"1") -> bytes:
    opener, closer = rng.choice(OPENERS)
    depth = rng.randint(1_100, 90_000)
    return opener * depth + (inner + closer * depth if rng.random() < 0.5 else b"")


def depth(rng: Random, aim: Aim) -> Case:
    deep = nested(rng)
    if rng.random() < 0.5:
        return posted(anywhere(rng), deep, aim)
    place = rng.choice(("query", "headers", "config", "option"))
    step = b'{"provider":"openai","endpoint":"chat/completions","%b":%b}' % (place.encode(), deep)
    return posted(GATEWAY, step, aim, "400:2004 400 200" if place == "query" else "")


def width(rng: Random, aim: Aim) -> Case:
    many = rng.randint(2_000, 20_000)
    part = rng.randrange(4)
    if part == 0:
        return posted(GATEWAY, b"[" + b"[]," * many + b"[]]", aim)
    if part == 1:
        return posted(anywhere(rng), encoded({f"{word(rng, 3, 3)}{at}": at for at in range(many)}), aim)
    if part == 2:
        return posted(GATEWAY, encoded({**STEP, "headers": {f"x-{at}": "1" for at in range(many)}}), aim)
    return posted(COMPAT, encoded({**QUERY, "model": [word(rng)] * many}), aim)


def duplicate_keys(rng: Random, aim: Aim) -> Case:
    """Of two values the last counts, with whom it is forwarded to as well as with us."""
    key = rng.choice(("provider", "endpoint", "query", "headers", "config"))
    again = json.dumps({key: rng.choice(SCALARS)})[1:-1]
    body = encoded(STEP)[:-1] + b", " + (again + ", ").encode() * rng.randint(0, 500) + again.encode() + b"}"
    return posted(GATEWAY, body, aim, "400:2004 400:2008 200 400 404 405")


def numbers(rng: Random, aim: Aim) -> Case:
    size = rng.randint(20, 20_000)
    digits = "9" * size
    huge = rng.choice((digits, f"-{digits}", f"1e{digits[:9]}", f"0.{digits}", f"1E+{size}", f"{digits}e-{size}"))
    key = rng.choice(("requestTimeout", "maxAttempts", "retryDelay", "cacheTtl"))
    if rng.random() < 0.5:
        body = encoded({**STEP, "config": {key: 0}}).replace(b": 0}", f": {huge}}}".encode())
        return posted(GATEWAY, body, aim, "200 400:2004 400:2005")
    body = encoded({**QUERY, "max_tokens": 0}).replace(b": 0}", f": {huge}}}".encode())
    return posted(rng.choice((COMPAT, CHAT)), body.replace(b'"gpt', b'"openai/gpt'), aim, "200 400 400:2004")


def no_text(rng: Random, aim: Aim) -> Case:
    """Bytes that are no UTF-8, somewhere in a string."""
    bad = rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\x80", b"\xf0\x9f\x98"))
    if rng.random() < 0.5:
        return posted(GATEWAY, encoded(STEP).replace(b"hello", b"hel" + bad + b"lo"), aim)
    return posted(GATEWAY, encoded(STEP).replace(b"openai", b"open" + bad + b"ai"), aim)


def no_json(rng: Random, aim: Aim) -> Case:
    whole = encoded(STEP)
    bad = (
        b"",
        whole[: rng.randint(1, len(whole) - 1)],
        whole + rng.choice((b"x", b"]", b"{}", b"\0")),
        whole.replace(b'"', b"'"),
        whole.replace(b":", b"="),
        b"\xef\xbb\xbf" + whole,
        whole.decode().encode("utf-16"),
        bytes(rng.randrange(256) for _ in range(rng.randint(1, 500))),
        word(rng).encode(),
        b"a=b&c=d",
        b"<xml/>",
        b"NaN",
    )
    return posted(anywhere(rng), rng.choice(bad), aim)


def wrong_types(rng: Random, aim: Aim) -> Case:
    key = rng.choice(("provider", "endpoint", "headers", "authorization", "config", "option", "eventId", "id"))
    wrong: Any = rng.choice(
        [value for value in SCALARS if not isinstance(value, str) and value is not None and value != {}]
    )
    step = {**STEP, key: wrong}
    steps: Any = rng.choice((step, [step], [STEP, step], [step] * 40))
    if key in ("headers", "config", "option") and isinstance(wrong, dict):
        return posted(GATEWAY, encoded(steps), aim, "200 400:2004")
    return posted(GATEWAY, encoded(steps), aim)


def wrong_settings(rng: Random, aim: Aim) -> Case:
    config = ("requestTimeout", "maxAttempts", "retryDelay", "backoff", "cacheTtl", "skipCache", "cacheKey")
    option = ("retry", "delay", "backoff", "timeout", "onComplete", "when")
    place, keys = rng.choice((("config", config), ("option", option)))
    wrong: Any = rng.choice(([], {"a": 1}, "x", [1], [[]], [{}]))
    return posted(GATEWAY, encoded({**STEP, place: {rng.choice(keys): wrong}}), aim, "400:2004 200")


def too_many_steps(rng: Random, aim: Aim) -> Case:
    if rng.random() < 0.5:
        return posted(GATEWAY, encoded([STEP] * rng.randint(51, 400)), aim)
    step = STEP
    for _ in range(rng.randint(6, 60)):
        step = {**STEP, "option": {"onComplete": step}}
    return posted(GATEWAY, encoded(step), aim)


def tags(rng: Random, aim: Aim) -> Case:
    """Words of steps that there are not, or not yet."""
    quote = rng.choice(("'", '"', ""))
    tag = f"<prompt-response id={quote}{word(rng, 2)}{quote} />" * rng.choice((1, 1, 2_000))
    query = {**QUERY, "messages": [{"role": "user", "content": tag}]}
    follower = {**STEP, "query": query} if rng.random() < 0.5 else {**STEP, "endpoint": tag}
    return posted(GATEWAY, encoded({**STEP, "id": "a", "option": {"onComplete": follower}}), aim)


def step_headers(rng: Random, aim: Aim) -> Case:
    bad_value = rng.choice(("a\r\nb: c", "a\0", "\x01", "a\nb"))
    bad_name = rng.choice(("a b", "a:b", "", "\xe9", "a\r\n", "x" * 70_000))
    headers = rng.choice(({"x-a": bad_value}, {bad_name: "x"}, {"x-a": "y" * 70_000}))
    return posted(GATEWAY, encoded({**STEP, "headers": headers}), aim)


def step_endpoints(rng: Random, aim: Aim) -> Case:
    bad = rng.choice(("../" * rng.randint(1, 9) + "x", "a#b", "a b", "a\0b", "a\r\nb", "%2e%2e/x", "x" * 20_000))
    return posted(GATEWAY, encoded({**STEP, "endpoint": bad}), aim)


def models(rng: Random, aim: Aim) -> Case:
    names = ("", "gpt-4o", "/", "openai/", "/gpt", "nobody/x", "dynamic/x", "dynamic/", word(rng), "a/b/c", "x" * 9_000)
    body = {**QUERY, "model": rng.choice((*names, None, 1, [], {}))}
    if rng.random() < 0.1:
        del body["model"]
    return posted(COMPAT, encoded(body), aim, "400:2019 404:2031 400:2008 400 404")


def compat_shapes(rng: Random, aim: Aim) -> Case:
    """What has to be translated and cannot be: another vendor's words are made of these."""
    messages: Any = rng.choice(
        (None, 1, "x", {}, [1], [{}], [{"role": "x"}], [{"role": "user", "content": rng.choice(SCALARS)}])
    )
    body = {"model": "anthropic/claude-sonnet-4-6", "messages": messages}
    for key in rng.sample(("tools", "tool_choice", "max_tokens", "stop", "response_format", "stream", "n"), 2):
        body[key] = rng.choice(SCALARS)
    return posted(COMPAT, encoded(body), aim, "400:2004 400:2002 400:2005 400 200 400:2019")


def compat_paths(rng: Random, aim: Aim) -> Case:
    path = rng.choice((word(rng), "chat", "chat/completions/x", "..", "v1/v1/chat/completions", "%00", ""))
    return posted(f"{GATEWAY}/compat/{path}", encoded({**QUERY, "model": "openai/gpt-4o"}), aim)


def packed(rng: Random, aim: Aim) -> Case:
    """A coding that lies, is none, or has a bomb in it."""
    bomb = gzip.compress(b"[" * rng.choice((1_000, 3_000_000)), 1)
    body = rng.choice((encoded(STEP), bomb, gzip.compress(encoded(STEP))[:-9], b"\x1f\x8b" + b"x" * 50))
    coding = rng.choice(("gzip", "br", "zstd", "deflate", "gzip, gzip", "x", "compress"))
    return asked(request(anywhere(rng), body, [("Content-Encoding", coding)], aim=aim))


def api_runs(rng: Random, aim: Aim) -> Case:
    """Cloudflare's own paths, with models and bodies that they have not."""
    model = rng.choice(("@cf/", "@cf/x/y", "nobody/x", "..", "%2e%2e", "a" * 500, word(rng), "@hf/", "%00", "openai/"))
    body = rng.choice((b"", b"{", b"[]", b"1", encoded({"prompt": 1}), encoded({"messages": {}}), nested(rng)))
    path = rng.choice((f"run/{model}", "run", "v1/chat/completions", "v1/responses", "v1/messages", "v1/embeddings"))
    right = "m400:7003 m404:7003 m400:2004 m405:7003 m404:2004 m400:2019 m400:2008 m400:2005 200 400 404 m401:10000"
    fields = [("Authorization", f"Bearer {aim.token}")]
    return asked(request(f"{API}/{path}", body, fields), right)


FAMILIES: tuple[Family, ...] = (
    family("JSON too deep", depth, "400:2004 400:2019"),
    family("JSON too wide", width, "400:2004 400:2019", 0.3),
    family("duplicate keys", duplicate_keys, ""),
    family("huge numbers", numbers, ""),
    family("no UTF-8", no_text, "400:2004 400:2008"),
    family("no JSON", no_json, "400:2004 400:2019"),
    family("steps of wrong types", wrong_types, "400:2004"),
    family("settings of wrong types", wrong_settings, ""),
    family("too many steps", too_many_steps, "400:2004"),
    family("words of no step", tags, "400:2004"),
    family("headers of steps", step_headers, "400:2004"),
    family("endpoints of steps", step_endpoints, "400:2004"),
    family("models", models, ""),
    family("shapes to translate", compat_shapes, ""),
    family("unified paths", compat_paths, "400:2004 404:2004 405:2004"),
    family("codings of bodies", packed, "400:2004 400:2019"),
    family("Cloudflare's own paths", api_runs, ""),
)
