"""`sluice provider-key`: keys of providers that a gateway keeps for its clients."""

import sys
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from sluice.cli.operator import Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, gateway_option, print_json, print_table
from sluice.providers.registry import canonical
from sluice.storage.embedded.bootstrap import reseal as seal_anew
from sluice.storage.ports import StoreFault
from sluice.supervisor import lock
from sluice.values.credential import FALLBACK_ALIAS


class ShownKey(msgspec.Struct):
    id: str
    provider_slug: str
    alias: str
    default_config: bool
    secret_preview: str
    modified_at: str


key_file_option = click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="The file with the key; - is stdin.  [default: stdin, or a hidden prompt at a terminal]",
)


@click.group("provider-key")
def command() -> None:
    """Store, list, rotate and delete keys of providers. They are sealed at rest and never shown again.

    A key is read from a file, stdin or a hidden prompt, never from the command line, which other users may see.
    """


@command.command(short_help="Store a key of a provider.")
@click.argument("provider")
@click.option("--alias", default="default", show_default=True, help="Its name among the keys of this provider.")
@click.option("--default", "is_default", is_flag=True, help="Use it where a request names no alias.")
@click.option("--rate-limit", type=click.IntRange(1), help="Requests that it may serve per period.")
@click.option("--rate-limit-period", type=click.IntRange(1), default=60, show_default=True, help="Seconds.")
@key_file_option
@account_option
@gateway_option
@common
def create(
    provider: str,
    alias: str,
    is_default: bool,
    rate_limit: int | None,
    rate_limit_period: int,
    key_file: Path | None,
    account: str,
    gateway: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Store a key for PROVIDER, as in `sluice provider-key create openai < key.txt`."""
    operator = Operator(folder_settings(data))
    wanted = {
        "provider_slug": provider,
        "alias": alias,
        "default_config": is_default,
        "rate_limit": rate_limit,
        "rate_limit_period": rate_limit_period,
        "secret": read_key(key_file),
    }
    result = operator.result("POST", _path(account, gateway), wanted, missing=_missing(account, gateway))
    _print(result, as_json, "Stored")
    if not (is_default or alias == FALLBACK_ALIAS):
        click.echo(f"It is used where a request names it (cf-aig-byok-alias: {alias}), not else.", err=True)


@command.command("list")
@account_option
@gateway_option
@common
def listing(account: str, gateway: str, data: Path | None, as_json: bool) -> None:
    """List the stored keys of a gateway: the ends of their texts at the most."""
    path = _path(account, gateway)
    items = list(Operator(folder_settings(data)).pages(path, missing=_missing(account, gateway)))
    if as_json:
        print_json([decoded(item) for item in items])
        return
    keys = [msgspec.json.decode(item, type=ShownKey) for item in items]
    print_table(
        [
            (one.id, one.provider_slug, "yes" if one.default_config else "", one.secret_preview, one.alias)
            for one in keys
        ],
        ("KEY", "PROVIDER", "DEFAULT", "ENDS WITH", "ALIAS"),
        empty=f"No provider keys in gateway {gateway}: `sluice provider-key create openai` stores one.",
    )


@command.command(short_help="Put another text in a key's place.")
@click.argument("key")
@click.option("--default", "is_default", is_flag=True, help="Use it where a request names no alias, from now on.")
@key_file_option
@account_option
@gateway_option
@common
def rotate(
    key: str,
    is_default: bool,
    key_file: Path | None,
    account: str,
    gateway: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Put another text in the place of KEY, an id, a provider or PROVIDER/ALIAS: in force for every later request."""
    operator = Operator(folder_settings(data))
    wanted = {"secret": read_key(key_file), "default_config": is_default}
    path, missing = _path_of(operator, account, gateway, key), _missing(account, gateway, key)
    result = operator.result("PUT", path, wanted, missing=missing)
    _print(result, as_json, "Rotated")


@command.command(short_help="Delete a key.")
@click.argument("key")
@account_option
@gateway_option
@common
def delete(key: str, account: str, gateway: str, data: Path | None, as_json: bool) -> None:
    """Delete KEY, an id, a provider or PROVIDER/ALIAS: no request that starts after that is sent with it."""
    operator = Operator(folder_settings(data))
    path, missing = _path_of(operator, account, gateway, key), _missing(account, gateway, key)
    result = operator.result("DELETE", path, missing=missing)
    _print(result, as_json, "Deleted")


@command.command(short_help="Seal everything under a new master key.")
@common
def reseal(data: Path | None, as_json: bool) -> None:
    """Seal the keys of all gateways, and headers of custom providers, under a new master key.

    With the server stopped. The old one opens nothing then.
    """
    settings = folder_settings(data)
    Operator(settings)  # ends the command where there is no data folder
    try:
        with lock.hold(settings.data, "A sluice command"):
            count = seal_anew(settings.data)
    except (lock.FolderInUse, StoreFault) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"resealed": count})
    else:
        click.echo(f"{count} secrets are sealed under a new master key: keep a copy of master.key somewhere safe.")


def read_key(file: Path | None) -> str:
    """The key's text, without the blanks around it."""
    if file is None and sys.stdin.isatty():
        text: str = click.prompt("Key", hide_input=True)
    else:
        try:
            text = sys.stdin.read() if file is None or str(file) == "-" else file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"The key cannot be read: {type(error).__name__}") from None
    if not text.strip():
        raise click.ClickException("There is no key on stdin" if file is None else f"There is no key in {file}")
    return text.strip()


def _print(result: msgspec.Raw, as_json: bool, done: str) -> None:
    if as_json:
        print_json(decoded(result))
    else:
        one = msgspec.json.decode(result, type=ShownKey)
        click.echo(f"{done} the key {one.id} for {one.provider_slug}, alias '{one.alias}'.")


def _path_of(operator: Operator, account: str, gateway: str, key: str) -> str:
    """The path of a key by its id, or by its provider and, where that has several, `/` and its alias."""
    path, missing = _path(account, gateway), _missing(account, gateway)
    keys = [msgspec.json.decode(one, type=ShownKey) for one in operator.pages(path, missing=missing)]
    provider, slash, alias = key.partition("/")
    name = canonical(provider.lower())
    meant = [one for one in keys if one.provider_slug == name and (not slash or one.alias == alias)]
    if len(meant) > 1:
        named = ", ".join(f"{name}/{one.alias}" for one in meant)
        raise click.ClickException(f"{name} has several keys in gateway {gateway}: name one of {named}.")
    return f"{path}/{quote(meant[0].id if meant else key, safe='')}"


def _missing(account: str, gateway: str, key: str = "") -> str:
    if key:
        return f"There is no provider key {key} in gateway {gateway}: `sluice provider-key list` shows all."
    return f"There is no gateway {gateway} in account {account}: `sluice gateway list --account {account}` shows all."


def _path(account: str, gateway: str) -> str:
    return (
        f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway/gateways/{quote(gateway, safe='')}/provider_configs"
    )
