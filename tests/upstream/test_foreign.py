"""Origins that accounts name: which addresses are dialled, and how many pools there are."""

import asyncio
import threading
from typing import Any

import pytest

from sluice.deadlines import Deadlines
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.upstream.addresses import is_inside, is_public
from sluice.upstream.dialling import Dialling
from sluice.upstream.foreign import MOST_OF_ACCOUNT as MOST_POOLS_OF_ACCOUNT
from sluice.upstream.foreign import MOST_POOLS, Foreign
from sluice.upstream.http import HttpClient, trust
from sluice.upstream.names import MOST_AT_ONCE, MOST_OF_ACCOUNT, Names, look_up
from sluice.upstream.origin import Origin
from sluice.values.errors import Overloaded, UpstreamUnreachable
from sluice.values.settings import CustomProviderSettings, UpstreamSettings

INSIDE = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:db8::1
    2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1
    2130706433 0x7f.1 localhost nothing
"""
OUTSIDE = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.0.1.0
    198.17.255.255 198.20.0.0 223.255.255.255 168.63.129.17 2606:4700::1111 2a00:1450::1 2003::1
"""
ORIGIN = Origin("api.example.com", 443, True, account="local")


@pytest.mark.parametrize("address", INSIDE.split())
def test_it_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE.split())
def test_it_is_public(address: str):
    assert is_public(address)


def test_a_name_is_no_address_inside():
    assert (is_inside("10.0.0.1"), is_inside("8.8.8.8"), is_inside("api.example.com")) == (True, False, False)


def foreign(addresses: list[str], **rule: bool) -> tuple[Foreign, list[str]]:
    asked: list[str] = []

    def look(host: str, port: int) -> list[str]:
        asked.append(host)
        return addresses

    return Foreign(CustomProviderSettings(**rule), Metrics.unseen(), Names(look)), asked


async def test_only_public_addresses_are_dialled():
    found, asked = foreign(["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"])
    assert await found.hosts(ORIGIN) == ["8.8.8.8", "2606:4700::1111"]
    assert asked == ["api.example.com"]


async def test_a_name_that_leads_inside_is_told_like_one_that_leads_nowhere():
    said = []
    for addresses in (["10.0.0.1", "fe80::1%2"], []):
        dialling = Dialling(trust(""), foreign(addresses)[0].hosts)
        with pytest.raises(UpstreamUnreachable) as raised:
            await dialling.dial(ORIGIN, lambda: pytest.fail("it was dialled"))
        said.append((raised.value.said, raised.value.detail))
    assert said[0] == said[1]


async def test_each_spelling_of_this_machine_is_resolved_before_it_is_judged():
    for host in ("localhost", "2130706433", "0x7f.1", "127.1"):
        assert set(look_up(host, 1)) <= {"127.0.0.1", "::1"}
        assert (
            await Foreign(CustomProviderSettings(), Metrics.unseen()).hosts(Origin(host, 1, True, account="local"))
            == []
        )


async def test_plain_http_needs_the_operators_leave():
    plain = Origin("api.example.com", 80, False, account="local")
    with pytest.raises(UpstreamUnreachable, match="https"):
        await foreign(["8.8.8.8"])[0].hosts(plain)
    assert await foreign(["8.8.8.8"], allow_http=True)[0].hosts(plain) == ["8.8.8.8"]


async def test_private_addresses_need_the_operators_leave():
    found, asked = foreign(["10.0.0.1"], allow_private=True)
    assert (await found.hosts(ORIGIN), asked) == (["10.0.0.1"], ["api.example.com"])


async def test_the_address_that_was_judged_is_the_one_that_is_dialled(make_client: Any, stand: Any):
    """The name leads nowhere: had it been resolved again, there would be no connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    port = await stand(answer)

    async def hosts(origin: Origin) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # nobody is at the first

    client = make_client()
    client.http._dialling = Dialling(trust(""), hosts)
    pool = client.http._made(Origin("name.invalid", port, False, account="local"))
    assert await client.ask(pool) == b"hi"
    pool.close()


async def test_a_client_that_serves_no_account_dials_none(make_client: Any):
    client = make_client()
    with pytest.raises(UpstreamUnreachable):
        await client.ask(client.http.pool(ORIGIN))


async def test_slow_names_are_bounded_and_those_of_one_account_hold_up_nobody_else():
    go = threading.Event()

    def look(host: str, port: int) -> list[str]:
        if host.startswith("slow"):
            go.wait(20)
        return ["8.8.8.8"]

    names = Names(look)
    waiting = [asyncio.ensure_future(names.addresses(f"slow{n}", 1, "a")) for n in range(MOST_OF_ACCOUNT)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await names.addresses("now", 1, "a")
    assert await names.addresses("now", 1, "b") == ["8.8.8.8"]
    for n in range(MOST_OF_ACCOUNT, MOST_AT_ONCE):
        waiting.append(asyncio.ensure_future(names.addresses("slow", n, f"account {n}")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await names.addresses("another", 1, "b")
    waiting.pop().cancel()
    go.set()
    assert await asyncio.gather(*waiting) == [["8.8.8.8"]] * len(waiting)
    assert await names.addresses("now", 1, "a") == ["8.8.8.8"]


async def test_many_who_want_one_name_at_once_wait_for_one_look_up():
    go, asked = threading.Event(), []

    def look(host: str, port: int) -> list[str]:
        asked.append(host)
        go.wait(20)
        return ["8.8.8.8"]

    names = Names(look)
    waiting = [asyncio.ensure_future(names.addresses("cold", 443, "a")) for _ in range(500)]
    await asyncio.sleep(0)
    waiting.pop(0).cancel()  # who asked first leaves first
    go.set()
    assert await asyncio.gather(*waiting) == [["8.8.8.8"]] * len(waiting)
    assert asked == ["cold"]


async def test_one_account_leaves_pools_to_others():
    loop = asyncio.get_running_loop()
    deadlines, found = Deadlines(loop), foreign([])[0]
    client = HttpClient(UpstreamSettings(), deadlines, Outbox(loop), Metrics.unseen(), found)
    for number in range(MOST_POOLS_OF_ACCOUNT):
        client.pool(Origin(f"h{number}.example", 443, True, account="greedy"))._reserved = 1
    with pytest.raises(Overloaded):
        client.pool(Origin("another.example", 443, True, account="greedy"))
    theirs = client.pool(Origin("h0.example", 443, True, account="modest"))
    assert theirs is not client.pool(Origin("h0.example", 443, True, account="greedy"))
    client.close()
    deadlines.close()


async def test_pools_are_bounded_and_the_longest_idle_one_goes():
    loop = asyncio.get_running_loop()
    deadlines, found = Deadlines(loop), foreign([])[0]
    client = HttpClient(UpstreamSettings(), deadlines, Outbox(loop), Metrics.unseen(), found)
    origins = [Origin(f"h{number}.example", 443, True, account=f"a{number % 8}") for number in range(MOST_POOLS + 1)]
    pools = [client.pool(origin) for origin in origins[:-1]]
    assert client.pool(origins[0]) is pools[0]
    pools[1]._reserved = 1  # a connection is being made
    client.pool(origins[-1])
    assert [found.pool(origin) is None for origin in origins[:4]] == [False, False, True, False]
    for pool in found._pools.values():
        pool._reserved = 1
    with pytest.raises(Overloaded):
        client.pool(origins[2])
    assert client.pool(origins[1]) is pools[1]
    client.close()
    deadlines.close()
