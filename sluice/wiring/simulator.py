"""The simulator as a child of `sluice serve --simulate`."""

import asyncio

from sluice.child import Child
from sluice.simulator.server import serve_on
from sluice.wiring.workers_gone import draining_after_workers


async def run_simulator(child: Child) -> None:
    """Answers as every provider until the workers have drained."""
    child.start_heartbeat()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_on(child.listeners[0], lambda _: child.ready(), stop))
        await draining_after_workers(child)
        stop.set()
