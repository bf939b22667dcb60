"""`sluice backup` beside a server under load, and a server that is started on the copy."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from tests.conftest import SLUICE, Gateway, environment_of

LONG = "long " * 20_000
SETTINGS: dict[str, Any] = {"spool": {"file_bytes": 200_000}, "logs": {"flush_ms": 20.0}}


@pytest.fixture(scope="module")
def idle(start_shared_gateway: Any) -> Gateway:
    """For all tests; the last but one ends it."""
    gateway: Gateway = start_shared_gateway("--simulate", "--workers", "1", **SETTINGS)
    return gateway


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    started: list[Gateway] = []

    def serve(data: Path) -> Gateway:
        started.append(Gateway(data, "--simulate", "--workers", "1", env=environment_of(SETTINGS)))
        return started[-1]

    yield serve
    for gateway in started:
        gateway.stop()


def backup(own: Gateway, dest: Path, *words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["backup", str(dest), *words, "--data", str(own.data)])
    assert done.exit_code == status, done.output
    return done


def exported(own: Gateway) -> list[dict[str, Any]]:
    done = own.run_cli("logs", "export")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Traffic:
    """Calls one after the other until it is stopped, and which of them were answered."""

    def __init__(self, own: Gateway) -> None:
        self.answered: list[str] = []
        self._own, self._stop = own, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            text = LONG if number % 5 == 0 else f"call {number}"
            messages = [{"role": "user", "content": f"{text} {number}"}]
            reply = self._own.chat(messages=messages, stream=number % 3 == 0)
            assert reply.status_code == 200
            self.answered.append(reply.headers["cf-aig-log-id"])


def test_a_killed_backup_leaves_the_former_one_as_it_was_and_is_cleared_away(idle: Gateway, tmp_path: Path):
    copy = tmp_path / "copy"
    idle.chat()
    idle.logs(1)
    backup(idle, copy)
    was = (copy / "backup.json").read_bytes()
    process = subprocess.Popen([*SLUICE, "backup", str(copy), "--data", str(idle.data)])
    idle.until(lambda: (tmp_path / ".copy.part").exists() or process.poll() is not None, "its beginning")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / ".copy.part").exists()
    assert not (tmp_path / ".copy.part" / "backup.json").exists()
    assert (copy / "backup.json").read_bytes() == was
    backup(idle, copy, "--verify")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_places_that_cannot_be_are_refused(idle: Gateway, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for place, said in {
        idle.data: "neither may be in the other",
        idle.data / "spool" / "copy": "neither may be in the other",
        idle.data.parent: "neither may be in the other",
        tmp_path / "missing" / "copy": "There is no folder",
        tmp_path / "other": "is no backup",
    }.items():
        assert said in backup(idle, place, status=1).stderr
    assert (tmp_path / "other" / "file").exists()
    copy = tmp_path / "copy"
    backup(idle, copy)
    (copy / "sluice.lock").touch()
    assert "A server has worked on" in backup(idle, copy, status=1).stderr


def test_a_server_on_a_copy_made_under_load_has_every_log_once_with_its_bodies(
    idle: Gateway, served: Any, tmp_path: Path
):
    copy = tmp_path / "copies" / "sluice"
    copy.parent.mkdir()
    traffic = Traffic(idle)
    idle.logs(20)
    backup(idle, copy)
    before = list(traffic.answered)
    backup(idle, copy)
    traffic.stop()
    idle.log(traffic.answered[-1])
    original = {line["entry"]["id"]: line for line in exported(idle)}
    idle.terminate()

    restored = served(copy)
    restored.log(restored.chat().headers["cf-aig-log-id"])  # behind which nothing of the gateway waits any more
    found = exported(restored)
    ids = [line["entry"]["id"] for line in found]
    assert len(ids) == len(set(ids))
    assert len(set(ids) - set(original)) == 1, "what was called of the restored server is stored, and nothing invented"
    assert [line for line in found if line["entry"]["id"] in before] == [original[each] for each in sorted(before)]
    assert restored.run_cli("doctor").stdout == ""


def test_the_next_backup_takes_over_what_has_not_changed(idle: Gateway, tmp_path: Path):
    if idle.process.poll() is None:  # else the test before has ended it
        idle.log(idle.chat().headers["cf-aig-log-id"])
        idle.terminate()
    for path in idle.data.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    copy = tmp_path / "copy"
    first = json.loads(backup(idle, copy, "--verify", "--copy", "--json").stdout)
    stored = {path: path.stat() for path in (copy / "shards").rglob("*.*")}
    second = json.loads(backup(idle, copy, "--verify", "--copy", "--json").stdout)
    size = sum(found.st_size for found in stored.values())
    assert first["kept_bytes"] == first["linked_bytes"] == 0
    assert (
        second["kept_bytes"] >= size == first["copied_bytes"] - second["copied_bytes"] - (second["kept_bytes"] - size)
    )
    assert {path.stat().st_ino for path in stored} == {found.st_ino for found in stored.values()}
    assert list(tmp_path.glob(".*")) == []
    assert list(copy.rglob("*-shm")) == list(copy.rglob("*-wal")) == []
    assert "is sound" in idle.run_cli("doctor").stderr
    assert not (copy / "master.key").exists()
    assert "master.key is not in it" in backup(idle, copy).stderr
    backup(idle, copy, "--master-key")
    assert (copy / "master.key").read_bytes() == (idle.data / "master.key").read_bytes()
