"""`sluice custom-provider` on a data folder without a server."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.custom_lookup import customs_path
from sluice.cli.main import main
from sluice.cli.operator import Operator
from sluice.cli.options import folder_settings
from sluice.storage.embedded.bootstrap import bootstrap

URL = "https://api.example.com/v1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bootstrap(tmp_path)
    return tmp_path


def sluice(data: Path, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["custom-provider", *words, "--data", str(data)], input=answer)


def told(data: Path, *words: str, answer: str = "") -> Any:
    done = sluice(data, *words, "--json", answer=answer)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_one_is_made_listed_changed_and_deleted_by_its_slug(data: Path):
    made = told(data, "create", "Ours", URL, "--headers", "-", answer='{"X-A": "b"}\n')
    assert (made["slug"], made["name"], made["base_url"], made["enable"]) == ("Ours", "Ours", URL, True)
    assert made["headers"] == '{"X-A": "b"}'
    told(data, "create", "ours-2", URL, "--disable")
    table = sluice(data, "list").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["custom-Ours", "yes"], ["custom-ours-2", "no"]]
    changed = told(data, "change", "ours", "--disable", "--name", "Other")
    assert changed == {**made, "enable": False, "name": "Other", "modified_at": changed["modified_at"]}
    assert told(data, "change", "ours", "--slug", "theirs")["slug"] == "theirs"
    assert told(data, "delete", "theirs")["id"] == made["id"]
    assert [one["slug"] for one in told(data, "list")] == ["ours-2"]


def test_a_price_is_set_by_slug_for_a_million_tokens_and_changed_in_its_place(data: Path):
    provider = told(data, "create", "Ours", URL)["id"]
    assert "No prices in account local" in sluice(data, "prices").stderr
    made = told(data, "price", "ours", "our-", "--rule", "starts-with", "--cost-in", "0.3", "--cost-out", "2")
    assert (made["account_provider_id"], made["model_rule"]) == (provider, "starts-with")
    assert (made["cost_in"], made["cost_out"]) == (3e-7, 2e-6)
    changed = told(data, "price", "ours", "our-", "--rule", "starts-with", "--cost-in", "1")
    assert (changed["id"], changed["cost_in"], changed["cost_out"]) == (made["id"], 1e-6, 2e-6)
    assert told(data, "price", "ours", "our-", "--cost-out", "0")["id"] != made["id"]
    rows = [line.split() for line in sluice(data, "prices").stdout.splitlines()[1:]]
    assert sorted(rows) == [
        ["custom-Ours", "equals", "-", "$0", "yes", "our-"],
        ["custom-Ours", "starts-with", "$1", "$2", "yes", "our-"],
    ]
    assert sluice(data, "price", "ours", "our-").exit_code == 2


def test_a_price_that_is_set_is_in_force(data: Path):
    """Though it was switched off, or prices of kinds of tokens stand over it."""
    told(data, "create", "Ours", URL)
    made = told(data, "price", "ours", "m", "--cost-in", "1", "--cost-out", "1")
    kinds = {"input_tokens": 0.5, "output_tokens": 0.6, "input_cached_tokens": 0.1}
    operator = Operator(folder_settings(data))
    operator.result("PATCH", f"{customs_path('local')}/costs/{made['id']}", {"enable": False, "token_pricing": kinds})
    changed = told(data, "price", "ours", "m", "--cost-in", "2")
    assert (changed["enable"], changed["cost_in"]) == (True, 2e-6)
    assert changed["token_pricing"] == {"output_tokens": 0.6, "input_cached_tokens": 0.1}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("create", "a b", URL), "slug: Invalid"),
        (("create", "ours", "http://127.0.0.1"), "base_url: The URL must begin with https://"),
        (("delete", "nothing"), "There is no custom provider nothing in account local"),
        (("list", "--account", "nobody"), "There is no account nobody"),
    ],
)
def test_what_cannot_be_done_says_why(data: Path, words: tuple[str, ...], reason: str):
    done = sluice(data, *words)
    assert done.exit_code == 1
    assert reason in done.output


def test_a_change_must_name_something(data: Path):
    assert sluice(data, "change", "ours").exit_code == 2
