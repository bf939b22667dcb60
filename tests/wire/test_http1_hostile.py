"""What is not HTTP, or means to be read in two ways: each is a fault, however it is cut, and nothing comes after it."""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.values.errors import (
    GatewayError,
    HeadTooLarge,
    MalformedRequest,
    UnsupportedEncoding,
    UnsupportedVersion,
)
from sluice.wire.events import END, EndOfMessage, ReplyHead, RequestHead
from sluice.wire.http1 import ReplyReader, RequestReader
from sluice.wire.lines import chunk, field

bounded = settings(max_examples=300, deadline=None, database=None)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
OK_CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

BAD_FIELDS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "one length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": b"Content-Length: 2, 2\r\n\r\nab",
    "a length with a sign": b"Content-Length: +2\r\n\r\nab",
    "a negative length": b"Content-Length: -2\r\n\r\nab",
    "a length in hex": b"Content-Length: 0x2\r\n\r\nab",
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\nab",
    "a length in two words": b"Content-Length: 2 2\r\n\r\nab",
    "an empty length": b"Content-Length:\r\n\r\n",
    "a length past 64 bits": b"Content-Length: 18446744073709551616\r\n\r\nab",
    "a length of 5000 digits": b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\nab",
    "a coding, then a length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "a length, then a coding": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length of zero and a coding": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice in two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty coding": b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "a folded header": b"X: a\r\n b\r\n\r\n",
    "a folded length": b"Content-Length:\r\n 3\r\n\r\nabc",
    "a folded coding": b"Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    "a first header that is folded": b" X: a\r\n\r\n",
    "a bare LF after a header": b"X: a\nY: b\r\n\r\n",
    "a bare LF for the empty line": b"X: a\r\n\n",
    "a bare CR in a value": b"X: a\rY: b\r\n\r\n",
    "a bare CR for the empty line": b"X: a\r\n\rY: b\r\n\r\n",
    "a NUL in a value": b"X: a\x00b\r\n\r\n",
    "a control character in a value": b"X: a\x01b\r\n\r\n",
    "a DEL in a value": b"X: a\x7fb\r\n\r\n",
    "a vertical tab before a coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a NUL in a name": b"X\x00: a\r\n\r\n",
    "a byte past ASCII in a name": b"X\xe9: a\r\n\r\n",
    "a space before the colon": b"X : a\r\n\r\n",
    "a tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "no name": b": a\r\n\r\n",
    "no colon": b"abc\r\n\r\n",
}
BAD_CODINGS = {
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted": b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked and a next-line": b"Transfer-Encoding: chunked\x85\r\n\r\n0\r\n\r\n",
    "chunked and a tab, which llhttp does not take for chunked": b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
}
BAD_CHUNKS = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "no digit": b"g\r\nabc\r\n0\r\n\r\n",
    "a sign": b"-1\r\nabc\r\n0\r\n\r\n",
    "0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "a space after": b"3 \r\nabc\r\n0\r\n\r\n",
    "an underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "a bare CR after the size": b"3\rabc\r\n0\r\n\r\n",
    "past 64 bits": b"10000000000000000\r\nabc\r\n0\r\n\r\n",
    "far past 64 bits": b"fffffffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
    "a bare LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a NUL in an extension": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
    "a bare CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "nothing after the data": b"3\r\nabc0\r\n\r\n",
    "a bare CR after the data": b"3\r\nabc\r0\r\n\r\n",
    "more data than said": b"3\r\nabcd\r\n0\r\n\r\n",
    "less data than said": b"3\r\nab\r\n0\r\n\r\n",
    "a bare LF after the last size": b"3\r\nabc\r\n0\n\r\n",
    "a bare LF for the end": b"3\r\nabc\r\n0\r\n\n",
    "a folded trailer": b"3\r\nabc\r\n0\r\nT: v\r\n w\r\n\r\n",
    "a space before a trailer's colon": b"3\r\nabc\r\n0\r\nT : v\r\n\r\n",
    "a length for a trailer": b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding for a trailer": b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
}
BAD_STARTS = {
    "bare LFs": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare CR after the version": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a version in lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "a version that is none": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an unknown method": b"GRAB / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the target": b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
    "a form feed in the target": b"GET /a\x0cb HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL in the target": b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a DEL in the target": b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n",
    "UTF-8 in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no UTF-8 in the target": b"GET /\xff?\xc3 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative target": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in 1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "two Hosts in one": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a path in the Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a user in the Host": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a byte past ASCII in the Host": b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nabc",
    "CONNECT with a body": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "CONNECT to a websocket": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
BAD_VERSIONS = {
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9 unsaid": b"GET /\r\n\r\n",
    "HTTP/0.9 said": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
}
BAD_REQUESTS = (
    [(what, GET + rest, MalformedRequest) for what, rest in BAD_FIELDS.items()]
    + [(what, GET + rest, UnsupportedEncoding) for what, rest in BAD_CODINGS.items()]
    + [(f"chunks: {what}", CHUNKED + rest, MalformedRequest) for what, rest in BAD_CHUNKS.items()]
    + [(what, stream, MalformedRequest) for what, stream in BAD_STARTS.items()]
    + [(what, stream, UnsupportedVersion) for what, stream in BAD_VERSIONS.items()]
)
BAD_REPLIES = (
    [(what, OK + rest) for what, rest in (BAD_FIELDS | BAD_CODINGS).items()]
    + [(f"chunks: {what}", OK_CHUNKED + rest) for what, rest in BAD_CHUNKS.items() if "coding" not in what]
    + [
        ("bare LFs", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status below 100", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a NUL in the reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n"),
        ("a bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
        ("no HTTP", b"ICY 200 OK\r\n\r\n"),
        ("a request", GET + b"\r\n"),
        ("an upgrade", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + OK + b"\r\n"),
        ("an upgrade to nothing", b"HTTP/1.1 101 S\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
        ("an interim reply with a length", b"HTTP/1.1 104 E\r\nContent-Length: 3\r\n\r\nabc" + OK + b"\r\n"),
        (
            "an interim reply with chunks",
            b"HTTP/1.1 104 E\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + OK,
        ),
        ("100 with a length", b"HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\n" + OK + b"\r\n"),
    ]
)


def named(cases: list[Any]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case[0] for case in cases])


def every_cut(stream: bytes) -> Iterator[list[bytes]]:
    """In one, in single bytes, in two at every place (of a long stream, near its ends)."""
    yield [stream]
    yield [stream[i : i + 1] for i in range(len(stream))]
    for place in range(1, len(stream)):
        if place < 150 or len(stream) - place < 150:
            yield [stream[:place], stream[place:]]


@named(BAD_REQUESTS)
def test_a_malformed_request_is_one_fault_however_it_is_cut(
    read_requests: Callable[..., Any], case: tuple[str, bytes, type[GatewayError]]
) -> None:
    _, stream, fault = case
    whole = read_requests([stream])
    assert whole.fault is fault
    assert END not in whole.events
    for pieces in every_cut(stream):
        assert read_requests(pieces) == whole


@named(BAD_REQUESTS)
def test_the_fault_of_a_second_request_stands_after_the_events_of_the_first(
    read_requests: Callable[..., Any], case: tuple[str, bytes, type[GatewayError]]
) -> None:
    _, stream, fault = case
    read = read_requests([CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + stream])
    assert read.fault is fault
    assert read.events[1:3] == [b"abc", END]
    assert END not in read.events[3:]


@named(BAD_REPLIES)
def test_a_malformed_reply_is_a_fault_however_it_is_cut(
    read_replies: Callable[..., Any], case: tuple[str, bytes]
) -> None:
    whole = read_replies([(b"GET", [case[1]])], closed=False)
    assert whole.faulty
    assert END not in whole.events
    for pieces in every_cut(case[1]):
        assert read_replies([(b"GET", pieces)], closed=False) == whole


@pytest.mark.parametrize("stream", [CHUNKED + b"1\r\na\r\nX", GET + b"X: \x00\r\n\r\n"])
def test_a_reader_gives_nothing_after_its_fault(stream: bytes) -> None:
    request, reply = RequestReader(65536, 100), ReplyReader(65536)
    reply.expect(b"GET")
    for reader, first in ((request, stream), (reply, stream.replace(GET, OK))):
        reader.feed(first)
        fault = reader.fault
        assert fault is not None
        assert reader.feed(b"a\r\n0\r\n\r\n" + GET + b"\r\n") == []
        assert reader.fault is fault
    assert not reply.reusable


def test_a_head_of_exactly_the_limit_passes_and_one_byte_more_does_not(read_requests: Callable[..., Any]) -> None:
    for surplus, fault in ((0, None), (1, HeadTooLarge)):
        fields = field(b"Host", b"a") + field(b"X", b"v" * (200 - 9 - 5 - len(b"/") + surplus))
        stream = b"GET / HTTP/1.1\r\n" + fields + b"\r\n"
        for pieces in every_cut(stream):
            assert read_requests(pieces, head_bytes=200).fault is fault


def test_a_head_may_begin_in_the_read_that_ends_another_and_is_measured_whole(
    read_requests: Callable[..., Any],
) -> None:
    small, large = GET + b"\r\n", GET + field(b"X", b"v" * 200) + b"\r\n"
    for pieces in every_cut(small + large):
        read = read_requests(pieces, head_bytes=200)
        assert read.events[1:] == [END]
        assert read.fault is HeadTooLarge


def test_more_headers_than_allowed_are_refused(read_requests: Callable[..., Any]) -> None:
    for count, fault in ((9, None), (10, HeadTooLarge)):
        stream = GET + b"X: a\r\n" * count + b"\r\n"
        for pieces in every_cut(stream):
            assert read_requests(pieces, most_headers=10).fault is fault


def test_of_a_flood_of_headers_no_more_is_kept_than_it_takes_to_refuse_it() -> None:
    line = b"a:\r\n"
    for reader, start in (
        (RequestReader(64 * 1024, 100), b"GET / HTTP/1.1\r\nHost: a\r\n"),
        (ReplyReader(1024), b"HTTP/1.1 200 OK\r\n"),
    ):
        if isinstance(reader, ReplyReader):
            reader.expect(b"GET")
        tracemalloc.start()
        reader.feed(start + line * 200_000)
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
        tracemalloc.stop()
        reader.feed(b"\r\n")
        assert reader.fault is not None


@pytest.mark.parametrize(
    ("count", "size", "fault"), [(100, 600, None), (101, 1, HeadTooLarge), (150, 600, HeadTooLarge)]
)
def test_trailers_are_bounded_as_a_head_is(
    read_requests: Callable[..., Any], count: int, size: int, fault: type[Exception] | None
) -> None:
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert read_requests([start + b"t: %b\r\n" % (b"x" * size) * count + b"\r\n"]).fault is fault


def test_a_reply_head_past_the_limit_is_refused(read_replies: Callable[..., Any]) -> None:
    stream = OK + field(b"X", b"v" * 300) + b"Content-Length: 0\r\n\r\n"
    for pieces in every_cut(stream):
        read = read_replies([(b"GET", pieces)], closed=False, head_bytes=200)
        assert read.faulty
        assert read.events == []


ENDLESS = {
    "a method": (b"", b"GET"),
    "a target": (b"GET /", b"a"),
    "empty lines": (b"", b"\r\n"),
    "headers": (GET, b"X: abcdefgh\r\n"),
    "headers without values": (GET, b"X:\r\n"),
    "a name": (GET, b"x"),
    "a value": (GET + b"X: a", b"b"),
    "white space": (GET + b"X:", b" "),
    "an extension": (CHUNKED + b"3;a=", b"b"),
    "extensions": (CHUNKED + b"3", b";a=b"),
    "zeros of a chunk size": (CHUNKED, b"0"),
    "zeros of a length": (GET + b"Content-Length: ", b"0"),
    "trailers": (CHUNKED + b"0\r\n", b"T: v\r\n"),
    "a trailer": (CHUNKED + b"0\r\nT: ", b"v"),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("step", [1, 100, 4096])
def test_what_never_ends_is_refused_near_the_limit_in_bounded_memory(what: str, step: int) -> None:
    first, more = ENDLESS[what]
    reader = RequestReader(8192, 100)
    tracemalloc.start()
    reader.feed(first)
    fed = 0
    while reader.fault is None and fed < 20_000:
        piece = (more * step)[:step] if len(more) < step else more
        reader.feed(piece)
        fed += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(reader.fault, MalformedRequest)
    assert fed <= 8192 + 4096 + 1024
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("first", "more"), [(b"", b"\r\n"), (OK, b"X: a\r\n"), (OK, b"x"), (b"", b"HTTP/1.1 103 E\r\n\r\n")]
)
def test_a_reply_that_never_comes_to_its_body_is_refused(first: bytes, more: bytes) -> None:
    reader = ReplyReader(8192)
    reader.expect(b"GET")
    reader.feed(first)
    for piece in repeat(more, 20_000 // len(more)):
        assert reader.feed(piece) == []
    assert reader.fault is not None


def test_any_number_of_ignored_upgrades_may_come_in_one_read() -> None:
    stream = (GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n") * 5000
    reader = RequestReader(65536, 100)
    assert (len(reader.feed(stream)), reader.fault) == (10_000, None)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
def test_a_websocket_upgrade_with_a_body_is_an_ordinary_request(
    read_requests: Callable[..., Any], framing: bytes
) -> None:
    """Else its body would be taken for frames by us and for a body by a proxy before us."""
    stream = GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + framing + GET + b"\r\n"
    for pieces in every_cut(stream):
        read = read_requests(pieces)
        assert [event for event in read.events if not isinstance(event, RequestHead)] == [b"abc", END, END]
        assert not read.events[0].upgrade
        assert (read.fault, read.rest) == (None, None)


def test_an_upgrade_in_http_10_is_ignored(read_requests: Callable[..., Any]) -> None:
    for name in (b"h2c", b"websocket"):
        stream = b"POST / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: " + name + b"\r\nContent-Length: 3\r\n\r\nabc"
        for pieces in every_cut(stream):
            read = read_requests(pieces)
            head = read.events[0]
            assert (head.http11, head.upgrade, head.keep_alive) == (False, False, False)
            assert (read.events[1:], read.fault, read.rest) == ([b"abc", END], None, None)


def test_a_chunked_reply_in_http_10_is_read_and_its_connection_not_used_again(
    read_replies: Callable[..., Any],
) -> None:
    """RFC 9112, 6.1: who sends that may not know where its replies end."""
    stream = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    read = read_replies([(b"GET", [stream])])
    assert (read.events[1:], read.faulty, read.reusable) == ([b"a", END], False, False)


SEEDS = st.sampled_from(
    [
        GET + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n",
        CHUNKED + b"3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nT: v\r\n\r\n" + GET + b"Connection: close\r\n\r\n",
        GET + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na" + GET + b"\r\n",
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01a",
        b"\r\nPOST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab"
        + GET
        + b"Expect: 100-continue\r\n\r\n",
    ]
)
REPLY_SEEDS = st.sampled_from(
    [
        OK + b"Content-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 C\r\n\r\n" + OK_CHUNKED + b"3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nT: v\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabc",
        b"HTTP/1.1 204 N\r\nConnection: close\r\n\r\n",
    ]
)
NASTY = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b";",
    b"0",
    b"f",
    b"\xff",
    b"0\r\n\r\n",
    b"HTTP/1.1",
]
NASTY += [
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: upgrade\r\n",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 6), st.sampled_from(NASTY) | st.binary(max_size=3)), max_size=4
)
CUTS = st.lists(st.integers(0, 5000), max_size=12)


def edited(stream: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, deleted, inserted in edits:
        at = place % (len(stream) + 1)
        stream = stream[:at] + inserted + stream[at + deleted :]
    return stream


@st.composite
def mutated(draw: st.DrawFn, seeds: st.SearchStrategy[bytes]) -> bytes:
    return edited(draw(seeds), draw(EDITS))


def assert_each_byte_is_read_once(stream: bytes, events: list[Any]) -> None:
    """Every name, value and piece of a body stands in the stream after the one before it."""
    place = 0
    for token in chain.from_iterable(map(tokens, events)):
        found = stream.find(token, place)
        assert found >= 0, token
        place = found + len(token)


def tokens(event: RequestHead | ReplyHead | bytes | EndOfMessage) -> list[bytes]:
    if isinstance(event, bytes):
        return [event]
    if isinstance(event, EndOfMessage):
        return []
    first = [event.method, event.target] if isinstance(event, RequestHead) else [b"%03d" % event.status, event.reason]
    return first + [word for _, name, value in event.headers for word in (name, value)]


def rewritten(events: list[Any]) -> bytes:
    """The requests as Sluice would write them, each body framed as its head says."""
    out = b""
    chunked = False
    for event in events:
        if isinstance(event, RequestHead):
            chunked = event.length is None
            lines = b"".join(field(name, value) for _, name, value in event.headers)
            out += b"%b %b HTTP/1.%d\r\n%b\r\n" % (event.method, event.target, event.http11, lines)
        elif isinstance(event, bytes):
            out += chunk(event) if chunked else event
        elif chunked:
            out += b"0\r\n\r\n"
    return out


@bounded
@given(mutated(SEEDS) | st.binary(max_size=100), CUTS)
def test_any_bytes_are_read_as_one_thing_only(
    read_requests: Callable[..., Any], cut: Callable[..., list[bytes]], stream: bytes, cuts: list[int]
) -> None:
    whole = read_requests([stream])
    assert_each_byte_is_read_once(stream, RequestReader(65536, 100).feed(stream))
    assert whole.rest is None or stream.endswith(whole.rest)
    for pieces in (cut(stream, cuts), cut(stream, range(len(stream)))):
        read = read_requests(pieces)
        assert (read.events, read.rest) == (whole.events, whole.rest)
        assert (read.fault is None) == (whole.fault is None)
    again = read_requests([rewritten(whole.events)])
    assert (again.events, again.fault) == (whole.events, None)


@bounded
@given(st.sampled_from([b"GET", b"HEAD"]), mutated(REPLY_SEEDS) | st.binary(max_size=100), CUTS)
def test_any_bytes_of_a_reply_are_read_as_one_thing_only(
    read_replies: Callable[..., Any], cut: Callable[..., list[bytes]], method: bytes, stream: bytes, cuts: list[int]
) -> None:
    whole = read_replies([(method, [stream])])
    reader = ReplyReader(65536)
    reader.expect(method)
    assert_each_byte_is_read_once(stream, reader.feed(stream))
    heads = [event for event in whole.events if isinstance(event, ReplyHead)]
    assert whole.events[:1] == heads
    assert whole.events.count(END) == (not whole.faulty)
    for pieces in (cut(stream, cuts), cut(stream, range(len(stream)))):
        read = read_replies([(method, pieces)])
        assert (read.events, read.faulty) == (whole.events, whole.faulty)
        assert read.reusable <= whole.reusable  # an empty line after the end is seen only where it comes by itself
