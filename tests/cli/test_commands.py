"""The commands on a data folder where no server runs."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from sluice import __version__
from sluice.cli.main import COMMANDS, main
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.supervisor import lock
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey


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
    assert CliRunner().invoke(main, ["--version"]).stdout.startswith(f"sluice, version {__version__} (")


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


def test_a_token_is_rotated_and_its_new_text_printed_once(data: Path):
    made = told(data, "token", "create", "--name", "ci")
    text = sluice(data, "token", "rotate", made["id"], "--grace", "24h").stdout
    assert text.startswith("sluice_")
    assert text.strip() != made["token"]
    names = [row["name"] for row in told(data, "token", "list")]
    assert {"ci", "ci (before its rotation)"} <= set(names)
    assert sluice(data, "token", "rotate", made["id"], "--grace", "soon").exit_code == 2
    assert "There is no token" in sluice(data, "token", "rotate", "nothing").stderr


def test_accounts_keep_their_gateways_apart(data: Path):
    assert told(data, "account", "create", "acme")["id"] == "acme"
    told(data, "gateway", "create", "mine", "--account", "acme")
    assert "mine" not in sluice(data, "gateway", "list").stdout
    assert "mine" in sluice(data, "gateway", "list", "--account", "acme").stdout
    assert [row["id"] for row in told(data, "account", "list")] == ["local", "acme"]
    assert told(data, "account", "delete", "acme", "--yes")["id"] == "acme"


def test_an_account_may_have_what_its_plan_says_or_what_it_is_given(data: Path):
    told(data, "account", "create", "acme", "--plan", "free")
    told(data, "gateway", "create", "mine", "--account", "acme")
    changed = told(data, "account", "change", "acme", "--limit", "gateways=1", "--limit", "account_rows=none")
    assert (changed["entitlement"]["gateways"], changed["entitlement"]["account_rows"]) == (1, None)
    said = refused(data, "gateway", "create", "second", "--account", "acme")
    assert "The account may have no more than 1 gateways" in said
    said = sluice(data, "account", "change", "acme", "--limit", "foo=3").stderr
    assert "'foo' is none of gateways, gateway_rows, account_rows, gateway_bytes, retention_days" in said
    assert "greater than or equal to 1" in refused(data, "account", "change", "acme", "--limit", "retention_days=0")
    shown = sluice(data, "account", "show", "acme").stdout
    assert "acme: plan free\n  gateways: 1\n" in shown
    assert "account rows: no limit" in shown
    assert [one["gateway"] for one in told(data, "account", "show", "acme")["usage"]["gateways"]] == ["mine"]
    changed = told(data, "account", "change", "acme", "--plan", "paid", "--as-planned")
    assert (changed["plan"], changed["entitlement"]["gateways"]) == ("paid", 20)


def test_lists_longer_than_a_page_are_whole(data: Path):
    for number in range(51):
        told(data, "token", "create", "--name", str(number))
    assert len(told(data, "token", "list")) == 52


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["search", "--filter", "colour", "eq", "red"], "There is no filter key 'colour'"),
        (["search", "--filter", "cost", "gt", "much"], "cost is a number"),
        (["export", "--filter", "cost", "contains", "1"], "cost cannot be compared by contains"),
        (["export", "--after", "yesterday"], "yesterday is no log's id"),
        (["import", "nowhere.jsonl"], "does not exist"),
    ],
)
def test_what_cannot_be_searched_or_moved_is_refused_with_the_reason(data: Path, words: list[str], why: str):
    done = sluice(data, "logs", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in " ".join(done.stderr.split())


def test_logs_are_searched_and_exported_where_no_server_runs(data: Path, entry_of: Callable[..., LogEntry]):
    gateway, mint = told(data, "gateway", "get", "default")["internal_id"], Mint(1)
    entries = [entry_of(mint.mint(), model=model, cost_nano=cost) for model, cost in (("a", 5), ("b", 9), ("a", None))]
    with closing(EmbeddedLogWriter.open(data / "shards")) as writer:
        writer.append(
            ShardKey("local", UUID(gateway).hex),
            [NewLog(entry, f"to {entry.model}?".encode(), b"from") for entry in entries],
            {},
        )

    def found(*words: str) -> list[str]:
        return [json.loads(line)["id"] for line in sluice(data, "logs", "search", "--json", *words).stdout.splitlines()]

    ids = [entry.id for entry in entries]
    assert found() == ids[::-1]
    assert found("--order-by", "cost", "-n", "2") == [ids[1], ids[0]]
    assert found("--filter", "model", "eq", '["a", "x"]', "--asc") == [ids[0], ids[2]]
    assert found("--search", ids[1].lower()) == [ids[1]]
    assert found("--body", "to b") == [ids[1]]
    done = sluice(data, "logs", "search", "--body", "from", "-n", "2")
    assert (len(done.stdout.splitlines()), done.stderr) == (2, "2 found in 2 logs, and there are more to look at.\n")
    assert sluice(data, "logs", "search", "--body", "nowhere").stderr == "0 found in 3 logs.\n"
    done = sluice(data, "logs", "search", "--search", "nothing like it")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No log fits.\n")
    lines = sluice(data, "logs", "export", "--filter", "model", "eq", "b").stdout.splitlines()
    assert [(json.loads(line)["entry"]["id"], json.loads(line)["request"]) for line in lines] == [(ids[1], "to b?")]
    assert "request" not in json.loads(sluice(data, "logs", "export", "--no-bodies").stdout.splitlines()[0])


def test_a_hit_of_the_cache_is_marked(data: Path, entry_of: Callable[..., LogEntry]):
    gateway, mint = told(data, "gateway", "get", "default")["internal_id"], Mint(1)
    entries = [entry_of(mint.mint(), cached=cached) for cached in (False, True)]
    with closing(EmbeddedLogWriter.open(data / "shards")) as writer:
        writer.append(ShardKey("local", UUID(gateway).hex), [NewLog(entry, b"", b"") for entry in entries], {})
    plain, hit = sluice(data, "logs", "tail", "--no-follow").stdout.splitlines()
    assert hit.endswith("  cached")
    assert "cached" not in plain
    counted = sluice(data, "analytics", "--by", "cached", "--since", "999999d").stdout.splitlines()[1:]
    assert sorted(line.split()[:2] for line in counted) == [["false", "1"], ["true", "1"]]


def test_a_folder_without_logs_has_an_empty_tail(data: Path):
    done = sluice(data, "logs", "tail", "--no-follow")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No logs yet.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gateway", "create", "default"], "Error: id: A gateway with this id exists already"),
        (["gateway", "get", "none"], "Error: There is no gateway none in account local"),
        (["gateway", "delete", "../x", "--yes"], "Error: There is no gateway ../x in account local"),
        (["gateway", "list", "--account", "none"], "Error: There is no account none: `sluice account list`"),
        (["token", "create", "--gateway", "none"], "Error: gateway: There is no such gateway"),
        (["token", "create", "--account", "none"], "Error: There is no account none: `sluice account list`"),
        (["token", "list", "--account", "none"], "Error: There is no account none: `sluice account list`"),
        (["gateway", "create", "new", "--account", "none"], "Error: There is no account none: `sluice account list`"),
        (["token", "delete", "none"], "Error: There is no token none in account local"),
        (["account", "delete", "none", "--yes"], "Error: There is no account none: `sluice account list`"),
        (["logs", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "Error: There is no log 01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        (["logs", "tail", "--gateway", "none"], "Error: There is no gateway none in account local"),
        (["logs", "search", "--gateway", "none"], "Error: There is no gateway none in account local"),
        (["logs", "export", "--account", "none"], "Error: There is no gateway default in account none"),
    ],
)
def test_a_refusal_says_why_and_ends_with_status_one(data: Path, words: list[str], message: str):
    assert refused(data, *words).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["token", "create", "--permissions", "fly"], "fly: choose among run, read, edit, metadata_read"),
        (["token", "create", "--expires-at", "soon"], "'soon': write it as 2030-01-31T00:00:00Z"),
        (["gateway", "create", "my gateway"], "'my gateway': up to 64 letters, digits, - and _"),
        (["account", "create", "a/b"], "'a/b': up to 64 letters, digits, - and _"),
        (["gatway", "list"], "There is no command gatway: did you mean gateway?"),
        (["nothing"], "There is no command nothing."),
    ],
)
def test_a_slip_of_the_pen_is_a_matter_of_usage(data: Path, words: list[str], message: str):
    done = sluice(data, *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_day_will_do_for_a_tokens_end_and_one_that_is_over_is_told_so(data: Path):
    assert told(data, "token", "create", "--expires-at", "2099-01-31")["expires_at"] == "2099-01-31T00:00:00.000Z"
    over = sluice(data, "token", "create", "--expires-at", "2020-01-31T00:00:00Z")
    assert (over.exit_code, over.stderr) == (0, "2020-01-31T00:00:00Z is over: this token lets nobody in.\n")


def test_an_empty_list_says_how_to_fill_it(data: Path):
    told(data, "account", "create", "acme")
    for what in ("gateway", "token"):
        listed = sluice(data, what, "list", "--account", "acme")
        assert (listed.exit_code, listed.stdout) == (0, "")
        assert f"`sluice {what} create" in listed.stderr
        assert told(data, what, "list", "--account", "acme") == []


def test_a_folder_that_is_none_yet_is_not_made(tmp_path: Path):
    assert "There is no data folder" in refused(tmp_path / "gone", "token", "list")
    assert not (tmp_path / "gone").exists()
    assert f"{tmp_path} is no data folder of Sluice yet" in refused(tmp_path, "token", "list")
    assert list(tmp_path.iterdir()) == []


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


def test_what_went_through_is_counted(data: Path):
    assert told(data, "analytics", "--by", "provider,cached", "--since", "30d")["groups"] == []
    assert told(data, "analytics", "--gateway", "default", "--since", "999999d")["groups"] == []
    done = sluice(data, "analytics")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No requests in this time.\n")
    assert "group_by: There is no dimension colour" in refused(data, "analytics", "--by", "colour")
    assert "There is no gateway none" in refused(data, "analytics", "--gateway", "none")
    assert "There is no account none" in refused(data, "analytics", "--account", "none")
    assert "as 90m, 24h or 30d" in sluice(data, "analytics", "--since", "soon").stderr


def test_what_went_through_is_printed_as_a_table(data: Path, entry_of: Callable[..., LogEntry]):
    gateway = told(data, "gateway", "get", "default")["internal_id"]
    entry = entry_of(Mint(1).mint(), model="a\x1b[31m", duration_ms=100, cost_nano=2_500_000_000)
    with closing(EmbeddedLogWriter.open(data / "shards")) as writer:
        writer.append(ShardKey("local", UUID(gateway).hex), [NewLog(entry, None, None)], {})
    header, row = sluice(data, "analytics", "--by", "model,status_code").stdout.splitlines()
    assert " ".join(header.split()) == "MODEL STATUS CODE REQUESTS ERRORS CACHED TOKENS IN TOKENS OUT COST P50 P95 P99"
    assert row.split()[:8] == ["a\ufffd[31m", "200", "1", "0", "0", "12", "34", "$2.500000"]
