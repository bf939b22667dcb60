"""Copies the spools while they are written, so that whoever goes on with the copy stores each log once."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sluice.spool.bad import bad_files
from sluice.spool.frames import FILE_HEADER_BYTES
from sluice.spool.layout import file_path, file_seqs, lock_path, side_files, spool_names

Copy = Callable[[Path, str, int | None], None]
"""Copies a file, or so many bytes of it, to a name; raises FileNotFoundError where it has gone."""


def copy_spools(root: Path, name: str, copy: Copy) -> None:
    """All frames that were appended before, with their side files, of those that are not stored by then.

    Before the shards: what the keeper stores and removes meanwhile is in their copies.
    """
    for spool in spool_names(root):
        folder, made = root / spool, f"{name}/{spool}"
        files = [file_path(folder, seq) for seq in file_seqs(folder)]
        for path in [*files, lock_path(folder)]:
            _copy_if_there(path, f"{made}/{path.name}", copy)
        for path in [*side_files(folder), *bad_files(folder)]:  # a frame's side files stay until it is stored
            _copy_if_there(path, f"{made}/{path.parent.name}/{path.name}", copy)


def copy_last_numbers(root: Path, name: str, target: Path, copy: Copy) -> None:
    """The newest file of each spool, empty where it is not copied yet.

    After the shards: frames of files up to this number may be stored in their copies, and whoever writes the spool
    next begins a later one.
    """
    for spool in spool_names(root):
        while seqs := file_seqs(root / spool):
            path = file_path(root / spool, seqs[-1])
            made = f"{name}/{spool}/{path.name}"
            if (target / made).exists():
                break
            _copy_if_there(path, made, copy, FILE_HEADER_BYTES)  # it may have got a successor, and gone


def _copy_if_there(path: Path, made: str, copy: Copy, size: int | None = None) -> None:
    with suppress(FileNotFoundError):
        copy(path, made, size)
