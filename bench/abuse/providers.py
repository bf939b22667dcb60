"""Providers that mean ill, or do not know better: what a hostile one says, and what the client is told of it."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from random import Random
from zlib import crc32

import brotli
import zstandard

from bench.abuse.bodies import SCALARS, nested
from bench.abuse.cases import (
    BODY,
    CHAT,
    COMPAT,
    GATEWAY,
    HOSTILE,
    KEY_FIELD,
    QUERY,
    Aim,
    Case,
    Family,
    Script,
    asked,
    encoded,
    family,
    request,
    word,
)
from bench.traffic import read_message

BEDROCK = f"{GATEWAY}/aws-bedrock/bedrock-runtime/us-east-1/model/x/converse-stream"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_KEY = re.compile(rb"\r\n%b: (\w+)\r\n" % KEY_FIELD.encode(), re.IGNORECASE)


@asynccontextmanager
async def hostile(scripts: MutableMapping[str, Script]) -> AsyncIterator[int]:
    """A provider that answers a request with the script that it names; yields its port."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await _answer(reader, writer, scripts):
                    pass
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scripts: MutableMapping[str, Script]
) -> bool:
    """Plays a script. Whether the connection stays."""
    head, _ = await read_message(reader)
    key = _KEY.search(head)
    script = scripts.get(key[1].decode()) if key else None
    if script is None:
        return False
    for piece in script.pieces:
        writer.write(piece)
        await writer.drain()
        if script.pause_s:
            await asyncio.sleep(script.pause_s)
    if script.ends == "stays":
        await reader.read(1)  # the gateway leaves, or asks no more
    elif script.ends == "closes":
        writer.write_eof()
        await reader.read(1)
    return False


def called(
    rng: Random,
    aim: Aim,
    script: Script,
    right: str = "",
    *,
    target: str = HOSTILE,
    body: bytes = BODY,
    hasty: bool = False,
) -> Case:
    """A call that is answered by the script; a hasty one wants the first byte of a body in less than half a second."""
    key = f"{rng.getrandbits(64):016x}"
    haste = [("cf-aig-request-timeout", "400")] if hasty else []
    data = request(target, body, [(KEY_FIELD, key), *haste], aim=aim)
    return Case((data,), right, script=replace(script, key=key))


def said(*pieces: bytes) -> Script:
    return Script(pieces)


def heads(rng: Random, aim: Aim) -> Case:
    """Replies that are not HTTP."""
    bad = (
        b"",
        b"\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 2000 High\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        OK + b"X: \x00\r\n\r\n",
        OK + b"X : a\r\n\r\n",
        OK + b"X: a\r\n b\r\n\r\n",
        OK + b"X: a\nY: b\n\n",
        OK + b"no colon\r\n\r\n",
        OK + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
        OK + b"X: a\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        bytes(rng.randrange(256) for _ in range(rng.randint(1, 300))),
        OK + word(rng).encode(),
    )
    return called(rng, aim, said(rng.choice(bad)))


def lengths(rng: Random, aim: Aim) -> Case:
    bad = (
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\nabc",
        b"Content-Length: 0x3\r\n\r\nabc",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    )
    return called(rng, aim, said(OK + rng.choice(bad)))


def chunks(rng: Random, aim: Aim) -> Case:
    """Chunks that are none, behind nothing or behind a good one."""
    good = b"3\r\nabc\r\n" * rng.choice((0, 1, 5))
    bad = rng.choice(
        (b"x\r\nabc\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"f" * 40 + b"\r\n")
    )
    return called(rng, aim, said(CHUNKED + good, bad + b"0\r\n\r\n"))


def cut(rng: Random, aim: Aim) -> Case:
    whole = JSON + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    script = Script((whole[: rng.randint(0, len(whole) - 1)],), ends=rng.choice(("closes", "resets")))
    return called(rng, aim, script, "400:2005 200-cut")


def dribbled_heads(rng: Random, aim: Aim) -> Case:
    """Slowloris on the other side."""
    whole = OK + b"".join(b"x-%d: y\r\n" % at for at in range(200))
    return called(
        rng, aim, Script(tuple(whole[at : at + 2] for at in range(0, len(whole), 2)), pause_s=0.05), hasty=True
    )


def dribbled_bodies(rng: Random, aim: Aim) -> Case:
    """Slow, and right: nobody else may wait for it."""
    data = b"".join(b"data: %d\n\n" % at for at in range(rng.randint(3, 9)))
    head = STREAM + b"Content-Length: %d\r\n\r\n" % len(data)
    script = Script((head, *(data[at : at + 3] for at in range(0, len(data), 3))), pause_s=0.02)
    return called(rng, aim, script, "200")


def stalled(rng: Random, aim: Aim) -> Case:
    """Silence: before the head, before the body, or within it."""
    start = rng.choice((b"", OK, JSON + b"Content-Length: 9\r\n\r\n", JSON + b"Content-Length: 9\r\n\r\nabc"))
    return called(rng, aim, Script((start,), ends="stays"), "400:2005 200-cut", hasty=True)


def surplus(rng: Random, aim: Aim) -> Case:
    """More than its length said, which may be another reply: nobody may ever get it."""
    other = OK + b"Content-Length: 9\r\n\r\nsmuggled!"
    return called(rng, aim, said(JSON + b"Content-Length: 2\r\n\r\n{}" + other * rng.randint(1, 9)), "200")


def interim(rng: Random, aim: Aim) -> Case:
    """Replies before the reply, without end."""
    one = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    count = rng.choice((1, 20, 10_000))
    return called(rng, aim, said(one * count, JSON + b"Content-Length: 2\r\n\r\n{}"), "200 400:2005")


def statuses(rng: Random, aim: Aim) -> Case:
    """Any number is passed on."""
    status = rng.choice((200, 201, 299, 304, 399, 418, 499, 599, 600, 799, 999))
    reply = b"HTTP/1.1 %d Odd\r\nContent-Length: %d\r\n\r\n" % (status, 0 if status == 304 else 2)
    return called(rng, aim, said(reply + (b"" if status == 304 else b"{}")), str(status))


def fields(rng: Random, aim: Aim) -> Case:
    """Fields that a provider has no business to send end here, or do no harm."""
    odd = (
        b"Connection: x\r\nx: y\r\n",
        b"cf-aig-step: 99\r\ncf-aig-log-id: x\r\n",
        b"X: \xff\xfe\r\n",
        b"Keep-Alive: \r\n",
    )
    return called(rng, aim, said(OK + rng.choice(odd) * rng.randint(1, 50) + b"Content-Length: 2\r\n\r\n{}"), "200")


@lru_cache(maxsize=16)
def bomb(coding: str, size: int) -> bytes:
    """A reply of so many megabytes, in few bytes."""
    text = b'{"choices":[{"message":{"content":"' + b"a" * (size * 1_000_000) + b'"}}]}'
    if coding == "gzip":
        return gzip.compress(text, 6)
    return brotli.compress(text, quality=3) if coding == "br" else zstandard.compress(text, 3)


def bombs(rng: Random, aim: Aim) -> Case:
    """Packed replies that unfold without end: passed on as they are, metered or translated within bounds."""
    coding = rng.choice(("gzip", "br", "zstd"))
    data = bomb(coding, rng.choice((3, 12)))
    head = JSON + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(data))
    if rng.random() < 0.5:
        return called(rng, aim, said(head + data), "200")
    return called(rng, aim, said(head + data), "200 400:2002", target=COMPAT, body=translated())


def translated(model: str = "anthropic/claude-sonnet-4-6", **more: object) -> bytes:
    return encoded({**QUERY, "model": model, **more})


def damaged(rng: Random, aim: Aim) -> Case:
    """Codings that lie."""
    data = rng.choice((b"x" * 99, gzip.compress(BODY)[:-7], b"\x1f\x8b\x08", b"", b"\x28\xb5\x2f\xfd" + b"\xff" * 40))
    coding = rng.choice(("gzip", "br", "zstd", "deflate", "gzip, gzip, gzip, gzip, gzip", "x", "gzip, x"))
    head = JSON + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(data))
    if rng.random() < 0.5:
        return called(rng, aim, said(head + data), "200")
    return called(rng, aim, said(head + data), "200 400:2002", target=COMPAT, body=translated())


def nonsense(rng: Random, aim: Aim) -> Case:
    """JSON that cannot be put into another vendor's shape."""
    reply = {"id": rng.choice(SCALARS), "content": rng.choice(SCALARS), "usage": rng.choice(SCALARS)}
    texts = (b"", b"{", b"[]", nested(rng), encoded(reply), b"\xff\xfe", b"9" * 9_000, word(rng).encode(), b"null")
    data = rng.choice(texts)
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    status = rng.choice((200, 200, 400, 500))
    right = f"200 400:2002 {status}"
    return called(rng, aim, said(head % (status, len(data)) + data), right, target=COMPAT, body=translated())


def events(rng: Random, aim: Aim) -> Case:
    """Streams that make no sense, native or to be translated."""
    kinds = (
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
        "x",
    )
    pieces = []
    for _ in range(rng.randint(1, 20)):
        data = json.dumps({"type": rng.choice(kinds), "index": rng.choice(SCALARS), "delta": rng.choice(SCALARS)})
        pieces.append(rng.choice((f"event: {rng.choice(kinds)}\ndata: {data}\n\n", f"data: {data}", ":\n\n", "\0\n\n")))
    pieces.append(rng.choice(("", "data: [DONE]\n\n", "data:" + "x" * 200_000)))
    body = "".join(pieces).encode()
    script = said(STREAM + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    if rng.random() < 0.5:
        return called(rng, aim, script, "200")
    return called(rng, aim, script, "200 200-cut 400:2002 400:2005", target=COMPAT, body=translated(stream=True))


def messages(rng: Random, aim: Aim) -> Case:
    """AWS's binary streams, damaged: lengths and checksums that are none. Passed on, and metered as far as they go."""
    pieces = []
    for _ in range(rng.randint(1, 6)):
        payload = rng.choice((b"{}", nested(rng), b"\xff", encoded({"usage": rng.choice(SCALARS)})))
        head = (16 + len(payload)).to_bytes(4, "big") + bytes(4)
        whole = head + crc32(head).to_bytes(4, "big") + payload
        pieces.append(whole + crc32(whole).to_bytes(4, "big"))
    said_length = rng.choice((0, 1, 15, 2**24, 2**32 - 1)).to_bytes(4, "big")
    pieces.append(rng.choice((b"", said_length + bytes(12), rng.randbytes(60), pieces[0][:-1])))
    body = b"".join(pieces)
    kind = b"Content-Type: application/vnd.amazon.eventstream\r\nContent-Length: %d\r\n\r\n" % len(body)
    return called(rng, aim, said(OK + kind + body), target=BEDROCK)


def shared(rng: Random, aim: Aim) -> Case:
    """Identical requests at once, for one reply that fails: none waits for another for ever."""
    whole = JSON + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    piece = rng.choice((whole, whole[:-9], b"", OK + b"\x00\r\n\r\n", whole[:-9]))
    case = called(rng, aim, Script((piece,), pause_s=0.05, ends=rng.choice(("closes", "resets"))))
    head, _, rest = case.sends[0].partition(b"\r\n")
    wish = b"\r\ncf-aig-cache-ttl: 60\r\ncf-aig-cache-key: %d\r\n" % rng.randrange(10**9)
    return replace(case, sends=(head + wish + rest,), copies=rng.randint(2, 6))


def forms(rng: Random, aim: Aim) -> Case:
    """Forms with a boundary that is none, or with parts that have no end."""
    boundary = rng.choice(("", "x", "x" * 90, '"', "a;b", "\\"))
    part = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + rng.choice((b"m", b"m" * 3_000)) + b"\r\n"
    body = part * rng.choice((1, 3, 12_000 // len(part))) + rng.choice((b"", b"--x--", b"--x--\r\n", b"--x"))
    key = f"{rng.getrandbits(64):016x}"
    fields = [("Content-Type", f"multipart/form-data; boundary={boundary}"), (KEY_FIELD, key)]
    data = request(f"{GATEWAY}/groq/audio/transcriptions", body, fields, aim=aim)
    data = data.replace(b"Content-Type: application/json\r\n", b"", 1)
    return Case((data,), script=Script((JSON + b"Content-Length: 2\r\n\r\n{}",), key=key))


def refusing(rng: Random, aim: Aim) -> Case:
    """Nobody listens there."""
    return asked(request(f"{GATEWAY}/mistral/v1/chat/completions", BODY, aim=aim))


def simulated(rng: Random, aim: Aim) -> Case:
    """The simulator's own faults (docs/simulator.md), one or two at once."""
    faults = (
        "drop",
        "bad-head",
        "cut-1",
        "reset-1",
        "half-close-2",
        "malformed-1",
        "error-200",
        "surplus",
        "close",
        "interim",
    )
    more = (
        "status-500",
        "status-429",
        "drip-7",
        "long-head-90",
        "wrong-usage",
        "no-tail",
        "huge-1",
        "drop-reused",
        "error-event",
    )
    model = "~".join(["gpt-4o", *rng.sample((*faults, *more), rng.randint(1, 2))])
    body = encoded({**QUERY, "model": model, "stream": rng.random() < 0.5})
    target = rng.choice((CHAT, COMPAT))
    body = body.replace(b'"gpt-4o', b'"openai/gpt-4o') if target == COMPAT else body
    return asked(request(target, body, aim=aim))


BAD = "400:2005"
FAMILIES: tuple[Family, ...] = (
    family("provider: no HTTP", heads, BAD),
    family("provider: lengths", lengths, BAD),
    family("provider: chunks", chunks, "400:2005 200-cut"),
    family("provider: cut", cut, ""),
    family("provider: head dribbled", dribbled_heads, BAD, 0.3, slow=True),
    family("provider: body dribbled", dribbled_bodies, "", 0.3, slow=True),
    family("provider: silence", stalled, "", 0.2, slow=True),
    family("provider: surplus", surplus, ""),
    family("provider: interim replies", interim, "", 0.3),
    family("provider: statuses", statuses, "", 0.5),
    family("provider: fields", fields, "", 0.5),
    family("provider: bombs", bombs, "", 0.05),
    family("provider: damaged codings", damaged, ""),
    family("provider: no sense", nonsense, ""),
    family("provider: streams of no sense", events, ""),
    family("provider: damaged messages", messages, "200"),
    family("provider: shared by many", shared, "200 200-cut 400:2005", 0.5, slow=True),
    family("forms", forms, "200"),
    family("provider: not there", refusing, BAD),
    family(
        "provider: simulated faults", simulated, "200 400 429 500 200-cut 400-cut 429-cut 500-cut 400:2005 400:2002"
    ),
)
