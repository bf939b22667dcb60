"""`sluice account`: the tenants of this server."""

from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from sluice.cli.operator import Operator, decoded
from sluice.cli.options import checked_name, common, folder_settings, missing_account, print_json, print_table

PATH = "/internal/accounts"


class ShownAccount(msgspec.Struct):
    id: str
    plan: str
    created_at: str


@click.group("account")
def command() -> None:
    """Make, list and delete accounts. `local` is there from the first start."""


@command.command()
@click.argument("name", callback=checked_name)
@common
def create(name: str, data: Path | None, as_json: bool) -> None:
    """Make the account NAME."""
    result = Operator(folder_settings(data)).result("POST", PATH, {"id": name})
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Made account {name}. Let clients in with `sluice token create --account {name}`.")


@command.command("list")
@common
def listing(data: Path | None, as_json: bool) -> None:
    """List all accounts."""
    items = list(Operator(folder_settings(data)).pages(PATH))
    if as_json:
        print_json([decoded(item) for item in items])
        return
    accounts = [msgspec.json.decode(item, type=ShownAccount) for item in items]
    print_table(
        [(account.id, account.plan, account.created_at) for account in accounts],
        ("ACCOUNT", "PLAN", "MADE"),
        empty="No accounts: `sluice account create NAME` makes one.",
    )


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def delete(name: str, yes: bool, data: Path | None, as_json: bool) -> None:
    """Delete the account NAME with its gateways, tokens and logs."""
    operator = Operator(folder_settings(data))
    if not yes:
        click.confirm(f"Delete account {name} with its gateways, tokens and logs?", abort=True, err=True)
    result = operator.result("DELETE", f"{PATH}/{quote(name, safe='')}", missing=missing_account(name))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Deleted account {name}.")
