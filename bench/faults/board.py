"""Runs the cells against a gateway, gathers what client, provider and log have to say, and judges each."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.faults.cells import Cell, Found, asking
from bench.faults.conversing import converse
from bench.faults.judging import lies
from bench.faults.seeing import see
from bench.faults.stand import Console, Gateway, Stand, Waits, journal, standing
from bench.traffic import LOGS

AT_ONCE: Final = 12
PATIENCE_S: Final = 30.0
"""How long a client of a gateway waits for the end of a reply."""
LOGGED_S: Final = 20.0
"""How long the last logs are waited for."""


USUAL_WAITS: Final = Waits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cell, what was found of it, and what of that is not true."""

    found: Found
    lies: Sequence[str]


async def score(folder: Path, cells: Sequence[Cell], waits: Waits = USUAL_WAITS) -> list[Verdict]:
    """The verdict of every cell, in their order."""
    async with standing(folder, waits) as stand:
        found = await _call(stand, cells)
        for gateway, over_tls in ((stand.plain, False), (stand.tls, True)):
            await _gather(gateway, [one for one in found if one.cell.fault.over_tls == over_tls])
    return [Verdict(one, lies(one)) for one in found]


async def _call(stand: Stand, cells: Sequence[Cell]) -> list[Found]:
    """Sends the request of every cell, some at once; what waits for a deadline first, and others go on meanwhile."""
    found: dict[str, Found] = {}
    waiting = iter(sorted(cells, key=lambda cell: "stall" not in cell.fault.ask))

    async def work() -> None:
        console = Console(stand.simulator, "")
        try:
            for cell in waiting:
                found[cell.mark] = await _one(stand, cell, console)
        finally:
            console.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return [found[cell.mark] for cell in cells]


async def _one(stand: Stand, cell: Cell, console: Console) -> Found:
    gateway = stand.tls if cell.fault.over_tls else stand.plain
    path, headers, body = asking(cell)
    look = converse if cell.way == "socket" else see
    found = Found(cell, await look(gateway.port, path, {**gateway.headers, **headers}, body, PATIENCE_S))
    found.calls += await journal(console, cell.mark, 0 if cell.fault.over_tls else 1)
    if cell.way in ("universal", "socket"):
        found.second += await journal(console, f"{cell.mark}+", int(cell.expected.falls_back))
    return found


async def _gather(gateway: Gateway, found: Sequence[Found]) -> None:
    """Adds the logs and their bodies, once all are there that must be."""
    if not found:
        return
    async with _consoles(gateway) as consoles:
        due = sum(1 + one.cell.expected.falls_back for one in found)
        rows = await _rows(consoles[0], due)
        by_mark: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_mark.setdefault(row["event_id"], []).append(row)
        todo = iter(found)

        async def work(console: Console) -> None:
            for one in todo:
                one.rows = sorted(by_mark.get(one.cell.mark, ()), key=lambda row: int(row["step"]))
                one.bodies = [await console.body(row["id"]) for row in one.rows]

        async with asyncio.TaskGroup() as group:
            for console in consoles:
                group.create_task(work(console))


@asynccontextmanager
async def _consoles(gateway: Gateway) -> AsyncIterator[list[Console]]:
    consoles = [gateway.console() for _ in range(4)]
    try:
        yield consoles
    finally:
        for console in consoles:
            console.close()


async def _rows(console: Console, due: int) -> Iterable[Mapping[str, Any]]:
    """All logs, once there are so many as are due, or no more come."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LOGGED_S
    while True:
        page = await console.get(f"{LOGS}?per_page=50")
        if page["result_info"]["total_count"] >= due or loop.time() > end:
            break
        await asyncio.sleep(0.05)
    rows = list(page["result"])
    while (cursor := page["result_info"].get("next_cursor")) is not None and page["result"]:
        page = await console.get(f"{LOGS}?per_page=50&cursor={cursor}")
        rows += page["result"]
    return rows
