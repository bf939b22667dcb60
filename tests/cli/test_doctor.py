"""`sluice doctor`, as who runs a server meets it: beside it, and after something went wrong with its disk."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from sluice.spool.bad import keep_span
from sluice.spool.layout import make_folder
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.supervisor import lock
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey

SHARD = ShardKey("local", "ab" * 16)


@pytest.fixture
def data(tmp_path: Path, entry_of: Callable[..., LogEntry]) -> Path:
    """The folder of a server that has stored some logs and was stopped."""
    data = tmp_path / "data"
    bootstrap(data)
    writer = EmbeddedLogWriter.open(data / "shards")
    mint = Mint(0)
    writer.append(SHARD, [NewLog(entry_of(mint.mint()), b"asked %d" % number, b"told") for number in range(20)], {})
    writer.close()
    return data


def doctor(data: Path, *words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["doctor", *words, "--data", str(data)])
    assert done.exit_code == status, done.output
    return done


def test_a_sound_folder_is_said_to_be(data: Path):
    done = doctor(data)
    assert (done.stdout, done.stderr) == ("", f"{data} is sound.\n")
    assert json.loads(doctor(data, "--json", "--repair").stdout) == {"mended": [], "found": []}


def test_damage_is_named_mended_and_then_gone(data: Path):
    (data / "usage.db").write_bytes(b"x" * 4096)
    (data / "generations.map").write_bytes(b"x")
    (pack,) = (data / "shards").rglob("*.pack")
    os.truncate(pack, pack.stat().st_size - 1)
    lines = doctor(data, status=1).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["damaged", "usage.db"],
        ["damaged", "generations.map"],
        *[["damaged", str(pack.relative_to(data))]] * 2,
    ]
    assert all("(--repair)" in line for line in lines)
    mended = doctor(data, "--repair").stdout.splitlines()
    assert [line.split()[0] for line in mended] == ["mended"] * 3
    assert "1 of its bodies are damaged or gone" in mended[-1]
    bootstrap(data)
    assert doctor(data).stdout == ""


def test_bodies_are_left_out_where_it_is_to_be_quick(data: Path):
    (pack,) = (data / "shards").rglob("*.pack")
    with pack.open("r+b") as file:
        file.seek(20)
        file.write(b"\xa5\xa5")
    assert doctor(data, "--quick").stdout == ""
    assert "bodies in it are damaged, as of log 01" in doctor(data, status=1).stdout


def test_what_only_a_backup_mends_is_said_so(data: Path):
    (data / "control.db").write_bytes(b"x" * 4096)
    (data / "master.key").chmod(0o644)
    (data / "spool").mkdir(exist_ok=True)
    make_folder(data / "spool" / "0")
    keep_span(data / "spool" / "0", 1, 64, b"nonsense")
    for words in ((), ("--repair",)):
        said = doctor(data, *words, status=1).stdout
        assert "control.db cannot be read" in said
        assert "restore it from a backup" in said
        assert f"chmod 600 {data / 'master.key'}" in said
        assert "spool/0/bad 1 frames or spans, 8 bytes, were set aside" in said


def test_a_gateways_folder_that_may_not_be_written_is_named(data: Path):
    (folder,) = (data / "shards").glob("*/*")
    folder.chmod(0o500)
    said = doctor(data, status=1).stdout
    assert "may not be written to" in said
    assert f"chmod 700 {folder}" in said
    folder.chmod(0o700)
    assert doctor(data).stdout == ""


def test_a_folder_that_is_none_and_one_in_use_are_refused(data: Path, tmp_path: Path):
    assert "is no data folder of Sluice" in doctor(tmp_path, status=1).stderr
    with lock.hold(data, "sluice serve"):
        assert "sluice serve" in doctor(data, "--repair", status=1).stderr
        assert doctor(data).stdout == ""


def test_it_looks_on_while_a_server_writes(gateway: Any):
    replies = [gateway.chat(n=1) for _ in range(5)]
    gateway.logs(5)
    done = gateway.run_cli("doctor")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert all(reply.status_code == 200 for reply in replies)
