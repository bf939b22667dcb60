"""`sluice logs`: what went through a gateway."""

import click

from sluice.cli.exporting import export
from sluice.cli.following import show, tail
from sluice.cli.importing import bring
from sluice.cli.repricing import reprice
from sluice.cli.searching import search


@click.group("logs")
def command() -> None:
    """Follow and search the logs of a gateway, show one with its bodies, export and import them, price them anew."""


for part in (tail, search, show, export, bring, reprice):
    command.add_command(part)
