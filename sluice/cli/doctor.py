"""`sluice doctor`: looks through a data folder for damage, names it, and mends what can be mended."""

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from sluice import __version__
from sluice.cli.options import common, folder_settings, print_json
from sluice.cli.printing import told_on_terminal
from sluice.spool.inspection import inspect_spools
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.inspection import SQLITE, UNSOUND, Look, database_problem, inspect_shards
from sluice.storage.embedded.repair import repair_shards, set_aside
from sluice.storage.embedded.seals import seal_problem
from sluice.storage.embedded.windows_file import is_damaged as windows_damaged
from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY
from sluice.supervisor import lock
from sluice.values.finding import Finding
from sluice.wiring.stores import pack_objects
from sluice.wiring.surroundings import inspect_surroundings

_REMADE: Final = "it is set aside, and another is made"
_RESTORE: Final = "restore it from a backup"
_PUSHED: Final = "it is set aside, and logs are pushed from the present on"
_DATABASES: Final = (
    ("control.db", _RESTORE, False),
    ("keeper.db", _REMADE, True),
    ("usage.db", _REMADE, True),
    ("spend.db", _REMADE, True),
    ("logpush.db", _PUSHED, True),
    ("cache.db", _REMADE, True),
)


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Mend what can be mended. The server must be stopped.")
@click.option("--quick", is_flag=True, help="Leave out the bodies, which take the longest.")
@common
def command(repair: bool, quick: bool, data: Path | None, as_json: bool) -> None:
    """Look through the data folder for damage, and at what a server on it needs.

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
    found = [*inspect(folder, Look(not quick, told, pack_objects(settings))), *inspect_surroundings(settings)]
    told("")
    notes = [each for each in found if each.grade == "note"]
    found = [each for each in found if each.grade != "note"]
    if as_json:
        print_json({"mended": mended, "found": found, "notes": notes, "versions": _versions()})
    else:
        _print(mended, found, notes, folder)
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
    if not (folder / "control.db").exists():
        yield Finding(str(folder / "control.db"), "is missing", _RESTORE)
    key, generations = folder / MASTER_KEY, folder / "generations.map"
    if key.exists() and key.stat().st_mode & 0o077:
        yield Finding(str(key), "may be read by others", f"chmod 600 {key}")
    if problem := seal_problem(folder):
        yield Finding(str(key), problem, "put back the file that was saved")
    if windows_damaged(folder / "limits.map"):
        yield Finding(str(folder / "limits.map"), "cannot be used", _REMADE, True)
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


def _print(mended: list[Finding], found: list[Finding], notes: list[Finding], folder: Path) -> None:
    for each in mended:
        click.echo(f"mended  {_shown(each.path, folder)} {each.what}. {each.remedy}")
    for each in found:
        remedy = f" To mend: {each.remedy}{' (--repair)' if each.mendable else ''}." if each.remedy else ""
        click.echo(f"{each.grade:7} {_shown(each.path, folder)} {each.what}.{remedy}")
    for each in notes:
        remedy = f" {each.remedy[0].upper()}{each.remedy[1:]}." if each.remedy else ""
        click.echo(f"{each.grade:7} {_shown(each.path, folder)} {each.what}.{remedy}", err=True)
    if not found:
        click.echo(f"{folder} is sound.", err=True)


def _shown(path: str, folder: Path) -> str:
    return path.removeprefix(f"{folder}/")


def _versions() -> dict[str, str]:
    return {
        "sluice": __version__,
        "python": platform.python_version(),
        "sqlite": SQLITE,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
