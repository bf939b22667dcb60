"""Builds the console."""

import asyncio
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import sluice
from sluice.child import Child
from sluice.console.app import create_app
from sluice.console.commands import SpooledCommands
from sluice.console.repricing import keep_prices
from sluice.console.serve import serve
from sluice.metrics import Metrics
from sluice.spool.layout import CONSOLES
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations
from sluice.values.settings import Settings
from sluice.wiring.desk import opened_desk
from sluice.wiring.workers_gone import draining_after_workers

PRICES: Final = (
    sys.executable,
    "-P",
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    "sys.path.append(sys.argv[1]); from sluice.wiring.prices import main; main()",
    str(Path(sluice.__file__).parent.parent),
)
"""The program that knows the price list, as the supervisor starts its own. No terminal ends it."""


async def run_console(child: Child) -> None:
    """Serves until the supervisor calls to drain. Its listeners: the operator's socket, the one for workers."""
    settings, (operators, relayed) = child.settings, child.listeners
    with (
        closing(MappedGenerations.open(settings.data / "generations.map", writable=True)) as generations,
        closing(EmbeddedControlStore.open_for_writing(settings.data / "control.db", generations)) as control,
        closing(commands_to_keeper(settings, child.metrics)) as commands,
        opened_desk(settings, control, commands) as desk,
    ):
        generations.bump_all()  # a predecessor may have died between a commit and its bump
        pricing = asyncio.create_task(keep_prices(desk, PRICES), name="prices")
        try:
            child.start_heartbeat()
            apps = [
                (create_app(desk, operator=True), operators),
                (create_app(desk, operator=False), relayed),
            ]
            child.ready()
            await serve(apps, draining_after_workers(child), drain_s=settings.console.request_timeout_s)
        finally:
            pricing.cancel()
            await asyncio.wait((pricing,))  # it ends the price list's process


def commands_to_keeper(settings: Settings, metrics: Metrics) -> SpooledCommands:
    """Through a spool of this console's own."""

    def open_spool() -> SpoolWriter:
        return SpoolWriter.open(settings.data / "spool", settings.spool, metrics, numbers=CONSOLES)

    return SpooledCommands(open_spool, settings.data / "keeper.sock", metrics)
