"""`sluice doctor`: looks through a data folder for damage, names it, and mends what can be mended."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from sluice.cli.options import common, folder_settings, print_json
from sluice.cli.printing import told_on_terminal
from sluice.spool.inspection import inspect_spools
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.inspection import UNSOUND, Look, database_problem, inspect_shards
from sluice.storage.embedded.repair import repair_shards, set_aside
from sluice.storage.ports import StoreFault
from sluice.supervisor import lock
from sluice.values.finding import Finding
from sluice.wiring.stores import pack_objects

_REMADE: Final = "it is set aside, and another is made"
_RESTORE: Final = "restore it from a backup"
_PUSHED: Final = "it is set aside, and logs are pushed from the present on"
_DATABASES: Final = (
    ("control.db", _RESTORE, False),
    ("keeper.db", _REMADE, True),
    ("usage.db", _REMADE, True),
    ("spend.db", _REMADE, True),
    ("logpush.db", _PUSHED, True),
)


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Mend what can be mended. The server must be stopped.")
@click.option("--quick", is_flag=True, help="Leave out the bodies, which take the longest.")
@common
def command(repair: bool, quick: bool, data: Path | None, as_json: bool) -> None:
    """Look through the data folder for damage.

    Every database, every stored body and every frame that waits is read; nothing is changed, and a running server is
    not disturbed. What is wrong is a line each, and makes the exit status 1. With --repair, nothing is deleted: what is
    damaged is moved to a folder `damaged` beside it.
    """
    settings = folder_settings(data)
    folder = settings.data.absolute()
    if not (folder / "control.db").exists() and not (folder / "shards").exists():
        raise click.ClickException(f"{folder} is no data folder of Sluice: name one with --data.")
    told = told_on_terminal()
    mended: list[Finding] = []
    if repair:
        mended = _repair(folder, told)
    found = list(inspect(folder, Look(not quick, told, pack_objects(settings))))
    told("")
    if as_json:
        print_json({"mended": mended, "found": found})
    else:
        _print(mended, found, folder)
    sys.exit(1 if found else 0)


def inspect(folder: Path, look: Look) -> Iterator[Finding]:
    """All that is wrong in a data folder."""
    look.told("databases")
    yield from inspect_top(folder)
    look.told("spools")
    yield from inspect_spools(folder / "spool")
    yield from inspect_shards(folder / "shards", look)


def inspect_top(folder: Path) -> Iterator[Finding]:
    """What is wrong beside spools and shards."""
    for name, remedy, mendable in _DATABASES:
        if problem := database_problem(folder / name):
            yield Finding(str(folder / name), problem, remedy, mendable)
    for name in ("control.db", "master.key"):
        if not (folder / name).exists():
            yield Finding(str(folder / name), "is missing", _RESTORE)
    key, generations = folder / "master.key", folder / "generations.map"
    if key.exists() and key.stat().st_mode & 0o077:
        yield Finding(str(key), "may be read by others", f"chmod 600 {key}")
    try:
        if generations.exists():
            MappedGenerations.open(generations).close()
    except (StoreFault, OSError) as error:
        yield Finding(str(generations), f"cannot be used: {error}", _REMADE, True)


def _repair(folder: Path, told: Callable[[str], None]) -> list[Finding]:
    told("mending")
    try:
        with lock.hold(folder, "sluice doctor --repair"):
            return [*_mend_top(folder), *repair_shards(folder / "shards")]
    except lock.FolderInUse as error:
        raise click.ClickException(str(error)) from error
    except (*UNSOUND, OSError) as error:
        raise click.ClickException(f"Not everything could be mended: {error}") from error


def _mend_top(folder: Path) -> Iterator[Finding]:
    for found in inspect_top(folder):
        if found.mendable:
            set_aside(Path(found.path))
            yield Finding(found.path, found.what, "It lies in damaged/; another is made when the server starts.")


def _print(mended: list[Finding], found: list[Finding], folder: Path) -> None:
    for each in mended:
        click.echo(f"mended  {_shown(each.path, folder)} {each.what}. {each.remedy}")
    for each in found:
        remedy = f" To mend: {each.remedy}{' (--repair)' if each.mendable else ''}." if each.remedy else ""
        click.echo(f"damaged {_shown(each.path, folder)} {each.what}.{remedy}")
    if not found:
        click.echo(f"{folder} is sound.", err=True)


def _shown(path: str, folder: Path) -> str:
    return path.removeprefix(f"{folder}/")
