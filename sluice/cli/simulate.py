"""`sluice simulate`: the provider simulator alone."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

from sluice import journal
from sluice.cli.options import common
from sluice.simulator.server import serve
from sluice.supervisor import listeners


@click.command("simulate")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8788, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@common
def command(host: str, port: int, data: Path | None, as_json: bool) -> None:
    """Answer as the vendors of models do, with made-up text and the faults that a model's name asks for.

    It keeps nothing, so --data changes nothing. Point any client's base URL at it; see docs/simulator.md.
    """
    journal.begin("simulator")
    try:
        listeners.probe(host, port)
    except listeners.PortTaken as error:
        raise click.ClickException(str(error)) from error

    def announce(chosen: int) -> None:
        url = listeners.url_of(host, chosen)
        if as_json:
            click.echo(f'{{"url":"{url}"}}')
        else:
            click.echo(
                f"The simulator answers at {url}/openai/v1 and, under their slugs, as other vendors. Ctrl-C stops it."
            )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(host, port, announce))


async def _serve(host: str, port: int, announce: Callable[[int], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(host, port, announce, stop)
