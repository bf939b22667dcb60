"""Commands on a folder whose packs lie elsewhere, run without the settings that say where, or without what is there."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.folder_objects import FolderObjects
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey


@pytest.fixture
def data(tmp_path: Path, entry_of: Callable[..., LogEntry]) -> Path:
    """Twelve logs, the bodies of ten of which are away; of another one the request was lost."""
    data = tmp_path / "data"
    bootstrap(data)
    with closing(EmbeddedControlReader.open(data / "control.db")) as control:
        gateway = control.gateway("local", "default")
        assert gateway is not None
    objects = FolderObjects.open(tmp_path / "objects")
    mint = Mint(0)
    logs = [NewLog(entry_of(mint.mint()), b"asked %d" % number, None) for number in range(12)]
    with closing(EmbeddedLogWriter.open(data / "shards", bounds=BOUNDS._replace(rows=10), objects=objects)) as writer:
        for some in (logs[:10], logs[10:]):
            writer.append(ShardKey("local", gateway.id.hex()), some, {})
        for _ in range(6):
            writer.tend()
            writer._tools.housekeeping._thread.submit(lambda: None).result()
    return data


def run(data: Path, *words: str, url: str = "") -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], env={"SLUICE_PACKS__URL": url} if url else {})


def bodies(done: Result) -> list[str | None]:
    return [json.loads(line).get("request") for line in done.stdout.splitlines()]


def test_an_export_without_the_bodies_that_are_away_says_so(data: Path, tmp_path: Path) -> None:
    whole = run(data, "logs", "export", url=f"file://{tmp_path}/objects")
    assert (whole.exit_code, bodies(whole)) == (0, [f"asked {number}" for number in range(12)])
    done = run(data, "logs", "export")
    assert (done.exit_code, bodies(done)) == (1, [*[None] * 10, "asked 10", "asked 11"])
    assert "10 bodies could not be read" in done.stderr
    assert "packs.url is not set" in done.stderr
    assert run(data, "logs", "export", "--no-bodies").exit_code == 0


def test_a_folder_that_is_not_mounted_is_no_empty_one(data: Path, tmp_path: Path) -> None:
    (tmp_path / "objects").rename(tmp_path / "unmounted")
    done = run(data, "logs", "export", url=f"file://{tmp_path}/objects")
    assert (done.exit_code, bodies(done)[9:]) == (1, [None, "asked 10", "asked 11"])
    assert f"there is no folder {tmp_path}/objects: is it mounted?" in done.stderr
    assert "is it mounted?" in run(data, "doctor", url=f"file://{tmp_path}/objects").stdout
    assert not (tmp_path / "objects").exists()


def test_a_mount_point_with_nothing_on_it_is_told_from_bodies_that_were_not_kept(data: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").mkdir()
    done = run(data, "logs", "export", url=f"file://{tmp_path}/objects")
    assert done.exit_code == 1
    assert "10 bodies could not be read" in done.stderr


def test_the_doctor_calls_nothing_sound_that_it_cannot_look_at(data: Path, tmp_path: Path) -> None:
    assert run(data, "doctor", url=f"file://{tmp_path}/objects").exit_code == 0
    done = run(data, "doctor")
    assert done.exit_code == 1
    assert "keeps 1 of its packs in a store of objects, and packs.url is not set" in done.stdout
