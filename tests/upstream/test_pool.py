"""The connections to one origin, where timing decides: races that no test from outside can bring about at will."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from sluice.upstream.http import MOST_POOLS
from sluice.values.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ever_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


class Turnstile:
    """A provider that answers one request for each `pass_one`."""

    def __init__(self) -> None:
        self.arrived = 0
        self._passes = asyncio.Semaphore(0)
        self._news = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            async with self._news:
                self.arrived += 1
                self._news.notify_all()
            await self._passes.acquire()
            writer.write(OK)

    def pass_one(self) -> None:
        self._passes.release()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(lambda: self.arrived >= count)


async def test_a_connection_found_closing_at_the_moment_of_its_use_is_replaced(make_client: Any, stand: Any):
    """The provider's goodbye has been read, and the loop has not told the connection yet."""
    client = make_client()
    pool = client.pool(await stand(ever_ok))
    assert await client.ask(pool) == b"ok"
    connection = pool.take()
    pool.give_back(connection)
    connection.abort()
    assert await client.ask(pool) == b"ok"


async def test_who_has_waited_comes_before_who_comes_now(make_client: Any, stand: Any):
    """Even before who comes in the very turn in which the connection becomes free."""
    client = make_client(connections=1)
    pool = client.pool(await stand(ever_ok))
    await client.ask(pool)
    connection = pool.take()
    order: list[str] = []

    async def ask(name: str) -> None:
        assert await client.ask(pool) == b"ok"
        order.append(name)

    waiting = [asyncio.create_task(ask(f"waited {number}")) for number in range(2)]
    await asyncio.sleep(0)
    pool.give_back(connection)
    await ask("came later")
    await asyncio.gather(*waiting)
    assert order == ["waited 0", "waited 1", "came later"]
    assert pool.size == 1


async def test_a_free_connection_that_closes_leaves_room_for_one_and_not_for_two(make_client: Any, stand: Any):
    client = make_client(connections=1)
    pool = client.pool(await stand(ever_ok))
    await client.ask(pool)
    connection = pool.take()
    waiting = [asyncio.create_task(client.ask(pool)) for _ in range(3)]
    await asyncio.sleep(0)
    pool.give_back(connection)
    pool.give_up(connection)
    sizes = [pool.size]
    for task in waiting:
        task.add_done_callback(lambda _: sizes.append(pool.size))
    assert await asyncio.gather(*waiting) == [b"ok"] * 3
    assert max(sizes) == 1


async def test_waiting_for_a_connection_has_one_deadline_however_often_others_come_first(make_client: Any, stand: Any):
    turnstile = Turnstile()
    client = make_client(connections=1, connect_timeout_s=0.2)
    pool = client.pool(await stand(turnstile))
    first = asyncio.create_task(client.ask(pool))
    await turnstile.has(1)
    with pytest.raises(UpstreamTimeout, match="No connection to the provider became free in time"):
        await client.ask(pool)
    turnstile.pass_one()
    assert await first == b"ok"
    turnstile.pass_one()
    assert await client.ask(pool) == b"ok"


async def test_a_waiter_that_has_left_takes_no_place_in_the_queue(make_client: Any, stand: Any):
    client = make_client(connections=1, waiters=1, connect_timeout_s=0.05)
    pool = client.pool(await stand(ever_ok))
    held = await pool.connect()
    for _ in range(3):
        with pytest.raises(UpstreamTimeout):
            await client.ask(pool)
    waiting = asyncio.create_task(client.ask(pool))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await client.ask(pool)
    pool.give_up(held)
    assert await waiting == b"ok"


async def test_a_waiter_that_leaves_when_its_turn_has_come_passes_it_on(make_client: Any, stand: Any):
    client = make_client(connections=1)
    pool = client.pool(await stand(ever_ok))
    connection = await pool.connect()
    leaving, staying = (asyncio.create_task(client.ask(pool)) for _ in range(2))
    await asyncio.sleep(0)
    pool.give_up(connection)
    leaving.cancel()
    async with asyncio.timeout(2):
        assert await staying == b"ok"
    assert leaving.cancelled()


async def test_room_is_made_by_a_connection_that_could_not_be_had(
    make_client: Any, left_to_collector: Callable[[], set[str]]
):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = make_client(connections=1)
        pool = client.pool(nobody.getsockname()[1])
        asked = await asyncio.gather(*(client.ask(pool) for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in asked] == [UpstreamUnreachable] * 5
    assert pool.size == 0
    assert "HttpResponseParser" not in left_to_collector()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "a..b"])
async def test_a_name_that_leads_nowhere(make_client: Any, host: str):
    client = make_client(connect_timeout_s=5)
    with pytest.raises((UpstreamUnreachable, UpstreamTimeout), match=f"^{host} c"):
        await client.ask(client.pool(80, host))


async def test_small_writes_go_out_at_once(make_client: Any, stand: Any):
    """TCP_NODELAY, which the event loop sets: without it a request in two writes takes 40 ms."""
    client = make_client()
    pool = client.pool(await stand(ever_ok))
    connection = await pool.connect()
    peer = connection._transport.get_extra_info("socket")
    assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    pool.give_up(connection)


async def test_what_is_open_and_who_waits_is_told(make_client: Any, stand: Any):
    provider = Turnstile()
    client = make_client(connections=1)
    pool = client.pool(await stand(provider))
    asking = [asyncio.create_task(client.ask(pool)) for _ in range(3)]
    await provider.has(1)
    assert (client.open.value, client.waiting.value) == (1, 2)
    asking[2].cancel()
    await asyncio.wait(asking[2:])
    assert (client.open.value, client.waiting.value) == (1, 1)
    provider.pass_one()
    provider.pass_one()
    assert await asyncio.gather(*asking[:2]) == [b"ok", b"ok"]
    assert (client.open.value, client.waiting.value) == (1, 0)
    client.http.close()
    assert client.open.value == 0


async def test_origins_that_clients_name_are_forgotten_but_those_in_use(make_client: Any, stand: Any):
    client = make_client()
    used, idle = client.pool(await stand(ever_ok)), client.pool(1)
    assert await client.ask(used) == b"ok"
    for number in range(MOST_POOLS):
        client.pool(443, f"{number}.example.com")
    assert client.pool(used.origin.port) is used
    assert client.pool(1) is not idle
