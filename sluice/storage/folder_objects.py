"""A store of objects in a folder: each a file of its owner's alone that survives a power loss when a call returns."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Final, Self

from sluice.storage.embedded.open import datasync, sync_path
from sluice.storage.ports import ObjectFault, ObjectMissing

_PART: Final = ".part"
"""Ends the name of a file that is being written. A crash leaves at most one for each, and the next try takes it."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class FolderObjects:
    """Objects below one folder. A name is written by one thread at a time.

    A folder that is not there is a fault of each call: an empty one in the place of what is not mounted would look like
    lost objects.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def open(cls, root: Path) -> Self:
        """Makes the folder where it is missing, for its owner alone; raises ObjectFault where it cannot."""
        with _faults(str(root)):
            _make(root)
        return cls(root)

    def put(self, name: str, data: bytes) -> None:
        self._write(name, BytesIO(data))

    def put_file(self, name: str, path: Path) -> None:
        with self._faults(name), path.open("rb") as file:
            self._write(name, file)

    def read(self, name: str, start: int, length: int) -> bytes:
        with self._faults(name), self._path(name).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, start)

    def size(self, name: str) -> int | None:
        with suppress(ObjectMissing), self._faults(name):
            return self._path(name).stat().st_size
        return None

    def delete(self, name: str) -> None:
        with self._faults(name):
            self._path(name).unlink(missing_ok=True)

    def names(self, prefix: str) -> Iterator[str]:
        with self._faults(prefix):
            for folder, _, files in os.walk(self._root / prefix):
                below = Path(folder).relative_to(self._root)
                yield from (str(below / file) for file in files if not file.endswith(_PART))

    def _write(self, name: str, data: IO[bytes]) -> None:
        """The file first, then its name, then the folders that lead to it."""
        with self._faults(name):
            path = self._path(name)
            _make(path.parent)
            part = path.with_name(path.name + _PART)
            with open(os.open(part, _NEW, 0o600), "wb") as file:
                shutil.copyfileobj(data, file)
                file.flush()
                datasync(file.fileno())
            part.replace(path)
            for folder in path.parents:
                sync_path(folder)
                if folder == self._root:
                    break

    def _path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/"):
            raise ObjectFault(f"{name}: no object can have this name")
        return self._root / name

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        if not self._root.is_dir():
            raise ObjectFault(f"there is no folder {self._root}: is it mounted?")
        with _faults(what):
            yield


def _make(folder: Path) -> None:
    """With those above it, of which each is on disk before there is one in it."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_path(folder.parent)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"{what}: there is no such object") from error
    except OSError as error:
        raise ObjectFault(f"{what}: {type(error).__name__}: {error.strerror or error}") from error
