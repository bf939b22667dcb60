"""`sluice account`: the tenants of this server."""

from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from sluice.cli.operator import Operator, decoded
from sluice.cli.options import checked_name, common, folder_settings, missing_account, print_json, print_table

PATH = "/internal/accounts"


PLANS = ("unlimited", "paid", "free")
LIMITS = ("gateways", "gateway_rows", "account_rows", "gateway_bytes", "retention_days")


class ShownAccount(msgspec.Struct):
    id: str
    plan: str
    created_at: str
    entitlement: dict[str, int | None]


class ShownGateway(msgspec.Struct):
    gateway: str
    rows: int
    bytes: int
    refused: int


class ShownUsage(msgspec.Struct):
    gateways: list[ShownGateway]


@click.group("account")
def command() -> None:
    """Make, list and delete accounts. `local` is there from the first start."""


@command.command()
@click.argument("name", callback=checked_name)
@click.option("--plan", type=click.Choice(PLANS), default="unlimited", show_default=True, help="What it may have.")
@common
def create(name: str, plan: str, data: Path | None, as_json: bool) -> None:
    """Make the account NAME."""
    result = Operator(folder_settings(data)).result("POST", PATH, {"id": name, "plan": plan})
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
@common
def show(name: str, data: Path | None, as_json: bool) -> None:
    """Show what the account NAME may have, and what its gateways have stored."""
    operator = Operator(folder_settings(data))
    account = operator.result("GET", _path(name), missing=missing_account(name))
    usage = operator.result("GET", f"/client/v4/accounts/{quote(name, safe='')}/ai-gateway/usage")
    if as_json:
        print_json({"account": decoded(account), "usage": decoded(usage)})
        return
    shown = msgspec.json.decode(account, type=ShownAccount)
    click.echo(f"{shown.id}: plan {shown.plan}")
    for what, most in shown.entitlement.items():
        click.echo(f"  {what.replace('_', ' ')}: {'no limit' if most is None else f'{most:,}'}")
    print_table(
        [(one.gateway, f"{one.rows:,}", f"{one.bytes:,}", f"{one.refused:,}") for one in _used(usage)],
        ("GATEWAY", "LOGS", "BYTES", "NOT STORED"),
        empty="No gateways.",
    )


@command.command()
@click.argument("name")
@click.option("--plan", type=click.Choice(PLANS), help="Another plan.")
@click.option("--as-planned", is_flag=True, help="Take back all that is set by --limit.")
@click.option(
    "--limit",
    "limits",
    metavar="WHAT=N",
    multiple=True,
    help=f"{', '.join(LIMITS[:-1])} or {LIMITS[-1]} other than the plan has it;"
    " N is a number or `none`. Replaces what was set before.",
)
@common
def change(
    name: str, plan: str | None, as_planned: bool, limits: tuple[str, ...], data: Path | None, as_json: bool
) -> None:
    """Change what the account NAME may have. It is in force at once."""
    asked: dict[str, object] = {} if plan is None else {"plan": plan}
    if limits or as_planned:
        asked["entitlement"] = dict(map(_limit, limits)) if limits else None
    if not asked:
        raise click.UsageError("Say what to change: --plan, --limit or --as-planned.")
    result = Operator(folder_settings(data)).result("PATCH", _path(name), asked, missing=missing_account(name))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Changed account {name}: `sluice account show {name}`.")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def delete(name: str, yes: bool, data: Path | None, as_json: bool) -> None:
    """Delete the account NAME with its gateways, tokens and logs."""
    operator = Operator(folder_settings(data))
    if not yes:
        click.confirm(f"Delete account {name} with its gateways, tokens and logs?", abort=True, err=True)
    result = operator.result("DELETE", _path(name), missing=missing_account(name))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Deleted account {name}.")


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _used(usage: msgspec.Raw) -> list[ShownGateway]:
    return msgspec.json.decode(usage, type=ShownUsage).gateways


def _limit(text: str) -> tuple[str, int | None]:
    """One `--limit`."""
    what, found, most = text.partition("=")
    if not found or not (most.isdecimal() or most == "none"):
        raise click.BadParameter(f"{text!r} is not WHAT=N, with a number or `none`", param_hint="--limit")
    if what.strip() not in LIMITS:
        raise click.BadParameter(f"{what.strip()!r} is none of {', '.join(LIMITS)}", param_hint="--limit")
    return what.strip(), None if most == "none" else int(most)
