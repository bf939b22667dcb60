"""Makes the data folder: what must be there before the first process starts (design.md 8)."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.embedded.windows_file import put_aside_if_damaged
from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY, Vault, read_master_key, write_master_key
from sluice.values.secret import Secret

_NEXT: Final = "master.next"
"""A new master key until all is sealed under it."""


def bootstrap(data: Path) -> Secret | None:
    """Makes what is missing, and at the first start the account `local` and a token, whose text it returns.

    For the holder of the folder's lock. Killed anywhere, the next start goes on; one commit makes account and token.
    Raises StoreFault where the master key is not the one that something was sealed under.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_generations(data / "generations.map")
    with _opened(data) as control:
        _settle_master_key(data / MASTER_KEY, control)
        token = control.first_start()
    put_aside_if_damaged(data / "limits.map")
    _sync(data)
    return token


def reseal(data: Path) -> int:
    """Seals everything under a new master key; returns how many seals. For the holder of the folder's lock.

    Killed anywhere, the next start goes on with the old key or with the new one, whichever they are sealed under.
    """
    with _opened(data) as control:
        _settle_master_key(data / MASTER_KEY, control)
        write_master_key(data / _NEXT)
        _sync(data)
        count = control.seals.renew(Vault.of(data), Vault(read_master_key(data / _NEXT)))
        os.rename(data / _NEXT, data / MASTER_KEY)
    _sync(data)
    return count


@contextmanager
def _opened(data: Path) -> Iterator[EmbeddedControlStore]:
    with (
        closing(MappedGenerations.open(data / "generations.map", writable=True)) as generations,
        closing(EmbeddedControlStore.open_for_writing(data / "control.db", generations)) as control,
    ):
        yield control


def _settle_master_key(path: Path, control: EmbeddedControlStore) -> None:
    """Makes the key where nothing was sealed yet, and insists on the one that something was sealed under."""
    if (following := path.with_name(_NEXT)).exists():  # a change of the key was killed
        if control.seals.are_under(Vault(read_master_key(following))):
            os.rename(following, path)
        else:
            following.unlink()
    if not path.exists():
        if control.seals.there_are:
            raise StoreFault(
                f"{path} is missing, under which the stored provider keys were sealed: put it back from where it was"
                " saved, or delete them with `sluice provider-key delete`, and custom providers with headers with"
                " `sluice custom-provider delete`, and store them anew"
            )
        write_master_key(path)
    control.seals.cover(control.seals.confirm(Vault.of(path.parent)))


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
