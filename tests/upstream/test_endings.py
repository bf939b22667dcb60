"""Replies that end with their connection, when that is not how they should have ended."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from sluice.values.errors import UpstreamBroken, UpstreamTimeout

BEGUN = b"HTTP/1.1 200 OK\r\n\r\nthe beginning"


async def test_a_reply_that_ends_with_its_connection(make_client: Any, stand: Any):
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BEGUN)

    client = make_client()
    assert await client.ask(client.pool(await stand(end))) == b"the beginning"


async def test_one_that_stalls_is_cut_short_and_not_at_its_end(make_client: Any, stand: Any):
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BEGUN)
        await reader.read()

    client = make_client(idle_timeout_s=0.05)
    with pytest.raises(UpstreamTimeout):
        await client.ask(client.pool(await stand(stall)))


async def test_one_whose_connection_is_reset_is_cut_short_and_not_at_its_end(make_client: Any, stand: Any):
    seen = asyncio.Event()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BEGUN)
        await seen.wait()
        peer = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    client = make_client()
    reply = await client.begin(client.pool(await stand(reset)))
    assert await reply.read() == (b"the beginning", False)
    seen.set()
    with pytest.raises(UpstreamBroken):
        await reply.read()
    reply.close()
