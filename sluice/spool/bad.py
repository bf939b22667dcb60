"""What is damaged in a spool, kept in its folder `bad/` for people to look at: so many files and bytes, and no more."""

import os
from pathlib import Path
from typing import Final

from sluice.spool.layout import file_path, make_folder

MOST_FILES: Final = 1_000
MOST_BYTES: Final = 256 * 1024 * 1024
_FOLDER: Final = "bad"
_SUFFIX: Final = ".bad"


class TooMuchDamage(OSError):
    """As much is kept as may be."""


def bad_path(folder: Path, seq: int, offset: int) -> Path:
    """Where the damaged span of file `seq` that begins at `offset` is kept."""
    return folder / _FOLDER / f"{seq:010d}-{offset:010d}{_SUFFIX}"


def bad_files(folder: Path) -> list[Path]:
    """All that is kept of this spool."""
    return sorted((folder / _FOLDER).glob(f"*{_SUFFIX}"))


def keep_span(folder: Path, seq: int, offset: int, data: bytes) -> None:
    """Raises OSError, TooMuchDamage among them."""
    _make_room(folder, len(data))
    bad_path(folder, seq, offset).write_bytes(data)


def keep_file(folder: Path, seq: int) -> None:
    """A whole file, by a second name: it stays when the first is removed. Raises OSError, TooMuchDamage among them."""
    path, kept = file_path(folder, seq), bad_path(folder, seq, 0)
    _make_room(folder, path.stat().st_size)
    kept.unlink(missing_ok=True)
    os.link(path, kept)


def _make_room(folder: Path, size: int) -> None:
    """The oldest damage tells most about its cause: what comes after it gives way."""
    kept = bad_files(folder)
    if len(kept) >= MOST_FILES or sum(path.stat().st_size for path in kept) + size > MOST_BYTES:
        raise TooMuchDamage(f"{_FOLDER}/ holds {len(kept)} files, and no more are kept")
    make_folder(folder / _FOLDER)
