"""RFC 6455 case by case, through raw sockets against real workers: what the Autobahn test suite asks of a server.

Both kinds of WebSocket are asked: the universal one, whose answer to a message that asks for nothing names its event,
and a relayed one, behind which a provider says what it is told.
"""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DEFLATED = 0x40
DEADLINE_S = 20.0
MB = 1024 * 1024
MASK = b"\x01\x82\x43\xc4"
HANDSHAKE = {"Host": "gateway", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
HANDSHAKE |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
GOODBYE = struct.pack("!H", 1000)


def frame(kind: int, data: bytes = b"", *, last: bool = True, bits: int = 0, masked: bool = True) -> bytes:
    """A frame by lines of our own, not by the codec under test; it may be one that nobody may send."""
    size = len(data)
    told, more = (size, 0) if size < 126 else (126, 2) if size <= 0xFFFF else (127, 8)
    head = bytes([last << 7 | bits | kind, masked << 7 | told]) + (size.to_bytes(more) if more else b"")
    return head + MASK + mask(data) if masked else head + data


def mask(data: bytes) -> bytes:
    key = (MASK * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data)) if data else b""


def part(kind: int, data: bytes = b"", bits: int = 0) -> bytes:
    """A frame that is not the last of its message."""
    return frame(kind, data, last=False, bits=bits)


class Kind(NamedTuple):
    """A kind of WebSocket that answers each message with what was in it."""

    path: str
    message: Callable[[bytes], bytes]
    answer: Callable[[bytes], bytes]


def asked(text: bytes) -> bytes:
    return b'{"type":"none","eventId":"%b"}' % text


def named(data: bytes) -> bytes:
    told = json.loads(data)
    assert (told["type"], told["success"]) == ("universal.error", False)
    name: str = told["metadata"]["eventId"]
    return name.encode()


UNIVERSAL = Kind("", asked, named)
RELAYED = Kind("/deepgram/v1/listen", bytes, bytes)
KINDS = pytest.mark.parametrize("kind", [UNIVERSAL, RELAYED], ids=["universal", "relayed"])


class Seen(NamedTuple):
    """What the gateway said until it closed: the end is the payload of its goodbye, None where it said none."""

    messages: list[bytes]
    pongs: list[bytes]
    end: bytes | None

    @property
    def code(self) -> int | None:
        return int.from_bytes(self.end[:2]) if self.end else None


class Peer:
    """A client that sends any bytes and takes apart what it is sent."""

    def __init__(self, gateway: Any, path: str, fields: dict[str, str]) -> None:
        self.connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE_S)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.connection.makefile("rb")
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**HANDSHAKE, **gateway.auth, **fields}.items())
        self.send(f"GET /v1/local/default{path} HTTP/1.1\r\n{lines}\r\n".encode())
        self.status = int(self._stream.readline().split()[1])
        pairs = (line.decode().rstrip("\r\n").split(": ", 1) for line in iter(self._stream.readline, b"\r\n"))
        self.fields = {name.lower(): value for name, value in pairs}

    def send(self, data: bytes, size: int = 0) -> None:
        """Sends it in pieces of so many bytes, until nobody listens any more."""
        try:
            for start in range(0, len(data), size or max(len(data), 1)):
                self.connection.sendall(data[start : start + (size or len(data))])
        except (BrokenPipeError, ConnectionResetError):
            assert size, "it hung up on one piece"

    def frames(self) -> Iterator[tuple[int, bool, bytes]]:
        """What comes, frame by frame, to the end of the connection."""
        while head := self._stream.read(2):
            assert not head[0] & 0x70, "a reserved bit"
            assert not head[1] & 0x80, "a server masks nothing"
            size = head[1]
            if size > 125:
                size = int.from_bytes(self._stream.read(2 if size == 126 else 8))
            yield head[0] & 0x0F, bool(head[0] & 0x80), self._stream.read(size)

    def hear_out(self, answers: int = 0) -> Seen:
        """All that is said until the gateway closes its side. Behind so many answers it is told goodbye."""
        messages: list[bytes] = []
        pongs: list[bytes] = []
        end: bytes | None = None
        begun = b""
        for kind, last, data in self.frames():
            assert end is None, "a frame behind the goodbye"
            if kind == CLOSE:
                end = data
            elif kind == PONG:
                pongs.append(data)
            elif last:
                messages.append(begun + data)
                begun = b""
            else:
                begun += data
            if answers and len(messages) + len(pongs) == answers:
                self.send(frame(CLOSE, GOODBYE))
                answers = 0
        return Seen(messages, pongs, end)

    def close(self) -> None:
        self._stream.close()
        self.connection.close()


@pytest.fixture
def dial(gateway: Any) -> Iterator[Callable[..., Peer]]:
    """Opens a WebSocket: `dial("/deepgram/v1/listen", sec_websocket_extensions="x")`."""
    peers: list[Peer] = []

    def connect(path: str = "", **fields: str) -> Peer:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        peers.append(Peer(gateway, path, named))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


SPEEDS = pytest.mark.parametrize("size", [0, 1], ids=["at once", "byte by byte"])


# --- messages that are in order, each of which comes back

UNICODE = "Hello-µ@ßöäüàá-UTF-8!!".encode()
ODDITIES = "\x00\x7f\x80\u07ff\u0800\ufffd\ufffe\uffff\U00010000\U0001fffe\U0010ffff".encode()
Says = Callable[[bytes], bytes]
GOOD: dict[str, Callable[[Says], tuple[bytes, list[bytes], list[bytes]]]] = {
    # 1 framing
    "an empty text": lambda says: (frame(TEXT, says(b"")), [b""], []),
    "two messages": lambda says: (frame(TEXT, says(b"a")) + frame(TEXT, says(b"b")), [b"a", b"b"], []),
    "a binary message": lambda says: (frame(BINARY, says(b"a")), [b"a"], []),
    # 2 pings and pongs
    "a ping without a payload": lambda says: (frame(PING), [], [b""]),
    "a ping": lambda says: (frame(PING, b"hello"), [], [b"hello"]),
    "a ping of any bytes": lambda says: (frame(PING, bytes(range(125, 250))), [], [bytes(range(125, 250))]),
    "a pong that nobody asked for": lambda says: (frame(PONG, b"x") + frame(PING, b"y"), [], [b"y"]),
    "ten pings": lambda says: (b"".join(frame(PING, b"%d" % n) for n in range(10)), [], [b"%d" % n for n in range(10)]),
    # 5 fragments
    "two fragments": lambda says: halves(says(b"together")),
    "fragments with a ping in between": lambda says: halves(says(b"together"), frame(PING, b"p"), [b"p"]),
    "fragments with a pong in between": lambda says: halves(says(b"together"), frame(PONG, b"p")),
    "empty fragments": lambda says: (
        part(TEXT) + part(CONT, says(b"x")) + part(CONT) + frame(CONT),
        [b"x"],
        [],
    ),
    "a fragment for each byte": lambda says: (crumbled(says(b"abc")), [b"abc"], []),
    "a message behind fragments": lambda says: (crumbled(says(b"ab")) + frame(TEXT, says(b"c")), [b"ab", b"c"], []),
    # 6 UTF-8
    "text beyond ASCII": lambda says: (frame(TEXT, says(UNICODE)), [UNICODE], []),
    "characters cut into fragments": lambda says: (crumbled(says(UNICODE)), [UNICODE], []),
    "noncharacters and the last code point": lambda says: (frame(TEXT, says(ODDITIES[2:])), [ODDITIES[2:]], []),
    "the same cut into fragments": lambda says: (crumbled(says(ODDITIES[2:])), [ODDITIES[2:]], []),
}  # fmt: skip


def halves(
    data: bytes, between: bytes = b"", pongs: list[bytes] | None = None
) -> tuple[bytes, list[bytes], list[bytes]]:
    return part(TEXT, data[:5]) + between + frame(CONT, data[5:]), [b"together"], pongs or []


def crumbled(data: bytes) -> bytes:
    """A message of a fragment for each byte."""
    return b"".join(part(CONT if at else TEXT, data[at : at + 1]) for at in range(len(data))) + frame(CONT)


@KINDS
@SPEEDS
@pytest.mark.parametrize("what", GOOD)
def test_what_is_in_order_is_answered(dial: Callable[..., Peer], kind: Kind, what: str, size: int):
    sent, messages, pongs = GOOD[what](kind.message)
    peer = dial(kind.path)
    peer.send(sent, size)
    seen = peer.hear_out(len(messages + pongs))
    assert [kind.answer(data) for data in seen.messages] == messages
    assert (seen.pongs, seen.end) == (pongs, GOODBYE)


@KINDS
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [125, 126, 127, 128, 65535, 65536, 65537, MB])
def test_messages_of_every_length_come_back(dial: Callable[..., Peer], kind: Kind, opcode: int, length: int):
    fill = length - len(kind.message(b""))
    peer = dial(kind.path)
    peer.send(frame(opcode, kind.message(b"*" * fill)), 997 if length < MB else 0)
    seen = peer.hear_out(1)
    assert [kind.answer(data) for data in seen.messages] == [b"*" * fill]
    assert seen.end == GOODBYE


@KINDS
@pytest.mark.parametrize("pieces", [64, 4096, 262_144])
def test_a_long_message_comes_back_however_it_was_cut(dial: Callable[..., Peer], kind: Kind, pieces: int):
    text = "µ".encode() * (MB // 4)
    data = kind.message(text)
    starts = range(0, len(data), pieces)
    peer = dial(kind.path)
    cut = b"".join(part(CONT if start else TEXT, data[start : start + pieces]) for start in starts)
    peer.send(cut + frame(CONT) + frame(PING, b"still there"))
    seen = peer.hear_out(2)
    assert [kind.answer(message) for message in seen.messages] == [text]
    assert (seen.pongs, seen.end) == ([b"still there"], GOODBYE)


# --- what no client may send

RESERVED = {f"the reserved bits {bits}": frame(TEXT, b"x", bits=bits << 4) for bits in range(1, 8)}
UNKNOWN = {f"the reserved kind {kind}": frame(kind, b"x") for kind in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
MISPLACED = {
    "a ping of 126 bytes": frame(PING, b"x" * 126),
    "a pong of 126 bytes": frame(PONG, b"x" * 126),
    "a ping with a reserved bit": frame(PING, b"x", bits=0x40),
    "a goodbye with a reserved bit": frame(CLOSE, GOODBYE, bits=0x70),
    "a ping that goes on": part(PING, b"x") + frame(CONT, b"y"),
    "a pong that goes on": part(PONG, b"x") + frame(CONT, b"y"),
    "a goodbye that goes on": part(CLOSE, GOODBYE) + frame(CONT),
    "the end of nothing": frame(CONT, b"x"),
    "the middle of nothing": part(CONT, b"x") + frame(TEXT, b"y"),
    "the end of what has ended": part(TEXT, b"{") + frame(CONT, b"}") + frame(CONT, b"x"),
    "a message within a message": part(TEXT, b"x") + frame(TEXT, b"y"),
    "a binary message within a text": part(TEXT, b"x") + part(BINARY, b"y"),
    "a frame without a mask": frame(TEXT, b"{}", masked=False),
    "a ping without a mask": frame(PING, b"x", masked=False),
    "what is compressed where nothing was agreed": frame(TEXT, b"\xaaV*\x01\x00", bits=DEFLATED),
    "a goodbye of one byte": frame(CLOSE, b"\x03"),
    "a goodbye of 126 bytes": frame(CLOSE, GOODBYE + b"x" * 124),
}
NEVER = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
FORBIDDEN = {f"a goodbye with code {code}": frame(CLOSE, struct.pack("!H", code)) for code in NEVER}
BROKEN = RESERVED | UNKNOWN | MISPLACED | FORBIDDEN


@KINDS
@SPEEDS
@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(dial: Callable[..., Peer], kind: Kind, what: str, size: int):
    peer = dial(kind.path)
    peer.send(frame(PING, b"before") + BROKEN[what] + frame(PING, b"behind"), size)
    seen = peer.hear_out()
    assert (seen.code, seen.pongs) == (1002, [b"before"])


NO_TEXT = {
    "a byte that is never part of it": b"\xff",
    "a continuation alone": b"\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong null of three bytes": b"\xe0\x80\x80",
    "an overlong of four bytes": b"\xf0\x8f\xbf\xbf",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xad\xbf\xed\xb0\x80",
    "past the last code point": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
}
CUT_OFF = {f"{len(data)} bytes of a longer one": data for data in (b"\xce", b"\xe2\x82", b"\xf0\x9f\x98")}


@KINDS
@SPEEDS
@pytest.mark.parametrize("what", NO_TEXT | CUT_OFF)
def test_text_that_is_no_utf8_ends_the_connection(dial: Callable[..., Peer], kind: Kind, what: str, size: int):
    data = (NO_TEXT | CUT_OFF)[what]
    for sent in (frame(TEXT, b"{" + data), part(TEXT, b"{") + frame(CONT, data), crumbled(b"{" + data)):
        peer = dial(kind.path)
        peer.send(sent, size)
        seen = peer.hear_out()
        assert (seen.code, seen.messages) == (1007, [])


@KINDS
@pytest.mark.parametrize("what", NO_TEXT)
def test_wrong_text_is_known_before_its_message_is_whole(dial: Callable[..., Peer], kind: Kind, what: str):
    peer = dial(kind.path)
    peer.send(part(TEXT, "κόσμε".encode()) + part(CONT, NO_TEXT[what] + b"\x80"))
    assert peer.hear_out().code == 1007


def test_binary_messages_may_hold_anything(dial: Callable[..., Peer]):
    peer = dial(RELAYED.path)
    everything = b"".join(NO_TEXT.values())
    peer.send(frame(BINARY, everything))
    assert peer.hear_out(1) == Seen([everything], [], GOODBYE)


# --- goodbyes

ALLOWED = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)


@KINDS
@pytest.mark.parametrize("reason", ["", "bye", "µ" * 61 + "x"])
@pytest.mark.parametrize("code", ALLOWED)
def test_a_goodbye_is_answered_with_its_code(dial: Callable[..., Peer], kind: Kind, code: int, reason: str):
    peer = dial(kind.path)
    peer.send(frame(CLOSE, struct.pack("!H", code) + reason.encode()))
    assert peer.hear_out().code == code


@KINDS
@SPEEDS
def test_a_goodbye_may_say_nothing(dial: Callable[..., Peer], kind: Kind, size: int):
    peer = dial(kind.path)
    peer.send(frame(CLOSE), size)
    assert peer.hear_out() == Seen([], [], b"")


@KINDS
def test_a_reason_that_is_no_utf8_ends_the_connection(dial: Callable[..., Peer], kind: Kind):
    peer = dial(kind.path)
    peer.send(frame(CLOSE, GOODBYE + b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"))
    assert peer.hear_out().code == 1007


@KINDS
@SPEEDS
@pytest.mark.parametrize("behind", [TEXT, PING, CLOSE, 3], ids=["a message", "a ping", "another", "nonsense"])
def test_nothing_is_heard_behind_a_goodbye(dial: Callable[..., Peer], kind: Kind, behind: int, size: int):
    peer = dial(kind.path)
    peer.send(frame(CLOSE, GOODBYE) + frame(behind, kind.message(b"late")[:100]), size)
    assert peer.hear_out() == Seen([], [], GOODBYE)


# --- lengths


@KINDS
@pytest.mark.parametrize("head", [b"\x81\xff\x10" + bytes(7), b"\x82\xff\x00\x00\x00\x01" + bytes(4)])
def test_what_announces_too_much_is_refused_before_it_comes(dial: Callable[..., Peer], kind: Kind, head: bytes):
    peer = dial(kind.path)
    peer.send(head + MASK)
    assert peer.hear_out().code == 1009
