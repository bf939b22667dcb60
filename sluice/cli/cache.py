"""`sluice cache`: the replies that are kept to be given again."""

from pathlib import Path
from urllib.parse import quote

import click

from sluice.cli.gateway import missing_gateway
from sluice.cli.operator import Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, missing_account, print_json


@click.group("cache")
def command() -> None:
    """Clear the reply cache."""


@command.command()
@account_option
@click.option("--gateway", help="The gateway.")
@click.option("--all", "everything", is_flag=True, help="All gateways of the account.")
@common
def clear(account: str, gateway: str | None, everything: bool, data: Path | None, as_json: bool) -> None:
    """Forget what is kept of a gateway's replies, from the next request on."""
    if (gateway is None) is not everything:
        raise click.UsageError("Name a gateway with --gateway, or all of them with --all.")
    path = f"/internal/accounts/{quote(account, safe='')}"
    path += "/cache" if gateway is None else f"/gateways/{quote(gateway, safe='')}/cache"
    missing = missing_account(account) if gateway is None else missing_gateway(account, gateway)
    result = Operator(folder_settings(data)).result("DELETE", path, missing=missing)
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Cleared the cache of {f'gateway {gateway}' if gateway else f'account {account}'}.")
