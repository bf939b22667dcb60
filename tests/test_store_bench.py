"""The log store's own bench and soak, in short: what the figures and promises of docs/benchmarks.md rest on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.store.bringing import bring
from bench.store.killing import kill

ROOT = Path(__file__).parent.parent
LOGS = 20_000


def run_bench(folder: Path, module: str, *words: str) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--raw", str(folder / "raw.json")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_store_is_filled_asked_and_emptied(tmp_path: Path):
    run_bench(tmp_path, "bench.store", "--store", str(LOGS))
    raw = json.loads((tmp_path / "raw.json").read_bytes())
    assert len(raw["ingest"]["steps"]) == 10
    assert raw["room"]["index"] + raw["room"]["packs"] < raw["ingest"]["raw_bytes"] / 3
    found = {each["name"]: each for each in raw["queries"]}
    assert all(each["exact"] and each["complete"] for each in found.values())
    assert found["search by id"]["total"] == 1
    assert found["nobody's user agent"]["total"] == 0
    assert LOGS * 0.3 < found["a common model"]["total"] < LOGS
    assert raw["retention"]["left"] == 10_000


def isolation(folder: Path, *parts: str) -> Any:
    sizes = {"gateways": 50, "rate": 200, "flood": 1000, "seconds": 1, "known": 100, "logs": 500}
    words = ["--isolation", *(f"--{name}={size}" for name, size in sizes.items())]
    said = run_bench(folder, "bench.store.isolation", *words, *(f"--part={part}" for part in parts))
    assert "MISSED" not in said
    return json.loads((folder / "raw.json").read_bytes())


def test_gateways_are_measured_beside_each_other(tmp_path: Path):
    raw = isolation(tmp_path, "crowd", "delete")
    assert [stream["logs"] for stream in raw["even"]["paced"]] == [200]
    assert [stream["logs"] for stream in raw["flood"]["paced"]] == [49, 1_000]
    assert (raw["quiet"]["lag"]["logs"], raw["flood"]["lag"]["logs"]) == (49, 49)
    assert raw["deleted"]["disk_s"] < 5


def test_gateways_are_measured_beside_others_that_are_known(tmp_path: Path):
    raw = isolation(tmp_path, "known")
    assert [each["known"] for each in raw["started"]] == [0, 100]
    assert [each["seen"]["lag"]["logs"] for each in raw["started"]] == [50, 50]


@pytest.mark.parametrize("power", [False, True], ids=["a dead keeper", "a power failure"])
def test_no_log_is_lost_twice_there_or_back_whenever_the_keeper_dies(tmp_path: Path, *, power: bool):
    assert "all as they should be" in kill(tmp_path / "data", 4, power=power)


def test_foreign_logs_are_stored_once_however_often_they_are_imported(tmp_path: Path):
    assert "10,000 lines, " in bring(tmp_path / "data", 10_000)
