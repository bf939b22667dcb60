"""A child of every role for the supervisor's tests: real processes, sockets and orders, no work.

A worker reads one command a connection: `who` answers, `die` and `hang` do so, `slow` answers once the drain began,
`stuck` never. A console whose public URL is `never` does not get ready. Every role writes its end into the data folder.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import sys

from sluice import journal
from sluice.child import Child
from sluice.processes import ignore_signals


class Worker:
    def __init__(self, child: Child) -> None:
        self._child = child
        self._open: set[asyncio.Task[None]] = set()
        self._seen = child.metrics.counter("seen_total", "Commands.")
        spool = child.settings.data / "spool" / f"1{os.getpid():07}"  # no number of a console
        spool.mkdir(parents=True)
        self._lock = (spool / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    async def run(self) -> None:
        if self._child.settings.server.public_url == "die":
            os._exit(4)
        loop = asyncio.get_running_loop()
        for listener in self._child.listeners:
            listener.setblocking(False)
            listener.listen(100)
            loop.add_reader(listener, self._accept, listener)
        self._child.start_heartbeat()
        self._child.ready()
        await self._child.draining()
        for listener in self._child.listeners:
            loop.remove_reader(listener)
            self._accept(listener)
            listener.close()
        logging.getLogger().info("closed its sockets")
        hastened = asyncio.ensure_future(self._child.hastened())
        while self._open and not hastened.done():
            await asyncio.wait({hastened, *self._open}, return_when=asyncio.FIRST_COMPLETED)
        hastened.cancel()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                task = asyncio.ensure_future(self._serve(listener.accept()[0]))
                self._open.add(task)
                task.add_done_callback(self._open.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        command = (await reader.readline()).decode().strip()
        self._seen.add()
        if command == "die":
            os._exit(3)
        if command == "hang":
            signal.pause()
        if command in ("slow", "stuck"):
            writer.write(b"started\n")
        if command == "slow":
            await self._child.draining()
        if command == "stuck":
            await asyncio.Event().wait()
        child = self._child
        said = {"pid": os.getpid(), "slot": child.slot, "generation": child.generation}
        said |= {"public_url": child.settings.server.public_url}
        said |= {"providers": {name: row.base_url for name, row in child.settings.providers.items()}}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()
        writer.close()


async def idle(child: Child) -> None:
    child.start_heartbeat()
    if child.settings.server.public_url != "never":
        child.ready()
    await child.draining()


def main() -> None:
    ignore_signals()
    journal.begin(sys.argv[-2])
    child = Child.receive(int(sys.argv[-1]))
    if child.role == "worker":
        asyncio.run(Worker(child).run())
    elif child.role == "keeper":
        child.ready()
        while not child.told_to_drain(1.0):
            child.beat()
    else:
        asyncio.run(idle(child))
    with (child.settings.data / "ends").open("a") as ends:
        ends.write(f"{child.role} {child.generation}\n")


main()
