"""What valid streams mean: every stream is made from the events it stands for, so that both can be compared."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.wire.events import END, ReplyHead, RequestHead
from sluice.wire.http1 import Header, ReplyReader, RequestReader
from sluice.wire.lines import CONTINUE, LAST_CHUNK, chunk, field, is_safe_value, status_line

bounded = settings(max_examples=200, deadline=None, database=None)

CUTS = st.lists(st.integers(0, 5000), max_size=12)
BODIES = st.binary(max_size=200)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from("\xa0\xff"), max_size=12).map(
    lambda text: text.encode("latin-1")
)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="q\\";"', b";a;b=c"])
SPACES = st.sampled_from([b"", b" ", b"\t", b"  \t "])
CLOSING = st.sampled_from([b"close", b"Close", b"x, close"])


class Made(NamedTuple):
    """A stretch of a stream, the events it means, and whether the connection lives on after it."""

    stream: bytes
    events: list[Any]
    keeps: bool


class Body(NamedTuple):
    """A body as sent, the header that frames it, and what it says."""

    framing: list[Header]
    sent: bytes
    body: bytes
    length: int | None


def fields(headers: list[Header]) -> dict[bytes, bytes]:
    return {lower: value for lower, _, value in headers}


def header(name: bytes, value: bytes) -> Header:
    return (name.lower(), name, value)


NO_BODY = Body([], b"", b"", 0)
HEADERS = st.lists(
    st.builds(
        header, st.sampled_from([b"Accept", b"x-y", b"X_y", b"COOKIE", b"cf-aig-metadata", b"~!#$%&'*+-.^`|"]), VALUES
    ),
    max_size=4,
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> Body:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5))
    sent = b""
    for piece in pieces:
        digits = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"00000000000000000000%x"])) % len(piece)
        sent += b"%b%b\r\n%b\r\n" % (digits, draw(EXTENSIONS), piece)
    trailers = b"".join(b"%b: %b\r\n" % (name, value) for _, name, value in draw(HEADERS))
    sent += b"0%b\r\n%b\r\n" % (draw(EXTENSIONS), trailers)
    name = header(b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))
    return Body([name], sent, b"".join(pieces), None)


def counted(body: bytes) -> Body:
    return Body([header(b"Content-Length", b"%d" % len(body))], body, body, len(body))


@st.composite
def heads(draw: st.DrawFn, first: bytes, headers: list[Header]) -> bytes:
    for lower, name, value in headers:
        after = draw(SPACES) if lower != b"transfer-encoding" else b"  "  # llhttp takes no tab there
        first += b"%b:%b%b%b\r\n" % (name, draw(SPACES), value, after)
    return first + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> Made:
    http11 = draw(st.integers(0, 3)) > 0
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"QUERY"]))
    target = draw(st.sampled_from([b"/", b"*", b"/v1/a/b?c=d&e=%20", b"http://a.b/c", b"/\"<>\\^`{|}~;,!'()"]))
    body = draw(st.just(NO_BODY) | BODIES.map(counted) | (chunked_bodies() if http11 else st.nothing()))
    headers = draw(HEADERS) + body.framing
    if http11 or draw(st.booleans()):
        headers.append(header(b"Host", draw(st.sampled_from([b"a.example", b"127.0.0.1:8787", b"[::1]:80", b""]))))
    expects = draw(st.booleans())
    if expects:
        headers.append(header(b"Expect", b"100-Continue"))
    said = draw(st.none() | CLOSING | st.sampled_from([b"keep-alive", b"Keep-Alive, x"]))
    if said is not None:
        headers.append(header(b"Connection", said))
    keeps = http11 if said is None else b"close" not in said.lower()
    headers = draw(st.permutations(headers))
    blank = draw(st.sampled_from([b"", b"", b"\r\n"]))
    start = b"%b%b %b HTTP/1.%d\r\n" % (blank, method, target, http11)
    ignored = draw(st.sampled_from([[], [header(b"Upgrade", b"h2c")]]))
    if ignored and said is None:
        headers = [header(b"Connection", b"Upgrade, HTTP2-Settings"), *headers]
    head = RequestHead(method, target, headers, fields(headers), body.length, keeps, http11, expects and http11, False)
    if ignored and said is not None:  # without Connection: Upgrade it is a header like any other
        head = RequestHead(
            method,
            target,
            headers + ignored,
            fields(headers + ignored),
            body.length,
            keeps,
            http11,
            expects and http11,
            False,
        )
    events = [head, body.body, END] if body.body else [head, END]
    return Made(draw(heads(start, headers + ignored)) + body.sent, events, keeps)


@st.composite
def upgrades(draw: st.DrawFn) -> tuple[bytes, RequestHead]:
    headers = draw(
        st.permutations(
            [header(b"Host", b"a"), header(b"Connection", b"keep-alive, Upgrade"), header(b"Upgrade", b"WebSocket")]
        )
    )
    return draw(heads(b"GET /ws HTTP/1.1\r\n", headers)), RequestHead(
        b"GET", b"/ws", headers, fields(headers), 0, True, True, False, True
    )


@bounded
@given(st.lists(requests(), max_size=5), CUTS)
def test_requests_are_read_as_they_were_made_however_the_stream_is_cut(
    read_requests: Callable[..., Any], cut: Callable[..., list[bytes]], made: list[Made], cuts: list[int]
) -> None:
    events: list[Any] = []
    for request in made:
        events += request.events
        if not request.keeps:
            break
    stream = b"".join(request.stream for request in made)
    assert read_requests([stream]) == (events, None, None)
    assert read_requests(cut(stream, cuts)) == (events, None, None)
    assert read_requests(cut(stream, range(len(stream)))) == (events, None, None)


@bounded
@given(st.lists(requests().filter(lambda request: request.keeps), max_size=2), upgrades(), BODIES, CUTS)
def test_all_that_follows_a_websocket_upgrade_is_its_rest(
    read_requests: Callable[..., Any],
    cut: Callable[..., list[bytes]],
    made: list[Made],
    upgrade: tuple[bytes, RequestHead],
    rest: bytes,
    cuts: list[int],
) -> None:
    stream = b"".join(request.stream for request in made) + upgrade[0] + rest
    events = [event for request in made for event in request.events] + [upgrade[1], END]
    assert read_requests([stream]) == (events, None, rest)
    assert read_requests(cut(stream, cuts)) == (events, None, rest)
    assert read_requests(cut(stream, range(len(stream)))) == (events, None, rest)


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Made]:
    """A method and the reply to it; `keeps` is false also where only the end of the connection ends the body."""
    http11 = draw(st.integers(0, 3)) > 0
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD"]))
    status = draw(st.sampled_from([200, 200, 201, 204, 304, 404, 429, 500, 999]))
    until_close = Body([], bytes(draw(BODIES)), b"", None)
    body = draw(st.just(until_close) | BODIES.map(counted) | (chunked_bodies() if http11 else st.nothing()))
    sent, said_body = body.sent, body.sent if body.length is None and not body.framing else body.body
    empty = method == b"HEAD" or status in (204, 304)
    if empty:
        sent = said_body = b""
    headers = draw(HEADERS) + body.framing
    said = draw(st.none() | CLOSING | st.just(b"keep-alive"))
    if said is not None:
        headers.append(header(b"Connection", said))
    keeps = http11 if said is None else b"close" not in said.lower()
    keeps = keeps and (bool(body.framing) or status in (204, 304))
    keeps = keeps and not (method == b"HEAD" and body.length is None and body.framing)  # may have sent chunks, unseen
    headers = draw(st.permutations(headers))
    reason = draw(st.sampled_from([b"", b"OK", b"Not \xe9 a reason"]))
    interim = b"".join(
        draw(st.lists(st.sampled_from([CONTINUE, b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"]), max_size=2))
    )
    stream = interim + draw(heads(b"HTTP/1.%d %d %b\r\n" % (http11, status, reason), headers)) + sent
    events: list[Any] = [ReplyHead(status, reason, headers, fields(headers), body.length)]
    return method, Made(stream, [*events, said_body, END] if said_body else [*events, END], keeps)


@bounded
@given(st.lists(replies(), min_size=1, max_size=5), CUTS)
def test_replies_are_read_as_they_were_made_however_the_stream_is_cut(
    read_replies: Callable[..., Any],
    cut: Callable[..., list[bytes]],
    made: list[tuple[bytes, Made]],
    cuts: list[int],
) -> None:
    last = next((i for i, (_, reply) in enumerate(made) if not reply.keeps), len(made) - 1)
    made = made[: last + 1]
    expected = ([event for _, reply in made for event in reply.events], False, made[-1][1].keeps)
    assert read_replies([(method, [reply.stream]) for method, reply in made]) == expected
    assert read_replies([(method, cut(reply.stream, cuts)) for method, reply in made]) == expected
    each_byte = [(method, cut(reply.stream, range(len(reply.stream)))) for method, reply in made]
    assert read_replies(each_byte) == expected


@bounded
@given(replies(), st.integers(0, 5000))
def test_a_reply_cut_short_never_ends(read_replies: Callable[..., Any], made: tuple[bytes, Made], place: int) -> None:
    method, reply = made
    short = reply.stream[: place % len(reply.stream)]
    read = read_replies([(method, [short])])
    if END in read.events:  # what ends with the connection cannot be told from what is whole
        head = read.events[0]
        assert isinstance(head, ReplyHead)
        assert head.length is None
        assert not reply.keeps
    else:
        assert read.faulty


@bounded
@given(replies(), st.binary(min_size=1, max_size=20).filter(lambda data: data.strip(b"\r\n")))
def test_bytes_after_a_reply_spoil_its_connection(made: tuple[bytes, Made], surplus: bytes) -> None:
    method, reply = made
    for pieces in ([reply.stream + surplus], [reply.stream, surplus]):
        reader = ReplyReader(65536)
        reader.expect(method)
        events = [event for piece in pieces for event in reader.feed(piece)]
        assert not reader.reusable
        if reply.keeps:
            assert events[-1] is END
            assert b"".join(event for event in events if isinstance(event, bytes)) == b"".join(
                event for event in reply.events if isinstance(event, bytes)
            )


@bounded
@given(
    st.sampled_from([200, 204, 404, 431, 505, 599]),
    st.none() | st.sampled_from([b"", b"A reason"]),
    HEADERS,
    st.lists(st.binary(min_size=1, max_size=50), max_size=4),
)
def test_what_the_serialisers_write_the_readers_read(
    status: int, reason: bytes | None, headers: list[Header], pieces: list[bytes]
) -> None:
    framing = [header(b"Transfer-Encoding", b"chunked"), header(b"Host", b"a")]
    lines = b"".join(field(name, value) for _, name, value in headers + framing) + b"\r\n"
    body = b"".join(map(chunk, pieces)) + LAST_CHUNK
    reply = ReplyReader(65536)
    reply.expect(b"GET")
    head, *came = reply.feed(CONTINUE + status_line(status, reason) + lines + (b"" if status == 204 else body))
    assert isinstance(head, ReplyHead)
    assert (head.status, head.headers) == (status, headers + framing)
    assert reason is None or head.reason == reason
    assert came == ([END] if status == 204 else [*pieces, END])
    assert reply.reusable
    request = RequestReader(65536, 100)
    asked, *came = request.feed(b"POST / HTTP/1.1\r\n" + lines + body)
    assert isinstance(asked, RequestHead)
    assert asked.headers == headers + framing
    assert came == [*pieces, END]


@pytest.mark.parametrize("status", [200, 400, 404, 431, 502, 505])
def test_a_status_line_has_the_standard_reason_where_none_is_given(status: int) -> None:
    reader = ReplyReader(65536)
    reader.expect(b"HEAD")
    head = reader.feed(status_line(status) + b"\r\n")[0]
    assert isinstance(head, ReplyHead)
    assert head.status == status
    assert head.reason


@bounded
@given(st.binary(max_size=20) | VALUES)
def test_a_safe_value_is_one_that_arrives_as_itself(value: bytes) -> None:
    reader = RequestReader(65536, 100)
    events = reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + field(b"X", value) + b"\r\n")
    alone = [header(b"Host", b"a"), header(b"X", value.strip(b" \t"))]
    came = [event.headers for event in events if isinstance(event, RequestHead)]
    assert is_safe_value(value) == (came == [alone])


def test_the_next_reply_is_awaited_only_once_asked_for() -> None:
    reader = ReplyReader(65536)
    assert (reader.ended, reader.started, reader.reusable) == (True, False, False)
    reader.expect(b"GET")
    assert (reader.ended, reader.started, reader.reusable) == (False, False, False)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
    assert (reader.ended, reader.started, reader.reusable) == (False, True, False)
    reader.feed(b"a")
    assert (reader.ended, reader.started, reader.reusable) == (True, True, True)
    reader.expect(b"GET")
    assert (reader.ended, reader.started, reader.reusable) == (False, False, False)


def test_a_connection_that_closes_before_its_reply_leaves_a_fault_and_no_event() -> None:
    reader = ReplyReader(65536)
    assert reader.finish() == []
    assert reader.fault is None
    reader.expect(b"GET")
    assert reader.finish() == []
    assert reader.fault is not None


def test_requests_after_one_that_asks_to_close_are_dropped(read_requests: Callable[..., Any]) -> None:
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for after in (last, b"\x00 no HTTP", b"\r\n"):
        assert read_requests([last + after]) == read_requests([last, after]) == read_requests([last])
