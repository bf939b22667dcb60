"""The data folder has one holder."""

import fcntl
import os
from pathlib import Path

import pytest

from sluice.spool.layout import CONSOLES
from sluice.supervisor import lock


def test_the_folder_is_made_private_and_held_once(tmp_path: Path):
    data = tmp_path / "data"
    with lock.hold(data, "A Sluice server"):
        assert data.stat().st_mode & 0o777 == 0o700
        with (
            pytest.raises(lock.FolderInUse, match=rf"^A Sluice server \(process {os.getpid()}\) already works on"),
            lock.hold(data, "sluice gateway"),
        ):
            pass
    with lock.hold(data, "sluice gateway"):
        assert (data / "sluice.lock").read_text() == f"sluice gateway (process {os.getpid()})\n"


def test_spools_whose_worker_lives_are_told_from_others(tmp_path: Path):
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    (tmp_path / "2").mkdir()
    console = tmp_path / str(CONSOLES[0])
    console.mkdir()
    with (tmp_path / "1" / "lock").open() as living, (console / "lock").open("w") as consoles:
        fcntl.flock(living, fcntl.LOCK_EX)
        fcntl.flock(consoles, fcntl.LOCK_EX)
        assert lock.held_spools(tmp_path) == {tmp_path / "1" / "lock"}
    assert lock.held_spools(tmp_path) == set()
    assert not lock.is_held(tmp_path / "2" / "lock")
