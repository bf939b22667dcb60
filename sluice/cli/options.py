"""Options that commands share, and the settings that they are laid over."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from sluice.config import NAME, ConfigError, Tree, load_settings
from sluice.values.settings import Settings

CONFIG_VARIABLE = "SLUICE_CONFIG"
SPAN_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,12})([smhd]?)")
_SPAN_HINT: Final = "seconds, or a number with s, m, h or d behind it, as 90s, 5m, 24h or 30d"
F = TypeVar("F", bound=Callable[..., Any])

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data folder.  [default: sluice-data, or SLUICE_DATA]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
gateway_option = click.option("--gateway", default="default", show_default=True, help="The gateway.")
account_option = click.option("--account", default="local", show_default=True, help="The account.")


def common(function: F) -> F:
    """`--data` and `--json`, which every command takes."""
    return data_option(json_option(function))


def seconds(text: str) -> int:
    """The seconds of a span such as `90`, `5m` or `30d`. Raises click.BadParameter."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise click.BadParameter(f"{text!r}: {_SPAN_HINT}")
    return int(found[1]) * SPAN_UNITS_S[found[2]]


def read_settings(flags: Tree, config: Path | None = None) -> Settings:
    """The settings in force now. Raises ConfigError."""
    named = os.environ.get(CONFIG_VARIABLE)
    environment = {name: text for name, text in os.environ.items() if name != CONFIG_VARIABLE}
    return load_settings(config or (Path(named) if named else None), environment, flags)


def settings_of(flags: Tree, config: Path | None = None) -> Settings:
    """Likewise; a mistake in them ends the command with its explanation."""
    try:
        return read_settings(flags, config)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def folder_settings(data: Path | None) -> Settings:
    """For commands that work on a data folder: only it may be named on the command line."""
    return settings_of({"data": data} if data else {})


def print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def missing_account(account: str) -> str:
    return f"There is no account {account}: `sluice account list` shows all."


def checked_name(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    """For names that are to be made: the API says no more than that one is invalid."""
    if not NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r}: up to 64 letters, digits, - and _, a letter or a digit first")
    return name


def print_table(rows: list[tuple[str, ...]], header: tuple[str, ...], *, empty: str, err: bool = False) -> None:
    """Columns as wide as what is in them; the last one as it is. `empty` is said to the person where there is none."""
    if not rows:
        click.echo(empty, err=True)
        return
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header) - 1)]
    for row in [header, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip(), err=err)
