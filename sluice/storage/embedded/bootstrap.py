"""Makes the data folder: what must be there before the first process starts (design.md 8)."""

import os
from pathlib import Path

from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY, Vault, write_master_key
from sluice.values.secret import Secret


def bootstrap(data: Path) -> Secret | None:
    """Makes what is missing, and at the first start the account `local` and a token, whose text it returns.

    For the holder of the folder's lock. Killed anywhere, the next start goes on; one commit makes account and token.
    Raises StoreFault where the master key is not the one that provider keys were sealed under.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_generations(data / "generations.map")
    generations = MappedGenerations.open(data / "generations.map", writable=True)
    try:
        control = EmbeddedControlStore.open_for_writing(data / "control.db", generations)
        try:
            _settle_master_key(data / MASTER_KEY, control)
            token = control.first_start()
        finally:
            control.close()
    finally:
        generations.close()
    _sync(data)
    return token


def _settle_master_key(path: Path, control: EmbeddedControlStore) -> None:
    """Makes the key where nothing was sealed yet, and insists on the one that something was sealed under."""
    if not path.exists():
        if control.has_keys:
            raise StoreFault(
                f"{path} is missing, under which the stored provider keys were sealed: put it back from where it was"
                " saved, or delete them with `sluice provider-key delete` and store them anew"
            )
        write_master_key(path)
    control.confirm_master_key(Vault.of(path.parent).check)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
