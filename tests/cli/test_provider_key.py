"""`sluice provider-key` on a data folder without a server: which key is meant."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from sluice.storage.embedded.bootstrap import bootstrap


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bootstrap(tmp_path)
    return tmp_path


def sluice(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["provider-key", *words, "--data", str(data)], input="sk-0123456789-0123456789")


def told(data: Path, *words: str) -> Any:
    done = sluice(data, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_key_is_rotated_and_deleted_by_id_provider_or_alias(data: Path):
    first, spare = told(data, "create", "Google"), told(data, "create", "google", "--alias", "a/b")
    other = told(data, "create", "openai")
    done = sluice(data, "rotate", "google")
    assert (done.exit_code, "google-ai-studio/default, google-ai-studio/a/b" in done.output) == (1, True)
    assert told(data, "rotate", "google/a/b", "--default")["id"] == spare["id"]
    assert told(data, "rotate", "OpenAI")["id"] == other["id"]
    assert told(data, "delete", first["id"])["id"] == first["id"]
    assert told(data, "delete", "google-ai-studio")["id"] == spare["id"]
    assert [one["id"] for one in told(data, "list")] == [other["id"]]


@pytest.mark.parametrize("key", ["nothing", "openai", "openai/x", "../x"])
def test_a_key_that_is_not_there_is_told(data: Path, key: str):
    done = sluice(data, "delete", key)
    assert (done.exit_code, f"There is no provider key {key} in gateway default" in done.output) == (1, True)
