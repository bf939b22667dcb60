"""The first start makes a data folder that works, and tells its token once."""

import stat
from pathlib import Path

from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.values.tenancy import PERMISSIONS, token_digest


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_account_gateway_and_token(tmp_path: Path):
    data = tmp_path / "sub" / "data"
    text = bootstrap(data)
    assert text is not None
    reader = EmbeddedControlReader.open(data / "control.db")
    token = reader.token(token_digest(text.reveal()))
    gateway = reader.gateway("local", "default")
    reader.close()
    assert token is not None
    assert (token.account, token.gateway, token.permissions) == ("local", None, frozenset(PERMISSIONS))
    assert gateway is not None
    assert (gateway.authentication, gateway.collect_logs) == (True, True)


def test_only_the_operator_can_read_what_it_makes(tmp_path: Path):
    data = tmp_path / "data"
    bootstrap(data)
    assert mode(data) == 0o700
    assert {mode(file) for file in data.iterdir()} == {0o600}
    assert len(bytes.fromhex((data / "master.key").read_text())) == 32


def test_a_later_start_changes_nothing(tmp_path: Path):
    bootstrap(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.startswith("control.db-")}
    assert bootstrap(tmp_path) is None
    generations = before.pop("generations.map")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert len((tmp_path / "generations.map").read_bytes()) == len(generations)


def test_a_start_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path):
    (tmp_path / "master.key.draft").write_text("half")
    text = bootstrap(tmp_path)
    assert text is not None
    assert not (tmp_path / "master.key.draft").exists()
