"""The opening handshake, both sides of it, over the codec of HTTP."""

import re
from collections.abc import Callable

import pytest
from websockets.utils import accept_key

from sluice.values.errors import MalformedRequest, UpstreamBroken
from sluice.wire.events import ReplyHead, RequestHead
from sluice.wire.handshake import Offer, acceptance
from sluice.wire.http1 import ReplyReader, RequestReader


def key_of(offer: Offer) -> str:
    found = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", offer.lines)
    assert found
    return found[1].decode()


def reply(offer: Offer, **changes: str | None) -> ReplyHead:
    """The reply of a server, accepting but for the changes."""
    fields: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_key(key_of(offer)),
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    reader = ReplyReader(10_000)
    reader.expect(b"GET", switches=True)
    head = reader.feed(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode())[0]
    assert isinstance(head, ReplyHead)
    return head


def request(lines: bytes) -> RequestHead:
    head = RequestReader(10_000, 100).feed(b"GET /chat HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n")[0]
    assert isinstance(head, RequestHead)
    return head


def test_an_offer_is_what_a_server_accepts():
    offer = Offer(["realtime", "token.with-dots"])
    head = request(offer.lines)
    assert head.upgrade
    assert head.fields[b"sec-websocket-protocol"] == b"realtime, token.with-dots"
    answer = b"".join(acceptance(head, b"realtime"))
    reader = ReplyReader(10_000)
    reader.expect(b"GET", switches=True)
    accepted = reader.feed(b"HTTP/1.1 101 Switching Protocols\r\n" + answer + b"\r\n\x81\x00")[0]
    assert isinstance(accepted, ReplyHead)
    assert (offer.accepted(accepted), reader.rest) == ("realtime", b"\x81\x00")


def test_nothing_of_an_offer_is_left_to_the_collector(left_to_collector: Callable[[], set[str]]):
    offer = Offer(["chat"])
    assert offer.accepted(reply(offer, sec_websocket_protocol="chat")) == "chat"
    del offer
    assert "ClientProtocol" not in left_to_collector()


def test_nothing_is_chosen_where_nothing_was_offered():
    offer = Offer([])
    assert b"Protocol" not in offer.lines
    assert offer.accepted(reply(offer)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"Sec_WebSocket_Accept": "c29tZXRoaW5nIGVsc2UgaGVyZQ=="},
        {"Sec_WebSocket_Accept": None},
        {"Upgrade": "h2c"},
        {"Sec_WebSocket_Protocol": "never-offered"},
        {"Sec_WebSocket_Protocol": "realtime, token"},
        {"Sec_WebSocket_Extensions": "permessage-deflate"},
    ],
)
def test_a_reply_that_accepts_something_else_is_no_acceptance(changes: dict[str, str | None]):
    offer = Offer(["realtime", "token"])
    with pytest.raises(UpstreamBroken):
        offer.accepted(reply(offer, **changes))


def test_no_extension_is_agreed_to():
    head = request(Offer([]).lines + b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert b"extensions" not in b"".join(acceptance(head)).lower()


@pytest.mark.parametrize(
    "lines",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: "
        b"dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
def test_a_request_that_is_no_handshake_is_refused(lines: bytes):
    with pytest.raises(MalformedRequest):
        acceptance(request(lines))


@pytest.mark.parametrize("cut", [1, 40, 60, 1000])
def test_what_follows_a_switch_is_left_to_others(cut: int):
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    reader = ReplyReader(10_000)
    reader.expect(b"GET", switches=True)
    events = [*reader.feed(data[:cut]), *reader.feed(data[cut:] + b"\x81\x02hi")]
    assert [type(event).__name__ for event in events] == ["ReplyHead", "EndOfMessage"]
    assert (reader.rest, reader.ended, reader.fault, reader.reusable) == (b"\x81\x02hi", True, None, False)


def test_a_switch_that_nobody_asked_for_is_a_fault():
    reader = ReplyReader(10_000)
    reader.expect(b"GET")
    reader.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert (reader.rest, isinstance(reader.fault, UpstreamBroken)) == (None, True)


def test_a_refusal_is_an_ordinary_reply():
    reader = ReplyReader(10_000)
    reader.expect(b"GET", switches=True)
    events = reader.feed(b"HTTP/1.1 403 Forbidden\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno")
    assert events[1:2] == [b"no"]
    assert (reader.ended, reader.rest, reader.reusable) == (True, None, True)
