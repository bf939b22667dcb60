"""What happens on a client's connection that no test from outside can bring about at will."""

import asyncio
from typing import Any

import pytest

from sluice.edge.call import Call
from sluice.values.reply import Part, Reply, WholeBody

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def whole(data: bytes) -> Reply:
    return Reply(200, None, [b"Content-Length: %d\r\n" % len(data)], len(data), WholeBody(data))


async def until_reset(writer: asyncio.StreamWriter, deadline_s: float) -> None:
    """Returns once the other side has no socket any more: what is sent to it is answered by a reset."""
    for _ in range(int(deadline_s * 50)):
        if writer.is_closing():
            return
        writer.write(b"x")
        await asyncio.sleep(0.02)
    pytest.fail("the connection is still held")


async def test_a_connection_does_not_linger_for_ever_behind_a_large_reply(serve: Any, dial: Any):
    async def answer(call: Call) -> Reply:
        return whole(b"x" * 20_000_000)

    reader, writer = await dial(await serve(answer))
    writer.write(CLOSE)
    assert len(await reader.read()) > 20_000_000
    await until_reset(writer, deadline_s=4)


async def test_a_body_keeps_its_deadline_while_a_large_reply_goes_out(serve: Any, dial: Any):
    """The client reads what there is of the reply, and then does not go on with its request."""

    class Echo:
        def __init__(self, call: Call) -> None:
            self._call, self._told = call, False

        def poll(self) -> Part | None:
            if self._told:
                return None
            self._told = True
            return Part(b"x" * 20_000_000, False)

        async def read(self) -> Part:
            while data := await self._call.body.read():
                self.heard = data
            return Part(b"", True)

        def close(self, complete: bool = False) -> None:
            pass

    async def answer(call: Call) -> Reply:
        return Reply(200, None, [], None, Echo(call))

    reader, writer = await dial(await serve(answer, body_idle_timeout_s=0.1, send_idle_timeout_s=0.1))
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
    async with asyncio.timeout(4):
        received = await reader.read()
    assert len(received) > 20_000_000
    assert not received.endswith(b"0\r\n\r\n")


async def test_a_bug_in_a_reply_ends_it_and_its_connection(serve: Any, dial: Any, caplog: pytest.LogCaptureFixture):
    class Faulty:
        def poll(self) -> Part | None:
            return None

        async def read(self) -> Part:
            raise ZeroDivisionError

        def close(self, complete: bool = False) -> None:
            pass

    async def answer(call: Call) -> Reply:
        return Reply(200, None, [], None, Faulty())

    reader, writer = await dial(await serve(answer))
    writer.write(ASK)
    async with asyncio.timeout(2):
        received = await reader.read()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not received.endswith(b"0\r\n\r\n")
    assert [record.message for record in caplog.records] == ["reply failed"]


async def test_a_bug_behind_a_path_is_a_500_of_ours(serve: Any, dial: Any, caplog: pytest.LogCaptureFixture):
    async def answer(call: Call) -> Reply:
        raise ZeroDivisionError

    reader, writer = await dial(await serve(answer))
    writer.write(CLOSE)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert body == (
        b'{"success":false,"result":[],"messages":[],"error":[{"code":2005,"message":"Internal error"}],'
        b'"errors":[{"code":2005,"message":"Internal error"}],"name":"AiGatewayError","httpCode":500,'
        b'"internalCode":2005,"message":"Internal error","description":"Internal error"}'
    )
    assert [record.message for record in caplog.records] == ["request failed"]
