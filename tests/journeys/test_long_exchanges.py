"""What becomes of long exchanges when processes die under them, or are replaced."""

import asyncio
import json
import os
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from sluice.spool.frames import log_id_of, tells_of_opening
from sluice.spool.reader import SpoolTail

DEADLINE_S = 20.0
REALTIME = "/v1/local/default/openai?model=gpt-realtime"


def chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True}


def step(model: str) -> dict[str, Any]:
    return {"provider": "openai", "endpoint": "chat/completions", "query": chat(model)}


async def converse(socket: ClientConnection, text: str) -> None:
    """One question to a realtime provider, and the whole of its answer."""
    content = [{"type": "input_text", "text": text}]
    message = {"type": "message", "role": "user", "content": content}
    await socket.send(json.dumps({"type": "conversation.item.create", "item": message}))
    await socket.send('{"type": "response.create"}')
    async with asyncio.timeout(DEADLINE_S):
        while json.loads(await socket.recv())["type"] != "response.done":
            pass


async def cut(socket: ClientConnection) -> bool:
    """Whether it ends without a goodbye, once all that was sent before is read."""
    async with asyncio.timeout(DEADLINE_S):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code == 1006


def opened(spool: Path) -> set[str]:
    """The exchanges of which the spool says that they go on."""
    found = set()
    for folder in spool.glob("[0-9]*"):
        with closing(SpoolTail(folder, set_aside=False)) as tail:
            found |= {log_id_of(each.data) for each in tail.take() if tells_of_opening(each.data)}
    return found


@pytest.mark.parametrize("killed", [["worker 1"], ["worker 1", "keeper"], ["keeper", "worker 1"]])
async def test_what_a_killed_worker_leaves_is_in_the_log_once_and_broken(
    start_gateway: Any, talk: Any, wire: Any, compose: Any, killed: list[str]
):
    own = await asyncio.to_thread(start_gateway, "--simulate", "--workers", "1")
    started_s = time.monotonic()
    async with wire(own) as line, talk(own) as client, talk(own, REALTIME) as live:
        await line.send(compose(own, body=chat("gpt-4o~pace-100~words-500")))
        head = (await line.until(b"\r\n\r\n")).decode()
        await client.create("a", step("gpt-4o~pace-100~words-500"))
        first = (await client.next())["metadata"]
        await converse(live.connection, "hello")
        ids = {
            "stream": head.partition("cf-aig-log-id: ")[2][:26],
            "event": first["logId"],
            "realtime": live.connection.response.headers["cf-aig-log-id"],
        }
        assert ids["realtime"] in opened(own.data / "spool")
        await asyncio.to_thread(own.until, lambda: opened(own.data / "spool") == {*ids.values()}, "three openings")
        lasted_s = time.monotonic() - started_s
        assert lasted_s > 5
        processes = own.processes()
        for name in killed:
            os.kill(processes[f"sluice: {name}"], signal.SIGKILL)
        assert b"[DONE]" not in await line.end()
        assert await cut(client.connection)
        assert await cut(live.connection)
    logs = {name: await asyncio.to_thread(own.log, log_id) for name, log_id in ids.items()}
    for log in logs.values():
        assert (log["ending"], log["success"], log["error_code"]) == ("broken", False, 2005)
        assert "died" in log["error_message"]
        assert lasted_s * 1000 - 4_000 < log["duration"] < lasted_s * 1000 + 1_000
    assert [logs[name]["status_code"] for name in ids] == [200, 200, 101]
    assert (await asyncio.to_thread(own.chat)).status_code == 200
    every = [log["id"] for log in await asyncio.to_thread(own.logs, 4)]
    assert len(every) == 4
    assert {*every} > {*ids.values()}


async def test_a_reload_under_load_cuts_no_stream_no_event_and_no_conversation(
    start_gateway: Any, talk: Any, wire: Any, compose: Any
):
    own = await asyncio.to_thread(start_gateway, "--simulate", "--workers", "1")
    stop = asyncio.Event()

    async def call() -> int:
        """One short call after the other, each on a connection of its own."""
        count = 0
        while not stop.is_set():
            async with wire(own) as line:
                reply = await line.ask(compose(own, body={**chat("gpt-4o"), "stream": False}))
            assert (reply.status, reply.fault) == (200, "")
            count += 1
        return count

    async def stream() -> bytes:
        async with wire(own) as line:
            reply = await line.ask(compose(own, body=chat("gpt-4o~pace-100~words-25")))
        assert (reply.status, reply.fault) == (200, "")
        return bytes(reply.body)

    async with talk(own) as client, talk(own, REALTIME) as live:
        calls = [asyncio.create_task(call()) for _ in range(4)]
        streams = [asyncio.create_task(stream()) for _ in range(20)]
        names = [f"event {number}" for number in range(20)]
        for name in names:
            await client.create(name, step("gpt-4o~pace-100~words-25"))
        await converse(live.connection, "before")
        before = own.processes()["sluice: worker 1"]
        own.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(
            own.until, lambda: own.processes().get("sluice: worker 1", before) != before, "the successor"
        )
        await converse(live.connection, "in between")
        told = await client.until_ended(*names)
        assert {messages[-1]["type"] for messages in told.values()} == {"universal.done"}
        assert not any("error" in messages[-1] for messages in told.values())
        assert (await client.closed())[0] == 1012
        replies = await asyncio.gather(*streams)
        assert all(reply.endswith(b"data: [DONE]\n\n") for reply in replies)
        await converse(live.connection, "after")
        stop.set()
        assert sum(await asyncio.gather(*calls)) > 50
        await live.connection.close()
    log = await asyncio.to_thread(own.log, live.connection.response.headers["cf-aig-log-id"])
    assert (log["ending"], log["status_code"]) == ("complete", 101)
    await asyncio.to_thread(own.until, lambda: not draining(own), "the end of the old worker")
    assert '"level":"error"' not in own.said()
    assert "drain cut short" not in own.said()


def draining(own: Any) -> bool:
    return any("worker" in title and "draining" in title for title in own.processes())
