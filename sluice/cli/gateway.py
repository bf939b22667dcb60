"""`sluice gateway`: named configurations of traffic, each with its own logs."""

from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from sluice.cli.operator import Operator, decoded
from sluice.cli.options import (
    account_option,
    checked_name,
    common,
    folder_settings,
    missing_account,
    print_json,
    print_table,
)


class ShownGateway(msgspec.Struct):
    id: str
    authentication: bool
    collect_logs: bool
    created_at: str


def gateways_path(account: str, gateway: str = "") -> str:
    """The management path of an account's gateways, or of one of them."""
    path = f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway/gateways"
    return f"{path}/{quote(gateway, safe='')}" if gateway else path


def missing_gateway(account: str, gateway: str) -> str:
    return f"There is no gateway {gateway} in account {account}: `sluice gateway list --account {account}` shows all."


@click.group("gateway")
def command() -> None:
    """Make, list, show and delete gateways. `default` is there from the first start."""


@command.command()
@click.argument("name", callback=checked_name)
@account_option
@click.option(
    "--authentication/--open",
    default=True,
    show_default=True,
    help="Whether clients need a token, or whoever reaches the port may call.",
)
@click.option("--logs/--no-logs", "collect_logs", default=True, show_default=True, help="Whether calls are logged.")
@common
def create(name: str, account: str, authentication: bool, collect_logs: bool, data: Path | None, as_json: bool) -> None:
    """Make the gateway NAME."""
    wanted = {
        "id": name,
        "authentication": authentication,
        "collect_logs": collect_logs,
        "cache_invalidate_on_update": False,
        "cache_ttl": None,
        "rate_limiting_interval": None,
        "rate_limiting_limit": None,
    }
    result = Operator(folder_settings(data)).result(
        "POST", gateways_path(account), wanted, missing=missing_account(account)
    )
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Made gateway {name}: /v1/{account}/{name}/<provider>")


@command.command("list")
@account_option
@common
def listing(account: str, data: Path | None, as_json: bool) -> None:
    """List the gateways of an account."""
    items = list(Operator(folder_settings(data)).pages(gateways_path(account), missing=missing_account(account)))
    if as_json:
        print_json([decoded(item) for item in items])
        return
    gateways = [msgspec.json.decode(item, type=ShownGateway) for item in items]
    print_table(
        [(one.id, _yes(one.authentication), _yes(one.collect_logs), one.created_at) for one in gateways],
        ("GATEWAY", "TOKEN NEEDED", "LOGGED", "MADE"),
        empty=f"No gateways in account {account}: `sluice gateway create NAME --account {account}` makes one.",
    )


@command.command()
@click.argument("name")
@account_option
@common
def get(name: str, account: str, data: Path | None, as_json: bool) -> None:
    """Show all that is set of the gateway NAME."""
    path, missing = gateways_path(account, name), missing_gateway(account, name)
    print_json(decoded(Operator(folder_settings(data)).result("GET", path, missing=missing)))


@command.command()
@click.argument("name")
@account_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def delete(name: str, account: str, yes: bool, data: Path | None, as_json: bool) -> None:
    """Delete the gateway NAME with its logs."""
    operator = Operator(folder_settings(data))
    if not yes:
        click.confirm(f"Delete gateway {name} of account {account} with its logs?", abort=True, err=True)
    result = operator.result("DELETE", gateways_path(account, name), missing=missing_gateway(account, name))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Deleted gateway {name}.")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
