"""The commands on a data folder where no server runs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice import __version__
from sluice.cli.main import COMMANDS, main
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.supervisor import lock


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bootstrap(tmp_path / "data")
    return tmp_path / "data"


def sluice(data: Path, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], input=answer)


def told(data: Path, *words: str) -> Any:
    done = sluice(data, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(data: Path, *words: str) -> str:
    done = sluice(data, *words)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    return done.stderr


def test_a_gateway_is_made_listed_shown_and_deleted(data: Path):
    assert told(data, "gateway", "create", "mine", "--open", "--no-logs")["id"] == "mine"
    assert [row["id"] for row in told(data, "gateway", "list")] == ["default", "mine"]
    shown = told(data, "gateway", "get", "mine")
    assert (shown["authentication"], shown["collect_logs"]) == (False, False)
    assert told(data, "gateway", "delete", "mine", "--yes")["id"] == "mine"
    assert [row["id"] for row in told(data, "gateway", "list")] == ["default"]


def test_it_tells_its_version():
    assert CliRunner().invoke(main, ["--version"]).stdout == f"sluice, version {__version__}\n"


def test_a_deletion_is_asked_for_first(data: Path):
    told(data, "gateway", "create", "mine")
    assert sluice(data, "gateway", "delete", "mine", answer="n\n").exit_code == 1
    assert sluice(data, "gateway", "delete", "mine", answer="y\n").exit_code == 0


def test_a_token_is_printed_once_and_only_its_id_listed(data: Path):
    made = told(data, "token", "create", "--permissions", "run, read", "--gateway", "default", "--name", "ci")
    assert made["token"].startswith("sluice_")
    listed = {row["id"]: row for row in told(data, "token", "list")}
    assert "token" not in listed[made["id"]]
    assert (listed[made["id"]]["permissions"], listed[made["id"]]["gateway"]) == (["run", "read"], "default")
    plain = sluice(data, "token", "create").stdout
    assert plain.startswith("sluice_")
    assert plain.count("\n") == 1
    assert told(data, "token", "delete", made["id"])["id"] == made["id"]
    assert made["id"] not in [row["id"] for row in told(data, "token", "list")]


def test_accounts_keep_their_gateways_apart(data: Path):
    assert told(data, "account", "create", "acme")["id"] == "acme"
    told(data, "gateway", "create", "mine", "--account", "acme")
    assert "mine" not in sluice(data, "gateway", "list").stdout
    assert "mine" in sluice(data, "gateway", "list", "--account", "acme").stdout
    assert [row["id"] for row in told(data, "account", "list")] == ["local", "acme"]
    assert told(data, "account", "delete", "acme", "--yes")["id"] == "acme"


def test_lists_longer_than_a_page_are_whole(data: Path):
    for number in range(51):
        told(data, "token", "create", "--name", str(number))
    assert len(told(data, "token", "list")) == 52


def test_a_folder_without_logs_has_an_empty_tail(data: Path):
    done = sluice(data, "logs", "tail", "--no-follow")
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gateway", "create", "default"], "Error: id: A gateway with this id exists already"),
        (["gateway", "get", "none"], "Error: There is no gateway none in account local"),
        (["gateway", "delete", "../x", "--yes"], "Error: There is no gateway ../x in account local"),
        (["gateway", "list", "--account", "none"], "Error: There is no such account"),
        (["token", "create", "--gateway", "none"], "Error: gateway: There is no such gateway"),
        (["token", "create", "--expires-at", "soon"], "Error: expires_at: "),
        (["token", "delete", "none"], "Error: There is no token none in account local"),
        (["account", "delete", "none", "--yes"], "Error: There is no account none."),
        (["logs", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "Error: There is no log 01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        (["logs", "tail", "--gateway", "none"], "Error: There is no gateway none in account local"),
    ],
)
def test_a_refusal_says_why_and_ends_with_status_one(data: Path, words: list[str], message: str):
    assert refused(data, *words).startswith(message)


def test_unknown_permissions_are_a_matter_of_usage(data: Path):
    done = sluice(data, "token", "create", "--permissions", "fly")
    assert done.exit_code == 2
    assert "fly: choose among run, read, edit, metadata_read" in done.stderr


def test_a_folder_that_is_none_yet_is_not_made(tmp_path: Path):
    assert "There is no data folder" in refused(tmp_path / "gone", "token", "list")
    assert not (tmp_path / "gone").exists()


def test_a_wrong_setting_in_the_environment_stops_every_command(data: Path):
    done = CliRunner().invoke(main, ["token", "list", "--data", str(data)], env={"SLUICE_SERVER__PROT": "1"})
    assert done.exit_code == 1
    assert "did you mean server.port?" in done.stderr


def test_a_folder_held_by_a_server_that_does_not_answer_is_told_so(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.cli.operator._PATIENCE_S", 0.0)
    with lock.hold(data, "A Sluice server"):
        said = refused(data, "token", "list")
    assert f"A Sluice server (process {os.getpid()}) already works on the data folder" in said
    assert "It does not answer on its console.sock." in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_the_folder_and_json(name: str):
    help_text = CliRunner().invoke(main, [name, "--help"]).stdout
    if "Commands:" not in help_text:
        assert "--data" in help_text
        assert "--json" in help_text
    else:
        subcommands = [line.split()[0] for line in help_text.partition("Commands:\n")[2].splitlines()]
        for subcommand in subcommands:
            text = CliRunner().invoke(main, [name, subcommand, "--help"]).stdout
            assert "--data" in text
            assert "--json" in text


def test_the_overview_names_every_command():
    text = CliRunner().invoke(main, ["--help"]).stdout
    assert all(f"\n  {name}" in text for name in COMMANDS)
