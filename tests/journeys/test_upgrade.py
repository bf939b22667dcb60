"""A server goes on as the Sluice that is installed in its place, by SIGUSR2; what would not start is not begun."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner

from sluice.cli.main import main
from sluice.storage.embedded.bootstrap import bootstrap
from tests.conftest import SOURCE, Gateway


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A Sluice of its own."""
    folder = tmp_path / "installed" / "sluice"
    shutil.copytree(Path(SOURCE) / "sluice", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def own(tmp_path: Path, installed: Path) -> Iterator[Gateway]:
    environment = {"PYTHONPATH": str(installed.parent), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    gateway = Gateway(tmp_path / "data", "--simulate", "--workers", "1", env=environment)
    yield gateway
    gateway.stop()


def test_it_goes_on_as_what_is_installed_unless_that_would_not_start(own: Gateway, installed: Path):
    code, pid = (installed / "__init__.py").read_text(), own.process.pid
    (installed / "__init__.py").write_text(code.replace("__version__ = ", "__version__ = 'broken"))
    os.kill(pid, signal.SIGUSR2)
    assert "SyntaxError" in own.wait_for_event("upgrade refused, all stays as it was")["why"]
    before = own.processes()
    assert own.chat().status_code == 200
    (installed / "__init__.py").write_text('"""The next one."""\n\n__version__ = "9.9.9"\n')
    os.kill(pid, signal.SIGUSR2)
    assert own.wait_for_event("took over")["version"] == "9.9.9"
    replaced = ("sluice: worker 1", "sluice: keeper", "sluice: console")
    own.until(lambda: all(own.processes().get(name, 0) not in (0, before[name]) for name in replaced), "successors")
    assert own.processes()["sluice: supervisor"] == pid
    last = own.chat().headers["cf-aig-log-id"]
    assert own.log(last)["success"]
    assert len(own.logs(2)) == 2
    assert own.terminate() == 0


def test_a_start_can_be_tried_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = tmp_path / "data"
    words = ["serve", "--check", "--data", str(data)]
    assert "can serve" in CliRunner().invoke(main, words).stdout
    assert not data.exists()
    bootstrap(data)
    assert CliRunner().invoke(main, words).exit_code == 0
    with closing(apsw.Connection(str(data / "control.db"))) as db:
        db.pragma("user_version", 999)
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, "is of edition 999" in done.stderr) == (1, True)
    monkeypatch.setenv("SLUICE_SERVER__PROT", "1")
    assert "SLUICE_SERVER__PROT" in CliRunner().invoke(main, words).stderr
