"""The provider's side of realtime connections: TLS, and how many of them there may be."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve

HERE = Path(__file__).parent


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


def certified(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / name)
    return context


def url(house: Any) -> str:
    return f"ws://127.0.0.1:{house.port}/v1/local/default/deepgram/v1/listen"


@pytest.fixture(scope="module")
def behind_tls(start_shared_gateway: Any, stand: Any) -> Any:
    """A gateway whose Deepgram stands behind TLS, trusting the authority of the tests."""
    return start_shared_gateway(
        providers={"deepgram": {"base_url": stand.base_url.replace("http://127.0.0.1", "https://localhost")}},
        upstream={"connect_timeout_s": 5.0, "ca_file": str(HERE / "localhost.pem")},
    )


async def test_an_https_address_is_spoken_to_by_wss(behind_tls: Any, stand: Any):
    messages: list[str | bytes] = ["text", b"b" * 1_000_000, "end"]
    async with serve(echo, "127.0.0.1", stand.port, ssl=certified("localhost.pem"), max_size=None):
        connecting = websockets.connect(url(behind_tls), additional_headers=behind_tls.auth, proxy=None, max_size=None)
        async with connecting as socket:
            for message in messages:
                await socket.send(message)
            assert [await socket.recv() for _ in messages] == messages
    assert (socket.close_code, socket.close_reason) == (1000, "")


async def test_a_certificate_of_another_name_is_not_trusted(behind_tls: Any, stand: Any):
    async with serve(echo, "127.0.0.1", stand.port, ssl=certified("elsewhere.pem")):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(url(behind_tls), additional_headers=behind_tls.auth, proxy=None):
                pass
    log = await asyncio.to_thread(behind_tls.log, refused.value.response.headers["cf-aig-log-id"])
    assert (log["error_code"], log["error_message"][:27]) == (2005, "localhost cannot be reached")


async def test_open_websockets_take_no_place_of_those_that_are_being_opened(start_gateway: Any):
    house = await asyncio.to_thread(
        start_gateway, "--simulate", upstream={"connections": 1, "waiters": 0, "connect_timeout_s": 5.0}
    )
    sockets = []
    for _ in range(4):
        sockets.append(await websockets.connect(url(house), additional_headers=house.auth, proxy=None))
    for number, socket in enumerate(sockets):
        await socket.send(str(number))
    assert [await socket.recv() for socket in sockets] == ["0", "1", "2", "3"]
    await asyncio.gather(*[socket.close() for socket in sockets])
