"""`sluice backup`: a copy of the data folder that a server can be started on, made while another one runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from sluice.cli.doctor import inspect
from sluice.cli.options import common, folder_settings, print_json
from sluice.cli.printing import told_on_terminal
from sluice.storage.embedded.backup_target import BackupTarget
from sluice.storage.embedded.inspection import Look
from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY
from sluice.values.finding import Finding
from sluice.values.settings import MB, Settings
from sluice.wiring.backup import (
    CannotBackUp,
    Manifest,
    Wishes,
    back_up,
    check_place,
    former_backup,
    leave_no_traces,
    making,
    write_manifest,
)
from sluice.wiring.stores import pack_objects

_HINT: Final = "master.key is not in it, without which stored provider keys cannot be read: keep a copy elsewhere."


class _Unsound(Exception):
    """Something is wrong in the backup that was made."""

    def __init__(self, found: list[Finding]) -> None:
        self.found = found


@click.command("backup")
@click.argument("dest", type=click.Path(file_okay=False, path_type=Path))
@click.option("--cache/--no-cache", default=False, show_default=True, help="Whether kept replies go with it.")
@click.option("--master-key", is_flag=True, help="Put master.key in too: whoever has both can read provider keys.")
@click.option("--copy", is_flag=True, help="Copy packs even where a hard link would do.")
@click.option("--verify", is_flag=True, help="Look through the copy as `sluice doctor` does before it counts.")
@common
def command(
    dest: Path, cache: bool, master_key: bool, copy: bool, verify: bool, data: Path | None, as_json: bool
) -> None:
    """Copy the data folder to DEST, beside a running server or without one.

    All logs of replies that had ended when it began are in it, each once. A backup that lies at DEST already is
    replaced when the new one is whole, and what has not changed is taken over from it. An interrupted one leaves DEST
    as it was.
    """
    settings = folder_settings(data)
    wishes = Wishes(cache, master_key, linking=not copy)
    try:
        done = _backed_up(settings, dest.absolute(), wishes, verify=verify)
    except _Unsound as unsound:
        for each in unsound.found:
            click.echo(f"damaged {each.path} {each.what}", err=True)
        raise click.ClickException("The copy is not sound and was thrown away.") from unsound
    except (CannotBackUp, StoreFault) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"There is no backup: {error}") from error
    if as_json:
        print_json(done)
        return
    written, linked, kept = (done[name] / MB for name in ("copied_bytes", "linked_bytes", "kept_bytes"))
    click.echo(
        f"{done['dest']}: {written:,.1f} MB copied, {linked:,.1f} MB linked, {kept:,.1f} MB as they were,"
        f" in {done['seconds']:.1f} s{', and found sound' if verify else ''}."
    )
    if not master_key:
        click.echo(_HINT, err=True)


def _backed_up(settings: Settings, dest: Path, wishes: Wishes, *, verify: bool) -> dict[str, Any]:
    source, place = settings.data.resolve(), dest.parent.resolve() / dest.name
    if not (source / "control.db").exists():
        raise CannotBackUp(f"{settings.data} is no data folder of Sluice: name one with --data.")
    check_place(source, place)
    told, began_s = told_on_terminal(), time.time()
    with making(place) as draft:
        target = BackupTarget(draft, former_backup(place), linking=wishes.linking)
        back_up(source, target, wishes, told)
        if verify:
            _verify(draft, settings, told, master_key=wishes.master_key)
        manifest = Manifest(
            data=str(source),
            began_s=began_s,
            ended_s=time.time(),
            cache=wishes.cache,
            master_key=wishes.master_key,
            files=target.files,
        )
        write_manifest(draft, manifest)
        target.sync_folders()
        told("")
    return {
        "dest": str(dest),
        "copied_bytes": target.copied_bytes,
        "linked_bytes": target.linked_bytes,
        "kept_bytes": target.kept_bytes,
        "seconds": round(time.time() - began_s, 3),
    }


def _verify(draft: Path, settings: Settings, told: Callable[[str], None], *, master_key: bool) -> None:
    found = list(inspect(draft, Look(True, told, pack_objects(settings))))
    if found := [each for each in found if master_key or Path(each.path).name != MASTER_KEY]:
        raise _Unsound(found)
    leave_no_traces(draft)
