"""`sluice doctor`, as who runs a server meets it: beside it, and after something went wrong with its disk."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import sluice
from sluice.cli.main import main
from sluice.spool.bad import keep_span
from sluice.spool.layout import make_folder
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.supervisor import lock
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey
from tests.conftest import SLUICE, SOURCE

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
    assert done.stdout == ""
    assert done.stderr.endswith(f"{data} is sound.\n")
    told = json.loads(doctor(data, "--json", "--repair").stdout)
    assert (told["mended"], told["found"]) == ([], [])
    assert told["versions"]["sluice"] == sluice.__version__
    assert "has no price list yet" in " ".join(note["what"] for note in told["notes"])


def test_damage_is_named_mended_and_then_gone(data: Path):
    (data / "usage.db").write_bytes(b"x" * 4096)
    (data / "cache.db").write_bytes(b"x" * 4096)
    (data / "limits.map").write_bytes(b"x" * 4096)
    (data / "generations.map").write_bytes(b"x")
    (pack,) = (data / "shards").rglob("*.pack")
    os.truncate(pack, pack.stat().st_size - 1)
    lines = doctor(data, status=1).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["damaged", "usage.db"],
        ["damaged", "cache.db"],
        ["damaged", "limits.map"],
        ["damaged", "generations.map"],
        *[["damaged", str(pack.relative_to(data))]] * 2,
    ]
    assert all("(--repair)" in line for line in lines)
    mended = doctor(data, "--repair").stdout.splitlines()
    assert [line.split()[0] for line in mended] == ["mended"] * 5
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


def certificate(path: Path, days: float) -> Path:
    """A certificate that ends in so many days, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sluice")])
    ends = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=400))
        .not_valid_after(ends)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@pytest.mark.parametrize(
    ("days", "status", "said"),
    [(-1.0, 1, "wrong   {} has expired"), (5.0, 0, "note    {} expires on 2"), (100.0, 0, "")],
)
def test_certificates_that_end_are_told_of(
    data: Path, monkeypatch: pytest.MonkeyPatch, days: float, status: int, said: str
):
    pem = certificate(data.parent / "cert.pem", days)
    monkeypatch.setenv("SLUICE_SERVER__TLS_CERT", str(pem))
    told = doctor(data, status=status).output
    assert said.format(pem) in told
    assert said or str(pem) not in told


def test_settings_that_cannot_hold_are_wrong(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pem, toml = tmp_path / "some.pem", tmp_path / "sluice.toml"
    pem.write_text("nonsense")
    hosts = '[hosts]\n"aig.example.com" = "local/gone"\n"*" = "local/default"\n'
    toml.write_text(f'[upstream]\nca_file = "{pem}"\n{hosts}')
    monkeypatch.setenv("SLUICE_CONFIG", str(toml))
    lines = doctor(data, status=1).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["wrong"] * 2
    assert "(upstream.ca_file)" in lines[0]
    assert "maps aig.example.com to local/gone, which is not there" in lines[1]
    toml.write_text(f'[server]\ntls_cert = "{pem}"\n')
    assert "server.tls_cert: no certificate" in doctor(data, status=1).stderr


def test_a_port_that_another_has_is_noted_and_a_servers_own_is_not(data: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("SLUICE_SERVER__PORT", str(port))
        assert f"Port {port} on 127.0.0.1 is taken" in doctor(data).stderr
        with lock.hold(data, "A Sluice server"):
            assert f"Port {port}" not in doctor(data).stderr


def test_little_room_is_noted(data: Path, monkeypatch: pytest.MonkeyPatch):
    make_folder(data / "spool")
    make_folder(data / "spool" / "0")
    (data / "spool" / "0" / "bytes").write_bytes(bytes(1_000_000))
    monkeypatch.setenv("SLUICE_SPOOL__MAX_BYTES", "1500000")
    monkeypatch.setenv("SLUICE_SPOOL__FILE_BYTES", "1048576")
    monkeypatch.setenv("SLUICE_SPOOL__WHEN_FULL", "refuse")
    said = doctor(data).stderr
    assert "holds 1,000,000 of 1,500,000 bytes (spool.max_bytes)" in said
    assert "when it is full, it will refuse" in said
    few = ["sh", "-c", 'ulimit -n 1000; exec "$@"', "sh", *SLUICE, "doctor", "--data", str(data)]
    done = subprocess.run(few, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": SOURCE}, check=True)
    assert "may open 1,000 files here, and limits.connections may need 32,768" in done.stderr


def test_a_clock_that_was_set_back_is_wrong(data: Path):
    later_s = time.time() + 4000
    os.utime(data / "control.db", (later_s, later_s))
    said = doctor(data, status=1).stdout
    assert said.startswith(f"wrong   the clock is behind: {data}/control.db was written ")


def test_a_master_key_that_opens_nothing_is_named(data: Path):
    words = ["provider-key", "create", "openai", "--data", str(data)]
    assert CliRunner().invoke(main, words, input="sk-1234567890").exit_code == 0
    key = data / "master.key"
    right = key.read_text()
    assert doctor(data).stdout == ""
    key.write_text("0" * 64)
    assert "master.key is not the key that the stored provider keys were sealed under" in doctor(data, status=1).stdout
    key.unlink()
    assert "master.key is missing: it is the key that provider keys are sealed under" in doctor(data, status=1).stdout
    key.touch(0o600)
    assert "master.key is damaged: it must have 64 hexadecimal digits" in doctor(data, status=1).stdout
    key.write_text(right)
    with closing(apsw.Connection(str(data / "control.db"))) as db:
        db.execute("UPDATE provider_configs SET sealed = substr(sealed, 1, 30)")
    assert "master.key does not open 1 of 1 provider keys" in doctor(data, status=1).stdout
