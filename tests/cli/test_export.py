"""`sluice logs export` to Parquet: what a real store holds reads back equal, and a file is whole or not there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sluice.insight.parquet import GROUP_ROWS
from tests.conftest import SLUICE, SOURCE

SPEND_LOGS = Path(__file__).parent.parent / "insight" / "litellm_spend_logs.jsonl"


@pytest.fixture(scope="module")
def own(start_shared_gateway: Any) -> Any:
    """A gateway with four logs: an answer, a stream, a failure and one whose bodies were not kept."""
    gateway = start_shared_gateway("--simulate", "--workers", "1")
    gateway.cli("gateway", "create", "many")
    gateway.chat()
    gateway.chat(stream=True)
    gateway.chat(model="gpt-4o~status-503")
    headers = {"cf-aig-collect-log-payload": "false", "cf-aig-metadata": '{"team": "a", "n": 2}'}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    gateway.http.post(f"{gateway.inference_url()}/v1/chat/completions", json=body, headers=headers)
    gateway.logs(4)
    return gateway


@pytest.fixture(scope="module")
def many(own: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, with a few logs more than a row group takes in the gateway `many`."""
    row = json.loads(SPEND_LOGS.read_bytes().splitlines()[0])
    spent = tmp_path_factory.mktemp("spent") / "spent.jsonl"
    with spent.open("w") as lines:
        lines.writelines(json.dumps({**row, "request_id": f"r{number}"}) + "\n" for number in range(GROUP_ROWS + 5))
    run(own, "import", str(spent), "--gateway", "many", "--from", "litellm")
    return own


def run(own: Any, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = own.run_cli("logs", *words)
    assert done.returncode == status, done.stderr
    return done


def rows_of(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def body_of(line: dict[str, Any], side: str) -> bytes | None:
    return line[side].encode() if side in line else None


def test_a_store_reads_back_as_the_lines_and_the_api_show_it(own: Any, tmp_path: Path) -> None:
    file = tmp_path / "logs.parquet"
    assert "4 logs exported" in run(own, "export", "--format", "parquet", "-o", str(file)).stderr
    said = f"Error: {file} is a Parquet file, and an import reads lines of JSON: export without --format parquet.\n"
    assert run(own, "import", str(file), status=1).stderr == said
    lines = [json.loads(line) for line in run(own, "export").stdout.splitlines()]
    shown = own.logs(4)[::-1]
    rows = rows_of(file)
    assert [row["id"] for row in rows] == [log["id"] for log in shown]
    for row, log, line in zip(rows, shown, lines, strict=True):
        for name in row.keys() & (log.keys() - {"created_at", "metadata"}):
            assert row[name] == log[name], name
        assert f"{row['created_at']:%Y-%m-%dT%H:%M:%S}.{row['created_at'].microsecond // 1000:03}Z" == log["created_at"]
        assert row["cost_nano"] == line["entry"]["cost_nano"]
        assert (row["request"], row["response"]) == (body_of(line, "request"), body_of(line, "response"))
    assert json.loads(rows[3]["metadata"]) == {"team": "a", "n": 2}
    assert [row["request"] is None for row in rows] == [False, False, False, True]
    assert (os.listdir(tmp_path), file.stat().st_mode & 0o777) == (["logs.parquet"], 0o600)


def test_filters_after_and_no_bodies_choose_what_is_in_it(own: Any, tmp_path: Path) -> None:
    file = tmp_path / "logs.parquet"
    words = ["export", "--format", "parquet", "-o", str(file)]
    run(own, *words, "--filter", "success", "eq", "false", "--no-bodies")
    (failed,) = rows_of(file)
    assert (failed["status_code"], failed["success"]) == (503, False)
    assert failed.keys().isdisjoint({"request", "response"})
    run(own, *words, "--after", failed["id"])  # takes the place of the one before
    assert [json.loads(row["metadata"]) for row in rows_of(file)] == [{"team": "a", "n": 2}]


def test_a_pipe_gets_the_same_bytes(own: Any, tmp_path: Path) -> None:
    file = tmp_path / "logs.parquet"
    words = ["logs", "export", "--format", "parquet", "--data", str(own.data)]
    run(own, *words[1:4], "-o", str(file))
    piped = subprocess.run([*SLUICE, *words], capture_output=True, timeout=60, check=True, env=environment())
    assert piped.stdout == file.read_bytes()


def test_row_groups_of_many_logs_are_bounded(many: Any, tmp_path: Path) -> None:
    file = tmp_path / "many.parquet"
    run(many, "export", "--gateway", "many", "--format", "parquet", "-o", str(file))
    found = pq.ParquetFile(file)
    assert [found.metadata.row_group(number).num_rows for number in range(found.num_row_groups)] == [GROUP_ROWS, 5]
    rows = rows_of(file)
    assert {row["event_id"] for row in rows} == {f"r{number}" for number in range(GROUP_ROWS + 5)}
    assert {json.loads(row["response"])["id"] for row in rows} == {"chatcmpl-1"}


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_export_that_is_interrupted_leaves_what_was_there(many: Any, tmp_path: Path, kind: str, by: int) -> None:
    file = tmp_path / f"logs.{kind}"
    file.write_bytes(b"the one before")
    process = many.start_cli("logs", "export", "--gateway", "many", "--format", kind, "-o", str(file))
    many.until(lambda: list(tmp_path.glob("*.part")), "the file beside it")
    process.send_signal(by)
    assert process.wait() != 0
    assert file.read_bytes() == b"the one before"
    assert by == signal.SIGKILL or os.listdir(tmp_path) == [file.name]


def test_a_file_that_is_replaced_keeps_who_may_read_it(own: Any, tmp_path: Path) -> None:
    file = tmp_path / "logs.jsonl"
    file.touch(0o640)
    file.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    run(own, "export", "-o", str(link))
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)
    assert len(file.read_bytes().splitlines()) == 4


def test_a_named_pipe_is_written_as_it_is(own: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "logs.jsonl"
    os.mkfifo(pipe)
    process = own.start_cli("logs", "export", "-o", str(pipe))
    assert len(pipe.read_bytes().splitlines()) == 4
    assert process.wait() == 0
    assert pipe.is_fifo()


def test_without_the_library_it_says_what_to_install_and_writes_nothing(own: Any, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from sluice.cli.main import main; main()"
    words = ["logs", "export", "--format", "parquet", "-o", str(tmp_path / "logs"), "--data", str(own.data)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 1
    assert "pip install 'sluice-gateway[parquet]'" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--format", "parquet", "-o", "logs.parquet.gz"], "without .gz"),
        (["-o", "nowhere/logs.jsonl"], "cannot be written: No such file or directory"),
        (["--format", "csv"], "'csv' is not one of 'jsonl', 'parquet'"),
    ],
)
def test_what_cannot_be_written_is_told(own: Any, words: list[str], why: str) -> None:
    done = own.run_cli("logs", "export", *words)
    assert done.returncode in (1, 2)
    assert why in done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE}
