"""What is promised when processes die: the short form of `scripts/soak`."""

import signal
from pathlib import Path

import pytest

from bench import soak


async def test_killed_processes_lose_no_log(tmp_path: Path):
    account = await soak.kill(tmp_path / "data", rounds=3, rate=300)
    assert len(account.ended) > 300


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_no_request_is_cut_when_the_server_ends(tmp_path: Path, by: signal.Signals):
    account = await soak.end(tmp_path / "data", by, rate=300)
    assert len(account.ended) > 300


@pytest.mark.parametrize(("by", "rounds"), [(signal.SIGHUP, 3), (signal.SIGUSR2, 2)])
async def test_a_reload_or_upgrade_under_load_cuts_no_request_and_loses_no_log(
    tmp_path: Path, by: signal.Signals, rounds: int
):
    account = await soak.reload(tmp_path / "data", rounds, rate=300, by=by)
    assert len(account.ended) > 300
