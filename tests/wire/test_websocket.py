"""Frames in pieces of any size, and frames that are none: what is read, and with which code it ends."""

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from sluice.values.errors import MalformedRequest, WebSocketVersionNotSupported
from sluice.wire.events import RequestHead
from sluice.wire.frames import UNSAID, Closing
from sluice.wire.http1 import RequestReader
from sluice.wire.websocket import WebSocket, accept

bounded = settings(max_examples=200, deadline=None, database=None)
CUTS = st.lists(st.integers(0, 5000), max_size=12)
BINARIES = st.tuples(st.just(False), st.lists(st.binary(max_size=300), min_size=1, max_size=4))
TEXTS = st.tuples(st.just(True), st.lists(st.text(max_size=75).map(str.encode), min_size=1, max_size=4))
MESSAGES = st.lists(BINARIES | TEXTS, max_size=5)
LIMIT = 1000
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def head(**fields: str) -> RequestHead:
    given = {"host": "a", "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    given |= {"sec-websocket-key": KEY.decode()} | {name.replace("_", "-"): value for name, value in fields.items()}
    headers = [(name.encode(), name.title().encode(), value.encode()) for name, value in given.items()]
    by_name = {name: value for name, _, value in headers}
    return RequestHead(b"GET", b"/", headers, by_name, 0, True, True, False, True)


def opened(limit: int = LIMIT, **fields: str) -> WebSocket:
    return accept(head(**fields), limit, None)[0]


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True, masked: bool = True, **bits: bool) -> bytes:
    return Frame(opcode, data, fin, **bits).serialize(mask=masked)


def masked(first: int, second: int, data: bytes = b"") -> bytes:
    """A frame that the library would not make."""
    return bytes([first, 0x80 | second, 0, 0, 0, 0]) + data


def text(data: bytes) -> bytes:
    return frame(Opcode.TEXT, data)


def fed(socket: WebSocket, pieces: Iterable[bytes]) -> list[bytes | Closing]:
    return [said for piece in pieces for said in socket.feed(piece)]


def sent(data: bytes) -> list[tuple[Opcode, bytes]]:
    """Frames that the server sent."""
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    client.receive_data(data)
    return [(one.opcode, bytes(one.data)) for one in client.events_received() if isinstance(one, Frame)]


def end_of(socket: WebSocket) -> int | None:
    """The code of the goodbye that was sent last of all."""
    frames = sent(socket.outgoing())
    if not frames or frames[-1][0] is not Opcode.CLOSE:
        return None
    return int(Close.parse(frames[-1][1]).code)


@bounded
@given(MESSAGES, CUTS)
def test_messages_come_whole_however_they_were_split(
    cut: Callable[..., list[bytes]], messages: list[tuple[bool, list[bytes]]], cuts: list[int]
):
    stream = b""
    for is_text, parts in messages:
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.TEXT if is_text else Opcode.BINARY
            stream += frame(opcode, part, number == len(parts) - 1) + frame(Opcode.PING, b"between")
    for pieces in ([stream], cut(stream, cuts), cut(stream, range(len(stream)))):
        socket = opened()
        whole = fed(socket, pieces)
        if all(sum(map(len, parts)) <= LIMIT for _, parts in messages):
            assert whole == [b"".join(parts) for _, parts in messages]
            pongs = sum(len(parts) for _, parts in messages)
            assert sent(socket.outgoing()) == [(Opcode.PONG, b"between")] * pongs
            assert socket.open


@bounded
@given(st.binary(max_size=400), CUTS)
def test_any_bytes_end_in_messages_or_in_a_goodbye_and_never_in_an_exception(
    cut: Callable[..., list[bytes]], stream: bytes, cuts: list[int]
):
    ends = set()
    for pieces in ([stream], cut(stream, cuts), cut(stream, range(len(stream)))):
        socket = opened()
        said = fed(socket, pieces)
        assert [one for one in said[:-1] if isinstance(one, Closing)] == []
        ends.add((tuple(said), socket.outgoing(), socket.open))
        socket.finish()
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("what", "stream", "code"),
    [
        ("an unmasked frame", frame(Opcode.TEXT, b"{}", masked=False), 1002),
        ("a reserved bit", masked(0xA1, 0), 1002),
        ("a compressed frame where nothing was agreed", masked(0xC1, 0), 1002),
        ("a reserved opcode", masked(0x83, 0), 1002),
        ("a reserved control opcode", masked(0x8B, 0), 1002),
        ("a ping in fragments", masked(0x09, 0), 1002),
        ("a ping of 126 bytes", masked(0x89, 126, b""), 1002),
        ("a continuation of nothing", frame(Opcode.CONT, b"a"), 1002),
        ("a message within a message", frame(Opcode.TEXT, b"a", fin=False) + text(b"b"), 1002),
        ("a goodbye of one byte", masked(0x88, 1, b"\x03"), 1002),
        ("a goodbye with a code that nobody may send", masked(0x88, 2, b"\x03\xed"), 1002),
        ("a goodbye whose reason is no text", masked(0x88, 3, b"\x03\xe8\xff"), 1007),
        ("a goodbye within a message", frame(Opcode.TEXT, b"a", fin=False) + masked(0x88, 2, b"\x03\xe8"), 1002),
        ("a message past the limit", text(b"x" * (LIMIT + 1)), 1009),
        ("fragments past the limit", frame(Opcode.TEXT, b"x" * 600, fin=False) + frame(Opcode.CONT, b"x" * 600), 1009),
        ("a frame that announces an exabyte", bytes([0x81, 0xFF]) + b"\x10" + bytes(7), 1009),
    ],
)
def test_what_no_client_may_send_is_answered_with_the_code_that_says_why(what: str, stream: bytes, code: int):
    if what == "a ping of 126 bytes":
        stream = bytes([0x89, 0xFE, 0, 126, 0, 0, 0, 0]) + bytes(126)
    socket = opened()
    fed(socket, [stream])
    assert socket.finished
    assert end_of(socket) == code
    assert socket.feed(text(b"more")) == []  # nothing is listened to any more


def test_a_goodbye_is_answered_with_the_same_and_is_the_last():
    socket = opened()
    said = socket.feed(text(b"a") + masked(0x88, 5, b"\x0f\xa0bye") + text(b"b"))
    assert said == [b"a", Closing(4000, "bye")]
    assert sent(socket.outgoing()) == [(Opcode.CLOSE, b"\x0f\xa0bye")]
    assert socket.finished
    assert not socket.open


def test_a_goodbye_without_a_code_is_known_as_that():
    socket = opened()
    assert socket.feed(masked(0x88, 0)) == [Closing(UNSAID)]
    assert sent(socket.outgoing()) == [(Opcode.CLOSE, b"")]


def test_after_our_goodbye_the_clients_is_waited_for():
    socket = opened()
    socket.close(1012, "é" * 100)
    assert not socket.open
    [(opcode, data)] = sent(socket.outgoing())
    assert (opcode, data) == (Opcode.CLOSE, b"\x03\xf4" + ("é" * 61).encode())  # as much as there is room for
    assert not socket.finished
    assert socket.feed(frame(Opcode.CLOSE, b"\x03\xf4")) == [Closing(1012)]
    assert socket.finished


def deflated(data: bytes, **settings: Any) -> bytes:
    encoder = zlib.compressobj(wbits=-15, **settings)
    return (encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


DEFLATE = {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"}


@bounded
@given(st.lists(st.binary(max_size=LIMIT), max_size=4), CUTS)
def test_compressed_messages_are_read_and_none_is_sent(
    cut: Callable[..., list[bytes]], messages: list[bytes], cuts: list[int]
):
    socket = opened(**DEFLATE)
    stream = b"".join(frame_of(deflated(data), 0xC2) for data in messages)
    assert fed(socket, cut(stream, cuts)) == messages
    for data in messages:
        assert sent(socket.message(data)) == [(Opcode.TEXT, data)]


def frame_of(data: bytes, first: int = 0xC1) -> bytes:
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([first]) + size + bytes(4) + data


@pytest.mark.parametrize("size", [LIMIT + 1, 50_000, 100_000_000])
def test_a_bomb_is_not_unfolded_past_the_limit(size: int):
    socket = opened(**DEFLATE)
    bomb = deflated(b"\0" * size)[:60_000]
    assert socket.feed(frame_of(bomb[:LIMIT])) == []
    assert end_of(socket) == 1009


def test_damaged_deflate_is_an_error_of_protocol():
    socket = opened(**DEFLATE)
    assert socket.feed(frame_of(b"\xff" * 20)) == []
    assert end_of(socket) == 1002


def test_a_message_in_very_many_fragments_takes_no_more_than_its_bytes():
    socket = opened(100_000)
    socket.feed(frame(Opcode.TEXT, b"", fin=False))
    for _ in range(50_000):
        assert socket.feed(masked(0x00, 0)) == []
    assert socket._parts == b""


def test_a_connection_that_waits_holds_nothing_of_what_was_said(kept_bytes: Callable[[Callable[[], object]], int]):
    socket, message = opened(limit=1 << 24), text(b"x" * (8 << 20))
    assert kept_bytes(lambda: len(socket.feed(message))) < 1 << 20


def test_a_connection_that_is_lost_holds_nothing_of_what_was_begun(kept_bytes: Callable[[Callable[[], object]], int]):
    socket, begun = opened(limit=1 << 24), frame(Opcode.TEXT, b"x" * (8 << 20), fin=False)

    def lose() -> None:
        socket.feed(begun)
        socket.finish()

    assert kept_bytes(lose) < 1 << 20


@pytest.mark.parametrize(
    "stream",
    [b"", frame(Opcode.TEXT, b"x", fin=False), b"\xff" * 20, text(b"\xff"), frame(Opcode.CLOSE), b"\x81"],
    ids=["nothing", "begun", "no-frame", "no-text", "goodbye", "cut"],
)
def test_nothing_of_a_connection_is_left_to_the_collector(stream: bytes, left_to_collector: Callable[[], set[str]]):
    socket = opened()
    socket.feed(stream)
    socket.finish()
    del socket
    assert not left_to_collector() & {"Protocol", "ServerProtocol", "StreamReader"}


def test_the_answer_to_the_handshake_is_that_of_the_standard():
    _, lines = accept(head(), LIMIT, b"chat")
    told = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in lines}
    assert told == {
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-accept": b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455, 1.3
        b"sec-websocket-protocol": b"chat",
    }


def test_windows_are_forgotten_after_each_message():
    lines = accept(head(**DEFLATE), LIMIT, None)[1]
    [told] = [line for line in lines if line.lower().startswith(b"sec-websocket-extensions")]
    assert b"permessage-deflate; server_no_context_takeover; client_no_context_takeover" in told


@pytest.mark.parametrize(
    "fields",
    [
        {"sec_websocket_key": "short"},
        {"sec_websocket_key": ""},
        {"sec_websocket_extensions": ";;="},
        {"connection": "keep-alive"},
    ],
)
def test_what_is_no_handshake_is_refused(fields: dict[str, str], left_to_collector: Callable[[], set[str]]):
    with pytest.raises(MalformedRequest, match="no WebSocket handshake"):
        accept(head(**fields), LIMIT, None)
    assert "ServerProtocol" not in left_to_collector()


@pytest.mark.parametrize("version", ["8", "", "13, 8", "14"])
def test_another_version_is_refused_with_the_one_that_is_spoken(version: str):
    with pytest.raises(WebSocketVersionNotSupported) as found:
        accept(head(sec_websocket_version=version), LIMIT, None)
    assert found.value.lines == b"Sec-WebSocket-Version: 13\r\n"


def dialled(server_limit: int = LIMIT, **headers: str) -> tuple[WebSocket, WebSocket]:
    """Both ends of a connection."""
    client = WebSocket.dial("ws://a:1/path?query", [*headers.items()], LIMIT)
    reader = RequestReader(65_536, 100)
    [request, _] = reader.feed(client.outgoing())
    assert isinstance(request, RequestHead)
    assert request.target == b"/path?query"
    server, lines = accept(request, server_limit, None)
    assert client.feed(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % b"".join(lines)) == []
    assert (client.open, client.refusal) == (True, "")
    return server, client


def test_both_ends_understand_each_other():
    server, client = dialled()
    assert server.feed(client.message(b"one") + client.message(b"two") + frame(Opcode.PING, b"p")) == [b"one", b"two"]
    assert client.feed(server.outgoing()) == []  # a pong, of which nobody is told
    client.close(4001, "done")
    assert server.feed(client.outgoing()) == [Closing(4001, "done")]
    assert client.feed(server.outgoing()) == [Closing(4001, "done")]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_a_servers_frame_is_the_one_that_the_library_makes(size: int):
    assert opened().message(b"x" * size) == frame(Opcode.TEXT, b"x" * size, masked=False)


def test_a_client_knows_why_it_was_refused():
    client = WebSocket.dial("ws://a/", [("cf-aig-authorization", "t")], LIMIT)
    assert b"\r\ncf-aig-authorization: t\r\n" in client.outgoing()
    assert client.feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}") == []
    assert (client.open, client.refusal) == (False, "HTTP 401: {}")
    with pytest.raises(ValueError):
        WebSocket.dial("http://a/", [], LIMIT)
