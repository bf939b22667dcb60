"""How a WebSocket is opened, and what is agreed on then: the handshake (RFC 6455, 4) and compression (RFC 7692)."""

import json
import zlib
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE: dict[str, str | None] = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
UPGRADE |= {"sec_websocket_key": KEY}
PATHS = pytest.mark.parametrize("path", ["/v1/local/default", "deepgram/v1/listen"], ids=["universal", "relayed"])
NO_CONTEXT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


async def opened(line: Any, compose: Any, gateway: Any, path: str, **fields: str | None) -> Any:
    """The reply to an upgrade."""
    return await line.ask(compose(gateway, "GET", path, **{**UPGRADE, **fields}))


# --- the handshake


@PATHS
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"connection": "keep-alive, Upgrade"},  # Firefox
        {"connection": "upgrade", "upgrade": "WebSocket"},
        {"origin": "http://elsewhere.example", "cookie": "a=b"},
        {"sec_websocket_extensions": "x-unknown; a=1, x-other"},
    ],
)
async def test_a_handshake_is_answered_with_proof_that_it_was_read(
    gateway: Any, wire: Any, compose: Any, path: str, fields: dict[str, str]
):
    async with wire(gateway) as line:
        reply = await opened(line, compose, gateway, path, **fields)
    assert (reply.status, reply.reason) == (101, "Switching Protocols")
    assert reply.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
    assert (reply.header("upgrade"), reply.header("connection")) == ("websocket", "Upgrade")
    assert reply.header("sec-websocket-protocol") is reply.header("sec-websocket-extensions") is None


@PATHS
@pytest.mark.parametrize(
    "fields",
    [
        {"sec_websocket_key": None},
        {"sec_websocket_key": "c2hvcnQ="},
        {"sec_websocket_key": "no base 64 at all!!"},
        {"sec_websocket_version": None},
    ],
)
async def test_what_is_no_handshake_is_refused(
    gateway: Any, wire: Any, compose: Any, path: str, fields: dict[str, str | None]
):
    async with wire(gateway) as line:
        reply = await opened(line, compose, gateway, path, **fields)
    assert (reply.status, reply.json()["error"][0]["code"]) == (400, 2004)


@PATHS
@pytest.mark.parametrize("version", ["0", "8", "14", "abc"])
async def test_another_version_is_refused_with_the_one_that_is_spoken(
    gateway: Any, wire: Any, compose: Any, path: str, version: str
):
    async with wire(gateway) as line:
        reply = await opened(line, compose, gateway, path, sec_websocket_version=version)
        assert (reply.status, reply.json()["message"]) == (400, "WebSocket version not supported")
        assert reply.header("sec-websocket-version") == "13"


@PATHS
@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
async def test_only_get_opens_one(gateway: Any, wire: Any, compose: Any, path: str, method: str):
    async with wire(gateway) as line:
        await line.send(compose(gateway, method, path, content_length=None, **UPGRADE))
        assert (await line.until(b"\r\n")).startswith(b"HTTP/1.1 405 ")


@PATHS
async def test_frames_that_come_with_the_handshake_are_read(gateway: Any, wire: Any, compose: Any, path: str):
    async with wire(gateway) as line:
        await line.send(compose(gateway, "GET", path, **UPGRADE) + Frame(Opcode.PING, b"early").serialize(mask=True))
        await line.until(b"\r\n\r\n")
        assert await line.until(b"early") == b"\x8a\x05early"


# --- compression: what is agreed on


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        ("permessage-deflate", NO_CONTEXT),
        ("permessage-deflate; client_max_window_bits", NO_CONTEXT),  # Chromium, npm ws
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", NO_CONTEXT),
        ("permessage-deflate; client_max_window_bits=9", f"{NO_CONTEXT}; client_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=9", f"{NO_CONTEXT}; server_max_window_bits=9"),
        ("x-webkit-deflate-frame, permessage-deflate", NO_CONTEXT),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", NO_CONTEXT),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; unknown", None),
        ("x-webkit-deflate-frame", None),
    ],
)
async def test_compression_is_agreed_on_where_no_window_must_be_kept(
    gateway: Any, wire: Any, compose: Any, offer: str, agreed: str | None
):
    async with wire(gateway) as line:
        reply = await opened(line, compose, gateway, "/v1/local/default", sec_websocket_extensions=offer)
    assert reply.status == 101
    assert parameters(reply.header("sec-websocket-extensions")) == parameters(agreed)


def parameters(header: str | None) -> set[str]:
    return set() if header is None else {word.strip() for word in header.split(";")}


async def test_a_relay_agrees_to_no_compression(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        path = "deepgram/v1/listen"
        reply = await opened(line, compose, gateway, path, sec_websocket_extensions="permessage-deflate")
    assert (reply.status, reply.header("sec-websocket-extensions")) == (101, None)


# --- compression: what is said then


def deflated(text: bytes, level: int = 6, bits: int = 15) -> bytes:
    encoder = zlib.compressobj(level, wbits=-bits)
    return (encoder.compress(text) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(data: bytes, kind: Opcode = Opcode.TEXT, last: bool = True, bits: int = 0x40) -> bytes:
    """A frame that says with the first of its reserved bits that it is compressed."""
    first, *rest = Frame(kind, data, last).serialize(mask=True)
    return bytes([first | bits, *rest])


def in_pieces(data: bytes, size: int) -> bytes:
    """A compressed message in fragments, of which the first alone says that it is."""
    starts = range(0, len(data), size)
    kinds = [Opcode.CONT if start else Opcode.TEXT for start in starts]
    pieces = [
        frame(data[start : start + size], kind, False, 0 if start else 0x40)
        for start, kind in zip(starts, kinds, strict=True)
    ]
    return b"".join(pieces) + frame(b"", Opcode.CONT, bits=0)


ASKED = json.dumps({"type": "none", "eventId": "ab" * 30_000 + "µ"}, ensure_ascii=False).encode()
PACKED = {
    "in one frame": frame(deflated(ASKED)),
    "as well as can be": frame(deflated(ASKED, 9)),
    "not at all, in the form of it": frame(deflated(ASKED, 0)),
    "with a small window": frame(deflated(ASKED, bits=9)),
    "in fragments": in_pieces(deflated(ASKED), 20),
    "in fragments of a byte": in_pieces(deflated(ASKED), 1),
    "with an empty block at its end": frame(deflated(ASKED) + b"\x00\x00\xff\xff\x00"),
    "with a last block": frame(zlib.compress(ASKED, wbits=-15) + b"\x00"),  # RFC 7692, 7.2.3.4
    "not this one": frame(ASKED, bits=0),
}


@pytest.mark.parametrize("what", PACKED)
async def test_messages_may_come_compressed_one_by_one(gateway: Any, wire: Any, compose: Any, what: str):
    async with wire(gateway) as line:
        extension = "permessage-deflate; client_max_window_bits"
        await opened(line, compose, gateway, "/v1/local/default", sec_websocket_extensions=extension)
        for _ in range(2):  # the second knows nothing of the first
            await line.send(PACKED[what])
            head = await line.reader.readexactly(4)
            assert head[:2] == b"\x81\x7e"  # one frame of text, not compressed
            told = json.loads(await line.reader.readexactly(int.from_bytes(head[2:])))
            assert told["metadata"]["eventId"] == "ab" * 30_000 + "µ"


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("what is not compressed", frame(b"\xff" * 20), 1002),
        ("a compressed ping", frame(deflated(b"x"), Opcode.PING), 1002),
        ("a fragment that says so again", frame(b"", last=False) + frame(b"", Opcode.CONT), 1002),
        ("another reserved bit", frame(deflated(b"x"), bits=0x60), 1002),
        ("text that is none", frame(deflated(b"\xff\xfe")), 1007),
        ("a bomb", frame(deflated(b" " * (26 * 1024 * 1024))), 1009),
    ],
)
async def test_what_is_wrongly_compressed_ends_the_connection(
    gateway: Any, wire: Any, compose: Any, what: str, data: bytes, code: int
):
    async with wire(gateway) as line:
        await opened(line, compose, gateway, "/v1/local/default", sec_websocket_extensions="permessage-deflate")
        await line.send(data)
        said = await line.end()
    assert said[0] == 0x88
    assert Close.parse(said[2:]).code == code
