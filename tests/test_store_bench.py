"""The log store's own bench and soak, in short: what the figures and promises of docs/benchmarks.md rest on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.bringing import bring
from bench.store.killing import kill

ROOT = Path(__file__).parent.parent
LOGS = 20_000


def test_a_small_store_is_filled_asked_and_emptied(tmp_path: Path):
    command = [sys.executable, "-m", "bench.store", "--store", str(LOGS), "--raw", str(tmp_path / "raw.json")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    raw = json.loads((tmp_path / "raw.json").read_bytes())
    assert len(raw["ingest"]["steps"]) == 10
    assert raw["room"]["index"] + raw["room"]["packs"] < raw["ingest"]["raw_bytes"] / 3
    found = {each["name"]: each for each in raw["queries"]}
    assert all(each["exact"] and each["complete"] for each in found.values())
    assert found["search by id"]["total"] == 1
    assert found["nobody's user agent"]["total"] == 0
    assert LOGS * 0.3 < found["a common model"]["total"] < LOGS
    assert raw["retention"]["left"] == 10_000


@pytest.mark.parametrize("power", [False, True], ids=["a dead keeper", "a power failure"])
def test_no_log_is_lost_twice_there_or_back_whenever_the_keeper_dies(tmp_path: Path, *, power: bool):
    assert "all as they should be" in kill(tmp_path / "data", 4, power=power)


def test_foreign_logs_are_stored_once_however_often_they_are_imported(tmp_path: Path):
    assert "10,000 lines, " in bring(tmp_path / "data", 10_000)
