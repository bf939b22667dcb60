"""A disk that loses, at a power failure, whatever was not synced: what a dead machine leaves, made from a live folder.

A model stricter than common file systems. The content of a file is on the disk as it was when it was last synced; what
was written since is there or not, block by block. A name is there or not as its folder was when that was last synced.
Syncs are noticed in the process that does them: those of Python by `os.fsync` and `os.fdatasync`, those of SQLite by a
VFS. Another process then takes the notes, for to open and close a database beside SQLite drops its locks (POSIX). Every
inode that was seen is held by a link, so that none is used twice.

    python -m bench.store.power LIVE NOTES     takes notes: a line in, `content PATH` or `names PATH`, a line out
"""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

_BLOCK: Final = 4096
_FOLDER: Final = "folder"
_BASE: Final = "unix"


class Disk:
    """What of `live` is on the disk, written down in the folder `notes`, which outlives the process."""

    def __init__(self, live: Path, notes: Path) -> None:
        self.live, self.notes = live, notes

    def begin(self) -> None:
        """All that is there now is on the disk."""
        shutil.rmtree(self.notes, ignore_errors=True)
        for part in ("inodes", "durable", "names"):
            (self.notes / part).mkdir(parents=True)
        for folder, _, files in os.walk(self.live):
            for path in (Path(folder, name) for name in files):
                if path.is_file():
                    self.content_synced(path)
            self.names_synced(Path(folder))

    def content_synced(self, path: Path) -> None:
        if self.live not in path.parents:
            return
        try:
            inode = self._known(path)
            self._write(self.notes / "durable" / str(inode), path.read_bytes())
        except FileNotFoundError:
            return  # it has no name any more

    def names_synced(self, folder: Path) -> None:
        if folder != self.live and self.live not in folder.parents:
            return
        names: dict[str, int | str] = {}
        for entry in list(os.scandir(folder)):
            try:
                if entry.is_dir():
                    names[entry.name] = _FOLDER
                elif entry.is_file():
                    names[entry.name] = self._known(Path(entry.path))
            except FileNotFoundError:
                continue
        self._write(self._names_of(folder), json.dumps(names).encode())

    def fail(self, chance: random.Random) -> None:
        """The power fails: `live` becomes what a machine finds when it starts again."""
        after = self.notes / "after"
        self._restore(self.live, after, chance)
        shutil.rmtree(self.live)
        after.rename(self.live)
        self.begin()

    def _restore(self, folder: Path, to: Path, chance: random.Random) -> None:
        to.mkdir(mode=0o700)
        noted = self._names_of(folder)
        names = json.loads(noted.read_bytes()) if noted.exists() else {}
        for name, inode in names.items():
            if inode == _FOLDER:
                self._restore(folder / name, to / name, chance)
            else:
                (to / name).write_bytes(self._survived(str(inode), chance))
                (to / name).chmod(0o600)

    def _survived(self, inode: str, chance: random.Random) -> bytes:
        """Synced content, or what was written since, for each block by chance; and as much of the end."""
        durable = self.notes / "durable" / inode
        before = durable.read_bytes() if durable.exists() else b""
        now = (self.notes / "inodes" / inode).read_bytes()
        length = chance.choice((len(before), len(now), chance.randint(*sorted((len(before), len(now))))))
        blocks = []
        for start in range(0, length, _BLOCK):
            old, new = before[start : start + _BLOCK], now[start : start + _BLOCK]
            blocks.append(chance.choice((old, new)).ljust(min(_BLOCK, length - start), b"\0"))
        return b"".join(blocks)[:length]

    def _known(self, path: Path) -> int:
        inode = path.stat().st_ino
        link = self.notes / "inodes" / str(inode)
        if not link.exists():
            link.hardlink_to(path)
        return inode

    def _names_of(self, folder: Path) -> Path:
        return self.notes / "names" / "|".join(["live", *folder.relative_to(self.live).parts])

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, for the process may be killed at any time."""
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(data)
        draft.rename(path)


class Notary:
    """The process that takes notes; whoever synced waits until it has."""

    def __init__(self, live: Path, notes: Path) -> None:
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "bench.store.power", str(live), str(notes)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def note(self, what: str, path: Path) -> None:
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(f"{what} {path}\n")
            self._process.stdin.flush()
            self._process.stdout.readline()


def watch(live: Path, notes: Path) -> None:
    """From now on the syncs of this process are written down."""
    notary = Notary(live, notes)
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _watched(getattr(os, name), notary))
    vfs = _WatchedVFS(notary)
    apsw.set_default_vfs(vfs.vfs_name)
    _kept.append(vfs)


_kept: Final[list[Any]] = []


def _watched(sync: Any, notary: Notary) -> Any:
    def watched(descriptor: Any) -> None:
        sync(descriptor)
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        notary.note("names" if path.is_dir() else "content", path)

    return watched


class _WatchedVFS(apsw.VFS):
    def __init__(self, notary: Notary) -> None:
        self.vfs_name = "watched"
        self._notary = notary
        super().__init__(self.vfs_name, _BASE)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:
        return _WatchedFile(self._notary, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        if syncdir:
            self._notary.note("names", Path(filename).parent)


class _WatchedFile(apsw.VFSFile):
    def __init__(self, notary: Notary, name: Any, flags: Any) -> None:
        super().__init__(_BASE, name, flags)
        self._notary = notary
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(text) if text else None
        self._is_new_log = text is not None and str(text).endswith(("-wal", "-journal"))

    def xLock(self, level: int) -> None:
        """A connection that only reads tries in vain to lock as a writer when it closes, which SQLite overlooks."""
        try:
            super().xLock(level)
        except apsw.IOError as error:
            raise apsw.BusyError from error

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._path is None:
            return
        self._notary.note("content", self._path)
        if self._is_new_log:  # SQLite syncs the folder of a new log with it
            self._is_new_log = False
            self._notary.note("names", self._path.parent)


def main() -> None:
    disk = Disk(Path(sys.argv[1]), Path(sys.argv[2]))
    take = {"content": disk.content_synced, "names": disk.names_synced}
    for line in sys.stdin:
        what, _, path = line.rstrip("\n").partition(" ")
        take[what](Path(path))
        with suppress(BrokenPipeError):  # whoever asked was killed meanwhile
            os.write(sys.stdout.fileno(), b"\n")


if __name__ == "__main__":
    main()
