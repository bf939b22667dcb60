"""`sluice gateway`: named configurations of traffic, each with its own logs."""

import json
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import click
import msgspec

from sluice.cli.gateway_fields import fields, gateway_options
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
from sluice.cli.printing import dollars, printable
from sluice.values.log import NANO

_OF_NEW: Final = {
    "authentication": True,
    "collect_logs": True,
    "cache_invalidate_on_update": False,
    "cache_ttl": None,
    "rate_limiting_interval": None,
    "rate_limiting_limit": None,
}
"""Of a gateway that is made on the command line, where nothing else is said."""


class ShownGateway(msgspec.Struct):
    id: str
    authentication: bool
    collect_logs: bool
    created_at: str


class ShownRule(msgspec.Struct):
    id: str
    limit: float
    window: int
    technique: str
    spent: float | None
    remaining: float | None


def gateways_path(account: str, gateway: str = "") -> str:
    """The management path of an account's gateways, or of one of them."""
    path = f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway/gateways"
    return f"{path}/{quote(gateway, safe='')}" if gateway else path


def missing_gateway(account: str, gateway: str) -> str:
    return f"There is no gateway {gateway} in account {account}: `sluice gateway list --account {account}` shows all."


@click.group("gateway")
def command() -> None:
    """Make, list, show, change and delete gateways. `default` is there from the first start."""


@command.command()
@click.argument("name", callback=checked_name)
@account_option
@gateway_options
@common
def create(name: str, account: str, data: Path | None, as_json: bool, **given: Any) -> None:
    """Make the gateway NAME, which wants a token and logs unless it is told otherwise."""
    wanted = _OF_NEW | fields(given) | {"id": name}
    result = Operator(folder_settings(data)).result(
        "POST", gateways_path(account), wanted, missing=missing_account(account)
    )
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Made gateway {name}: /v1/{account}/{name}/<provider>")


@command.command(short_help="Change what is set of the gateway NAME.")
@click.argument("name")
@account_option
@gateway_options
@common
def change(name: str, account: str, data: Path | None, as_json: bool, **given: Any) -> None:
    """Change what is set of the gateway NAME, in force for every request that starts after that.

    What is not named stays as it is. `sluice gateway get NAME` shows all.
    """
    wanted = fields(given)
    if not wanted:
        raise click.UsageError("Nothing is to be changed: name what, as --cache-ttl 1h; --help shows all.")
    path, missing = gateways_path(account, name), missing_gateway(account, name)
    result = decoded(Operator(folder_settings(data)).result("PUT", path, wanted, missing=missing))
    if as_json:
        print_json(result)
        return
    click.echo(f"Changed gateway {name}:")
    for field in wanted:
        click.echo(f"  {field}: {json.dumps(cast(dict[str, object], result)[field])}")


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


@command.command(short_help="Show what is spent and left of the spend limits of the gateway NAME.")
@click.argument("name")
@account_option
@click.option("--provider", help="Whose sums, of rules that part them by provider.")
@click.option("--model", help="Of which model, likewise.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Of which calls, likewise.")
@common
def spend(
    name: str,
    account: str,
    provider: str | None,
    model: str | None,
    metadata: tuple[str, ...],
    data: Path | None,
    as_json: bool,
) -> None:
    """Show what is spent and left of the spend limits of the gateway NAME, as far as its calls have ended.

    A rule that parts its sums has one for each provider, model or value of metadata: name which.
    """
    if wrong := next((text for text in metadata if "=" not in text), None):
        raise click.UsageError(f"--metadata is KEY=VALUE, not {wrong!r}.")
    values = dict(text.partition("=")[::2] for text in metadata)
    asked = {"provider": provider, "model": model, "metadata": json.dumps(values)}
    query = urlencode({key: value for key, value in asked.items() if value is not None})
    path, missing = f"{gateways_path(account, name)}/spend?{query}", missing_gateway(account, name)
    result = Operator(folder_settings(data)).result("GET", path, missing=missing)
    if as_json:
        print_json(decoded(result))
        return
    print_table(
        [
            (dollars(round(rule.limit * NANO)), f"{rule.window}s", rule.technique, _usd(rule.spent),
             _usd(rule.remaining), printable(rule.id))
            for rule in msgspec.json.decode(result, type=list[ShownRule])
        ],
        ("LIMIT", "WINDOW", "TECHNIQUE", "SPENT", "LEFT", "RULE"),
        empty=f"No spend limits in gateway {name}: `sluice gateway change {name} --spend-limit 100/30d` sets one.",
    )  # fmt: skip


def _usd(usd: float | None) -> str:
    """A question mark where the sum is one of many."""
    return "?" if usd is None else dollars(round(usd * NANO))


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
