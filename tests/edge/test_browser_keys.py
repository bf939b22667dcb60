"""Which subprotocols are headers in truth, and which are the provider's."""

import pytest

from sluice.edge.browser_keys import read_subprotocols, with_subprotocols
from sluice.values.request import Header

TOKEN = b"sluice_0123"


def offering(*values: bytes) -> list[Header]:
    return [(b"sec-websocket-protocol", b"Sec-WebSocket-Protocol", value) for value in values]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        (b"cf-aig-authorization.sluice_0123", b"cf-aig-authorization", b"sluice_0123"),
        (b"CF-AIG-Authorization.any.thing", b"cf-aig-authorization", b"any.thing"),
        (b"cf-aig-collect-log.false", b"cf-aig-collect-log", b"false"),
        (b"xi-api-key.k", b"xi-api-key", b"k"),
        (b"x-api-key.k", b"x-api-key", b"k"),
        (b"fal-api-key.k:s", b"authorization", b"Key k:s"),
        (b"authorization.k", b"authorization", b"Bearer k"),
        (b"openai-insecure-api-key.sluice_0123", b"cf-aig-authorization", TOKEN),
        (b"sluice_0123", b"cf-aig-authorization", TOKEN),
    ],
)
def test_a_subprotocol_that_is_a_header(text: bytes, name: bytes, value: bytes):
    found = read_subprotocols(offering(b"realtime, " + text))
    assert found.headers == [(name, name, value)]
    assert (found.subprotocols, found.echo) == (["realtime"], text)


@pytest.mark.parametrize(
    "text",
    [
        b"realtime",
        b"openai-insecure-api-key.sk-1",
        b"openai-beta.realtime-v1",
        b"token",
        b"xi-api-key",
        b"not_sluice_x",
        b"v1.2",
    ],
)
def test_a_subprotocol_that_is_the_providers(text: bytes):
    found = read_subprotocols(offering(text))
    assert (found.headers, found.subprotocols, found.echo) == ([], [text.decode()], None)


def test_several_lines_are_one_list_in_its_order_and_the_first_of_ours_is_the_echo():
    found = read_subprotocols(offering(b" b ,, xi-api-key.k", b"cf-aig-authorization.t,a"))
    assert (found.subprotocols, found.echo) == (["b", "a"], b"xi-api-key.k")


def test_a_header_that_was_sent_counts_more():
    headers = [(b"xi-api-key", b"xi-api-key", b"sent"), *offering(b"xi-api-key.offered, x-api-key.k")]
    found = with_subprotocols(headers, read_subprotocols(headers))
    assert [value for name, _, value in found if name == b"xi-api-key"] == [b"sent"]
    assert (b"x-api-key", b"x-api-key", b"k") in found
