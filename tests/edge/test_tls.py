"""The door to TLS: how many are at it at once, and what becomes of them when it closes."""

import asyncio
import socket
from pathlib import Path

from sluice.edge.tls import Doors, server_context
from sluice.metrics import Metrics

CERTIFICATE = Path(__file__).parents[1] / "journeys" / "localhost.pem"


async def test_no_more_than_so_many_shake_hands_at_once_and_at_the_end_who_is_silent_is_sent_away():
    doors = Doors(server_context(str(CERTIFICATE), ""), asyncio.Protocol, 2, 60.0, Metrics.unseen())
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    doors.listen(listener, 16)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    async with asyncio.timeout(10):
        surplus, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await surplus.read() == b""
        writer.close()
        assert not any(reader.at_eof() for reader, _ in silent)
        doors.close()
        await doors.settle()
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
