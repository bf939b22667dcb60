"""`sluice token`: what lets clients in."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from sluice.cli.operator import Operator, decoded
from sluice.cli.options import (
    account_option,
    common,
    folder_settings,
    missing_account,
    print_json,
    print_table,
    seconds,
)
from sluice.values.tenancy import PERMISSIONS


class ShownToken(msgspec.Struct):
    id: str
    name: str
    permissions: list[str]
    gateway: str | None
    expires_at: str | None
    token: str = ""


def _permissions(ctx: click.Context, parameter: click.Parameter, text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in asked if name not in PERMISSIONS]
    if wrong or not asked:
        raise click.BadParameter(f"{', '.join(wrong) or 'none given'}: choose among {', '.join(PERMISSIONS)}")
    return asked


def _moment(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """A time as the API takes it; a mere day begins at midnight UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: write it as 2030-01-31T00:00:00Z or 2030-01-31") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        click.echo(f"{text} is over: this token lets nobody in.", err=True)
    return moment.isoformat()


@click.group("token")
def command() -> None:
    """Make, list, rotate and delete tokens. Clients send one as `cf-aig-authorization: Bearer ...`."""


@command.command()
@account_option
@click.option(
    "--permissions",
    default="run",
    show_default=True,
    callback=_permissions,
    metavar="LIST",
    help="What it allows, with commas between: run calls; read, edit, metadata_read for the management API.",
)
@click.option("--gateway", help="The only gateway it is good for.  [default: all of the account]")
@click.option("--name", default="", help="What it is for, to know it again in the list.")
@click.option(
    "--expires-at", metavar="TIME", callback=_moment, help="When it ends, as 2030-01-31T00:00:00Z.  [default: never]"
)
@common
def create(
    account: str,
    permissions: list[str],
    gateway: str | None,
    name: str,
    expires_at: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    wanted = {"permissions": permissions, "gateway": gateway, "name": name, "expires_at": expires_at}
    result = Operator(folder_settings(data)).result("POST", _path(account), wanted, missing=missing_account(account))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(msgspec.json.decode(result, type=ShownToken).token)


@command.command("list")
@account_option
@common
def listing(account: str, data: Path | None, as_json: bool) -> None:
    """List the tokens of an account, without their texts."""
    items = list(Operator(folder_settings(data)).pages(_path(account), missing=missing_account(account)))
    if as_json:
        print_json([decoded(item) for item in items])
        return
    tokens = [msgspec.json.decode(item, type=ShownToken) for item in items]
    print_table(
        [
            (one.id, one.gateway or "all", ",".join(one.permissions), one.expires_at or "never", one.name)
            for one in tokens
        ],
        ("TOKEN", "GATEWAY", "PERMISSIONS", "EXPIRES", "NAME"),
        empty=f"No tokens in account {account}: `sluice token create --account {account}` makes one.",
    )


@command.command(short_help="Give a token another text.")
@click.argument("token_id")
@click.option("--grace", default="0s", show_default=True, metavar="TIME", help="As 90s, 15m, 24h, 7d.")
@account_option
@common
def rotate(token_id: str, grace: str, account: str, data: Path | None, as_json: bool) -> None:
    """Give the token with this id another text and print it, this once.

    The old text lets nobody in from now on, or, with --grace, from then on.
    """
    path = f"{_path(account)}/{quote(token_id, safe='')}/value"
    result = Operator(folder_settings(data)).result(
        "PUT", path, {"grace_s": seconds(grace)}, missing=_missing(token_id, account)
    )
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(msgspec.json.decode(result, type=ShownToken).token)


@command.command(short_help="Delete a token by its id.")
@click.argument("token_id")
@account_option
@common
def delete(token_id: str, account: str, data: Path | None, as_json: bool) -> None:
    """Delete the token with this id: no request that starts after that is let in by it."""
    path = f"{_path(account)}/{quote(token_id, safe='')}"
    result = Operator(folder_settings(data)).result("DELETE", path, missing=_missing(token_id, account))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Deleted token {token_id}.")


def _missing(token_id: str, account: str) -> str:
    return (
        f"There is no token {token_id} in account {account}: `sluice token list --account {account}` shows their ids."
    )


def _path(account: str) -> str:
    return f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway/tokens"
