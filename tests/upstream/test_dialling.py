"""Names remembered, addresses raced, tunnels through the operator's proxy."""

import asyncio
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sluice.upstream.names import MOST_KNOWN, Names
from sluice.upstream.origin import Origin
from sluice.upstream.proxy import Proxy, is_direct
from sluice.upstream.racing import first_made, interleaved
from sluice.values.errors import UpstreamUnreachable
from sluice.values.secret import Secret

CERTIFICATE = Path(__file__).parents[1] / "journeys" / "elsewhere.pem"
HOST = "elsewhere.example.com"


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Book:
    """A name server."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.addresses


async def test_a_name_is_remembered_for_a_while_and_looked_up_anew_after_it():
    book, clock = Book("192.0.2.1"), Clock()
    names = Names(book, 30.0, clock_s=clock)
    assert [await names.addresses("a", 443) for _ in range(3)] == [["192.0.2.1"]] * 3
    assert book.asked == ["a"]
    book.addresses = ["192.0.2.2"]
    clock.now_s += 31
    assert await names.addresses("a", 443) == ["192.0.2.2"]


async def test_while_a_name_cannot_be_looked_up_its_last_addresses_do_for_five_minutes():
    book, clock = Book("192.0.2.1"), Clock()
    names = Names(book, 30.0, clock_s=clock)
    await names.addresses("a", 443)
    book.addresses = []
    clock.now_s += 299
    assert await names.addresses("a", 443) == ["192.0.2.1"]
    clock.now_s += 2
    assert await names.addresses("a", 443) == []
    assert len(book.asked) == 3


async def test_the_last_addresses_do_while_the_name_server_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.upstream.names.PATIENCE_S", 0.02)
    go, clock = threading.Event(), Clock()
    asked: list[str] = []

    def look(host: str, port: int) -> list[str]:
        asked.append(host)
        if len(asked) > 1:
            go.wait(20)
        return [f"192.0.2.{len(asked)}"]

    names = Names(look, 30.0, clock_s=clock)
    await names.addresses("a", 443)
    clock.now_s += 31
    assert await names.addresses("a", 443) == ["192.0.2.1"]
    monkeypatch.setattr("sluice.upstream.names.PATIENCE_S", 20.0)
    go.set()
    assert await names.addresses("a", 443) == ["192.0.2.2"]
    assert asked == ["a", "a"]


async def test_an_address_is_its_own_name_and_what_is_remembered_is_bounded():
    book = Book("192.0.2.1")
    names = Names(book)
    assert (await names.addresses("127.0.0.1", 1), await names.addresses("::1", 1)) == (["127.0.0.1"], ["::1"])
    assert book.asked == []
    for number in range(MOST_KNOWN + 1):
        await names.addresses(f"n{number}", 1)
    await names.addresses("n1", 1)
    await names.addresses("n0", 1)  # it made room for the last one
    assert book.asked.count("n0") == 2
    assert book.asked.count("n1") == 1


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        (["::1", "::2", "1.1.1.1", "::3"], ["::1", "1.1.1.1", "::2", "::3"]),
        (["1.1.1.1", "1.1.1.1", "::1"], ["1.1.1.1", "::1"]),
        (["1.1.1.1"], ["1.1.1.1"]),
    ],
)
def test_families_take_turns(addresses: list[str], order: list[str]):
    assert interleaved(addresses) == order


class Made:
    def __init__(self, address: str) -> None:
        self.address, self.aborted = address, False

    def abort(self) -> None:
        self.aborted = True


async def test_the_next_address_is_tried_when_the_one_before_is_slow_or_fails():
    tried: list[str] = []
    given_up = asyncio.Event()

    async def connect(address: str) -> Made:
        tried.append(address)
        if address == "slow":
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()
        if address == "refused":
            raise ConnectionRefusedError
        return Made(address)

    assert (await first_made(["slow", "refused", "good", "never"], connect, 0.01)).address == "good"
    assert tried == ["slow", "refused", "good"]
    await asyncio.wait_for(given_up.wait(), 5)


async def test_what_is_made_in_vain_is_closed():
    made: list[Made] = []
    gate = asyncio.Event()

    async def connect(address: str) -> Made:
        made.append(Made(address))
        if address == "first":
            await gate.wait()
        else:
            gate.set()
            await asyncio.sleep(0)
        return made[-2] if address == "first" else made[-1]

    winner = await first_made(["first", "second"], connect, 0.001)
    await asyncio.sleep(0)
    assert [each.aborted for each in made if each is not winner] == [True]
    assert not winner.aborted


async def test_the_last_failure_is_told_where_all_fail():
    async def connect(address: str) -> Made:
        raise ConnectionRefusedError(address)

    with pytest.raises(ConnectionRefusedError, match="b"):
        await first_made(["a", "b"], connect, 5.0)


async def test_an_address_where_nobody_answers_costs_a_quarter_of_a_second(make_client: Any, stand: Any):
    """A full queue of connections is how a host behind a bad route looks: the handshake is not answered."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    port = await stand(answer)
    with socket.socket() as deaf, socket.socket() as one, socket.socket() as two:
        deaf.bind(("127.0.0.2", port))
        deaf.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
        client = make_client()
        client.http._dialling._names = Names(Book("127.0.0.2", "127.0.0.1"))
        pool = client.pool(port, "two.example.com")
        began_s = asyncio.get_running_loop().time()
        assert await client.ask(pool) == b"hi"
        assert 0.2 < asyncio.get_running_loop().time() - began_s < 5
        pool.close()


@asynccontextmanager
async def proxying(refusal: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A proxy that leads every tunnel to a provider with TLS; its port, and the heads that it was sent."""
    heads: list[bytes] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if refusal:
            writer.write(refusal)
            return writer.close()
        there, to_there = await asyncio.open_connection("127.0.0.1", port_of(origin))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: a proxy\r\n\r\n")
        await asyncio.gather(pass_on(reader, to_there), pass_on(there, writer))

    origin = await asyncio.start_server(provider, "127.0.0.1", 0, ssl=context)
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    try:
        yield port_of(server), heads
    finally:
        server.close()
        origin.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.close()


async def test_a_provider_is_reached_through_the_proxy_and_its_certificate_is_looked_at(make_client: Any):
    async with proxying() as (port, heads):
        client = make_client(proxy=Secret(f"http://us%40er:pw@127.0.0.1:{port}"), ca_file=str(CERTIFICATE))
        pool = client.http.pool(Origin(HOST, 443, True))
        assert await client.ask(pool) == b"hi"
        assert await client.ask(client.http.pool(Origin(HOST, 443, True))) == b"hi"  # by the same tunnel
        with pytest.raises(UpstreamUnreachable):
            await client.ask(client.http.pool(Origin("another.example.com", 443, True)))
    word = b64encode(b"us@er:pw")
    told = b"Host: %b:443\r\nProxy-Authorization: Basic %b\r\n\r\n" % (HOST.encode(), word)
    assert heads[0] == b"CONNECT %b:443 HTTP/1.1\r\n" % HOST.encode() + told
    assert len(heads) == 2


async def test_the_proxy_gets_the_address_of_an_accounts_origin_for_that_was_looked_at(make_client: Any):
    async def hosts(origin: Origin) -> list[str]:
        return ["192.0.2.7"]

    async with proxying() as (port, heads):
        client = make_client(proxy=Secret(f"http://127.0.0.1:{port}"), ca_file=str(CERTIFICATE))
        client.http._dialling._hosts = hosts
        pool = client.http._made(Origin(HOST, 443, True, account="local"))
        assert await client.ask(pool) == b"hi"
        pool.close()
    assert heads[0].startswith(b"CONNECT 192.0.2.7:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "refusal",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 20_000, b"HTTP/1.1 200 OK\r\n"],
)
async def test_a_proxy_that_refuses_is_an_error_without_its_credential(make_client: Any, refusal: bytes):
    async with proxying(refusal) as (port, _):
        client = make_client(proxy=Secret(f"http://user:geheim@127.0.0.1:{port}"))
        with pytest.raises(UpstreamUnreachable) as raised:
            await client.ask(client.http.pool(Origin(HOST, 443, True)))
    assert "proxy" in str(raised.value.detail or raised.value.said).lower()
    assert "geheim" not in f"{raised.value!r} {raised.value.detail} {raised.value.said}"


@pytest.mark.parametrize(
    ("host", "direct", "without"),
    [
        ("api.openai.com", "", False),
        ("api.openai.com", "*", True),
        ("api.openai.com", "openai.com", True),
        ("api.openai.com", ".openai.com", True),
        ("api.openai.com", "*.openai.com", True),
        ("openai.com", ".openai.com", True),
        ("notopenai.com", "openai.com", False),
        ("API.OpenAI.com.", "openai.com", True),
        ("api.openai.com", "openai.com:443", True),
        ("api.openai.com", "openai.com:8443", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "[fd00::1]:443", True),
        ("localhost", "", True),
        ("127.9.9.9", "", True),
        ("::1", "", True),
    ],
)
def test_what_is_dialled_without_the_proxy(host: str, direct: str, without: bool):
    assert is_direct(host, 443, direct.split(",")) == without


@pytest.mark.parametrize(
    "url", ["https://proxy", "socks5://proxy:1080", "http://", "http://proxy:0x1", "http://p/path"]
)
def test_another_kind_of_proxy_is_refused(url: str):
    with pytest.raises(ValueError, match=r"proxy|[Pp]ort"):
        Proxy.of(url, ())


@pytest.mark.parametrize("url", ["http://user:hunter#two@proxy:3128", "http://user:3129#two@proxy", "http://[hunter]"])
def test_no_part_of_a_credential_is_told(url: str):
    with pytest.raises(ValueError, match="a proxy is http://host:port") as raised:
        Proxy.of(url, ())
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_proxy_is_none_and_plain_origins_go_without_it():
    assert Proxy.of("", ()) is None
    found = Proxy.of("proxy.example.com:3128", ("internal",))
    assert found is not None
    assert (found.host, found.port) == ("proxy.example.com", 3128)
    assert not found.serves(Origin("api.example.com", 80, False))
    assert found.serves(Origin("api.example.com", 443, True))
