"""`sluice`: finds the command and loads its file alone, so that `serve` starts at once."""

import difflib
import importlib
import importlib.util
from typing import Final

import click

from sluice import __version__

COMMANDS: Final = {
    "serve": ("Start the gateway.", "sluice.cli.serve"),
    "simulate": ("Start the provider simulator alone.", "sluice.cli.simulate"),
    "account": ("Make, list and delete accounts.", "sluice.cli.account"),
    "gateway": ("Make, list, show, change and delete gateways.", "sluice.cli.gateway"),
    "token": ("Make, list and delete tokens, which let clients in.", "sluice.cli.token"),
    "provider-key": ("Store, list, rotate and delete keys of providers.", "sluice.cli.provider_key"),
    "custom-provider": ("Make, list, change and delete providers of your own.", "sluice.cli.custom_provider"),
    "cache": ("Clear the reply cache.", "sluice.cli.cache"),
    "run": ("Send a universal request from a file.", "sluice.cli.run"),
    "ws": ("Run requests over one WebSocket, by hand.", "sluice.cli.ws"),
    "logs": ("Follow, search, show, export and import logs.", "sluice.cli.logs"),
    "analytics": ("Count requests, errors, tokens, cost and speed.", "sluice.cli.analytics"),
    "ready": ("Ask whether the server serves, for health checks.", "sluice.cli.ready"),
    "doctor": ("Look through a data folder for damage, and mend it.", "sluice.cli.doctor"),
    "backup": ("Copy a data folder while its server runs.", "sluice.cli.backup"),
}
"""By name: the line in the overview, and the module whose attribute `command` it is."""


class Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, 1)
            ctx.fail(f"There is no command {cmd_name}" + (f": did you mean {near[0]}?" if near else "."))
        command = importlib.import_module(COMMANDS[cmd_name][1]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in COMMANDS.items()])


def build() -> str:
    """Whether the request path was compiled ahead of time (docs/performance.md)."""
    found = importlib.util.find_spec("sluice.deadlines")
    return "pure" if found is None or (found.origin or "").endswith(".py") else "compiled"


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `sluice serve --simulate`: it needs no key and prints a call to try.",
)
@click.version_option(f"{__version__} ({build()})", prog_name="sluice")
def main() -> None:
    """A self-hosted AI gateway: one server in front of every LLM provider."""
