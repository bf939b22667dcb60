"""`sluice custom-provider`: providers that an account brings itself."""

from pathlib import Path
from typing import Any

import click
import msgspec

from sluice.cli.custom_lookup import ShownProvider, customs_path, provider_of
from sluice.cli.custom_price import price, prices
from sluice.cli.operator import Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, missing_account, print_json, print_table


def _read(ctx: click.Context, parameter: click.Parameter, file: Any) -> str | None:
    """Headers may hold keys, which no process listing may show: so they come from a file or stdin."""
    return None if file is None else str(file.read()).strip()


headers_option = click.option(
    "--headers",
    type=click.File("r"),
    callback=_read,
    metavar="FILE",
    help="A file with a JSON object of header fields that every call gets; - is stdin.",
)


@click.group("custom-provider")
def command() -> None:
    """Make, list, change and delete providers of your own. Clients call them custom-SLUG."""


@command.command()
@click.argument("slug")
@click.argument("base_url")
@account_option
@click.option("--name", help="What people call it.  [default: the slug]")
@headers_option
@click.option("--enable/--disable", default=True, show_default=True, help="Whether it can be called.")
@common
def create(
    slug: str,
    base_url: str,
    account: str,
    name: str | None,
    headers: str | None,
    enable: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make the custom provider SLUG, whose API is at BASE_URL."""
    wanted = {"slug": slug, "base_url": base_url, "name": name or slug, "enable": enable, "headers": headers}
    operator = Operator(folder_settings(data))
    result = operator.result("POST", customs_path(account), wanted, missing=missing_account(account))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Made custom provider {slug}: /v1/{account}/<gateway>/custom-{slug}/<path>")


@command.command("list")
@account_option
@common
def listing(account: str, data: Path | None, as_json: bool) -> None:
    """List the custom providers of an account."""
    items = list(Operator(folder_settings(data)).pages(customs_path(account), missing=missing_account(account)))
    if as_json:
        print_json([decoded(item) for item in items])
        return
    found = [msgspec.json.decode(item, type=ShownProvider) for item in items]
    print_table(
        [(f"custom-{one.slug}", "yes" if one.enable else "no", one.base_url, one.name) for one in found],
        ("PROVIDER", "ENABLED", "BASE URL", "NAME"),
        empty=f"No custom providers in account {account}: `sluice custom-provider create SLUG BASE_URL` makes one.",
    )


@command.command()
@click.argument("slug")
@account_option
@click.option("--base-url", help="Where its API is.")
@click.option("--name", help="What people call it.")
@click.option("--slug", "new_slug", help="Another slug; its stored keys go with it.")
@headers_option
@click.option("--enable/--disable", default=None, help="Whether it can be called.")
@common
def change(
    slug: str,
    account: str,
    base_url: str | None,
    name: str | None,
    new_slug: str | None,
    headers: str | None,
    enable: bool | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Change the custom provider SLUG, in force for every call that starts after that."""
    given = {"base_url": base_url, "name": name, "slug": new_slug, "headers": headers, "enable": enable}
    wanted = {field: value for field, value in given.items() if value is not None}
    if not wanted:
        raise click.UsageError(
            "Nothing is to be changed: name --base-url, --name, --slug, --headers, --enable or --disable."
        )
    operator = Operator(folder_settings(data))
    result = operator.result("PATCH", _path_of(operator, account, slug), wanted)
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Changed custom provider {slug}.")


@command.command()
@click.argument("slug")
@account_option
@common
def delete(slug: str, account: str, data: Path | None, as_json: bool) -> None:
    """Delete the custom provider SLUG with the prices of its models and its stored keys."""
    operator = Operator(folder_settings(data))
    result = operator.result("DELETE", _path_of(operator, account, slug))
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"Deleted custom provider {slug}.")


def _path_of(operator: Operator, account: str, slug: str) -> str:
    return f"{customs_path(account)}/{provider_of(operator, account, slug).id}"


for part in (price, prices):
    command.add_command(part)
