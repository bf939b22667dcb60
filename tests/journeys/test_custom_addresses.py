"""Where custom providers may be: no way of writing an address leads inside; certificates must be of the name."""

import asyncio
import json
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import websockets

HERE = Path(__file__).parent
CHAT: Any = {"model": "a-model", "messages": [{"role": "user", "content": "hello"}]}
INSIDE = """
    localhost LOCALHOST localhost. 127.1 127.0.0.1. 2130706433 0x7f000001 0x7f.0.0.1 0177.0.0.1 0 0.0.0.0 127.0.0.2
    [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [64:ff9b::7f00:1]
    ①②⑦.0.0.1 127。0。0。1 １２７.0.0.1 ⓛocalhost
"""


def bring(house: Any, base_url: str) -> Any:
    slug = f"at-{uuid4().hex[:8]}"
    wanted = {"name": slug, "slug": slug, "base_url": base_url, "enable": True}
    return house.manage("POST", "/custom-providers", json=wanted)


def call(house: Any, made: Any) -> Any:
    slug = made.json()["result"]["slug"]
    return house.http.post(f"/v1/local/default/custom-{slug}/v1/chat/completions", json=CHAT)


def test_no_way_of_writing_it_leads_inside(gateway: Any):
    with closing(socket.create_server(("127.0.0.1", 0))) as inside:
        inside.setblocking(False)
        port = inside.getsockname()[1]
        for host in INSIDE.split():
            made = bring(gateway, f"https://{host}:{port}/v1")
            if made.status_code == 400:
                assert made.json()["errors"][0]["code"] == 1002
                continue
            reply = call(gateway, made)
            assert (reply.status_code, reply.json()["internalCode"]) == (400, 2005), host
        with pytest.raises(BlockingIOError):
            inside.accept()


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:pass@api.example.com",
        "https://api.example.com@127.0.0.1",
        "https://api.example.com\\@127.0.0.1",
        "https://api.example.com#@127.0.0.1",
        "https://api.example.com:0",
        "https://api.example.com:99999",
        "https://api.example.com/a\r\nHost: b",
        "https://api.example.com/a b",
        "https://api.example.com/../a",
        "https:///v1",
        "https://",
        "https:api.example.com",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/v1",
        "https://%2Frun%2Fdocker.sock/v1",
        "https://127.0.0.1%00.example.com",
        "gopher://127.0.0.1",
        "//127.0.0.1",
        "",
    ],
)
def test_what_is_no_plain_address_is_refused(gateway: Any, base_url: str):
    refused = bring(gateway, base_url)
    assert refused.status_code == 400, refused.text
    assert refused.json()["errors"][0]["path"] == ["body", "base_url"]


@pytest.fixture(scope="module")
def trusting(start_shared_gateway: Any) -> Any:
    """A gateway that trusts a certificate of localhost and 127.0.0.1, and may dial it."""
    return start_shared_gateway(
        custom_providers={"allow_private": True}, upstream={"ca_file": str(HERE / "localhost.pem")}
    )


def certified(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / name)
    return context


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await reader.readuntil(b"\r\n\r\n")
    if asked.startswith(b"GET"):
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    else:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/inside\r\nContent-Length: 2\r\n\r\nhi")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("certificate", "host", "served"),
    [
        ("localhost.pem", "localhost", True),
        ("localhost.pem", "127.0.0.1", True),
        ("localhost.pem", "127.0.0.2", False),
        ("elsewhere.pem", "localhost", False),
    ],
)
async def test_the_certificate_must_be_that_of_the_name(trusting: Any, certificate: str, host: str, served: bool):
    server = await asyncio.start_server(answer, host.replace("localhost", "127.0.0.1"), 0, ssl=certified(certificate))
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = await asyncio.to_thread(bring, trusting, f"https://{host}:{port}/v1")
        reply = await asyncio.to_thread(call, trusting, made)
        slug = made.json()["result"]["slug"]
        url = f"ws://127.0.0.1:{trusting.port}/v1/local/default/custom-{slug}/realtime"
        with pytest.raises(websockets.InvalidStatus) as raised:
            await websockets.connect(url, additional_headers=trusting.auth, proxy=None)
    if served:  # a redirect passes, and is not followed
        assert (reply.status_code, reply.headers["location"]) == (302, "http://127.0.0.1:9/inside")
        assert raised.value.response.status_code == 403
    else:
        assert (reply.status_code, reply.json()["internalCode"]) == (400, 2005)
        assert json.loads(raised.value.response.body or b"{}")["internalCode"] == 2005
