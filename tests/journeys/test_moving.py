"""Logs that leave one gateway and come into another, through a running server."""

import gzip
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

SPEND_LOGS = Path(__file__).parent.parent / "insight" / "litellm_spend_logs.jsonl"


@pytest.fixture
def own(start_gateway: Any) -> Any:
    gateway = start_gateway("--simulate", "--workers", "1")
    gateway.cli("gateway", "create", "other")
    return gateway


def run(own: Any, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = own.run_cli(*words)
    assert done.returncode == status, done.stderr
    return done


def test_what_is_exported_and_imported_is_exported_the_same(own: Any, tmp_path: Path) -> None:
    for model in ("gpt-4o", "gpt-4o-mini", "gpt-4o~status-503"):
        own.chat(model=model)
    own.logs(3)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl.gz"
    assert "3 logs exported" in run(own, "logs", "export", "-o", str(first)).stderr
    for said in ("3 logs are stored.", "3 logs are handed over, of which the last one was stored before"):
        assert said in run(own, "logs", "import", str(first), "--gateway", "other").stderr
    run(own, "logs", "export", "--gateway", "other", "-o", str(second))
    assert gzip.decompress(second.read_bytes()) == first.read_bytes()
    lines = [json.loads(line) for line in first.read_bytes().splitlines()]
    after = ["--after", lines[1]["entry"]["id"]]
    assert run(own, "logs", "export", *after).stdout == first.read_text().splitlines(keepends=True)[2]
    failed = run(own, "logs", "search", "--gateway", "other", "--filter", "success", "eq", "false", "--json").stdout
    assert [row["id"] for row in map(json.loads, failed.splitlines())] == [lines[2]["entry"]["id"]]
    assert own.cli("analytics", "--gateway", "other")["groups"]


def test_spend_logs_of_litellm_come_in_and_bad_lines_are_set_aside(own: Any, tmp_path: Path) -> None:
    file = tmp_path / "spend.jsonl"
    rows = SPEND_LOGS.read_bytes().splitlines(keepends=True)
    file.write_bytes(rows[0] + b"nonsense\n\n" + rows[1] + rows[2])
    done = run(own, "logs", "import", str(file), "--from", "litellm", status=1)
    assert "line 2: no JSON" in done.stderr
    assert (tmp_path / "spend.jsonl.rejected").read_bytes() == b"nonsense\n"
    found = run(own, "logs", "search", "--order-by", "cost", "--json").stdout
    costs = [(row["model"], row["cost"]) for row in map(json.loads, found.splitlines())]
    assert costs == [("gpt-4o-mini", 9e-6), ("text-embedding-3-small", 1e-7), ("gemini-2.0-flash", 0)]


def test_an_import_that_is_killed_is_begun_again_and_stores_each_log_once(own: Any, tmp_path: Path) -> None:
    row = json.loads(SPEND_LOGS.read_bytes().splitlines()[0])
    file = tmp_path / "many.jsonl"
    with file.open("w") as lines:
        for number in range(20_000):
            lines.write(json.dumps({**row, "request_id": f"r{number}"}) + "\n")
    words = ["logs", "import", str(file), "--gateway", "other", "--from", "litellm"]
    process = own.start_cli(*words)
    while not own.manage("GET", "/gateways/other/logs").json()["result_info"]["total_count"]:
        assert process.poll() is None
        time.sleep(0.01)  # until the first are stored: the rest is still being read
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "20000 logs are stored" in run(own, *words).stderr
    assert own.manage("GET", "/gateways/other/logs").json()["result_info"]["total_count"] == 20_000
