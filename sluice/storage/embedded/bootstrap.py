"""Makes the data folder: what must be there before the first process starts (design.md 8)."""

import os
import secrets
from pathlib import Path

from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.values.secret import Secret


def bootstrap(data: Path) -> Secret | None:
    """Makes what is missing, and at the first start the account `local` and a token, whose text it returns.

    For the holder of the folder's lock. Killed anywhere, the next start goes on; one commit makes account and token.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    _create_master_key(data / "master.key")
    create_generations(data / "generations.map")
    generations = MappedGenerations.open(data / "generations.map", writable=True)
    try:
        control = EmbeddedControlStore.open_for_writing(data / "control.db", generations)
        try:
            token = control.first_start()
        finally:
            control.close()
    finally:
        generations.close()
    _sync(data)
    return token


def _create_master_key(path: Path) -> None:
    """A key half written would be worse than none: it gets its name when it is whole and on disk."""
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_hex(32).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(draft, path)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
