"""`sluice gateway change` on a data folder without a server: what is set, and what is refused before it is."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from sluice.storage.embedded.bootstrap import bootstrap

PAGES = (Path(__file__).parents[2] / "docs").glob("*.md")
LINES = [line for page in PAGES for line in re.findall(r"^sluice (gateway change .*)$", page.read_text(), re.MULTILINE)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bootstrap(tmp_path)
    return tmp_path


def change(data: Path, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["gateway", "change", "default", *words, "--data", str(data)], input=answer)


def shown(data: Path) -> Any:
    return json.loads(CliRunner().invoke(main, ["gateway", "get", "default", "--data", str(data)]).stdout)


def test_cache_and_limits_are_set_and_taken_back_and_the_rest_stays(data: Path):
    before = shown(data)
    done = change(data, "--cache-ttl", "1h", "--rate-limit", "100/2m", "--rate-limit-technique", "sliding")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == ["Changed gateway default:", "  cache_ttl: 3600"]
    limits = {"rate_limiting_limit": 100, "rate_limiting_interval": 120, "rate_limiting_technique": "sliding"}
    after = shown(data)
    assert after == {**before, **limits, "cache_ttl": 3600, "modified_at": after["modified_at"]}
    change(data, "--cache-ttl", "none", "--rate-limit", "none", "--byok-only", "--set", "retry_max_attempts=3")
    after = shown(data)
    assert (after["cache_ttl"], after["rate_limiting_limit"], after["rate_limiting_interval"]) == (0, 0, 0)
    assert (after["byok_only"], after["retry_max_attempts"], after["authentication"]) == (True, 3, True)


def test_another_limit_of_the_same_window_is_the_same_rule(data: Path):
    for limit in ("20", "30.5"):
        change(data, "--spend-limit", f"{limit}/24h", "--spend-limit", "1/60")
    limits = shown(data)["spend_limits"]
    assert limits["enabled"]
    assert [(rule["id"], rule["limit"], rule["window"]) for rule in limits["rules"]] == [
        ("per-86400s", 30.5, 86_400),
        ("per-60s", 1, 60),
    ]
    change(data, "--spend-limit", "none")
    assert shown(data)["spend_limits"] == {"enabled": False, "rules": []}


def test_what_is_left_of_limits_is_shown(data: Path):
    words = ["gateway", "spend", "default", "--metadata", "user=ana", "--data", str(data)]
    assert "`sluice gateway change default --spend-limit 100/30d` sets one" in CliRunner().invoke(main, words).stderr
    change(data, "--spend-limit", "100/30d")
    header, row = CliRunner().invoke(main, words).stdout.splitlines()
    assert header.split() == ["LIMIT", "WINDOW", "TECHNIQUE", "SPENT", "LEFT", "RULE"]
    assert row.split() == ["$100.000000", "2592000s", "sliding", "$0.000000", "$100.000000", "per-2592000s"]
    assert json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)[0]["remaining"] == 100


def test_rules_come_from_a_file_as_the_api_has_them(data: Path):
    rule = {"limit": 1, "limitType": "cost", "window": 60, "model": {"mode": "filter", "values": ["gpt-4o"]}}
    for text in (json.dumps([rule]), json.dumps({"enabled": True, "rules": [rule]})):
        assert change(data, "--spend-limits", "-", answer=text).exit_code == 0
        limits = shown(data)["spend_limits"]
        assert limits["enabled"]
        assert [one["model"] for one in limits["rules"]] == [rule["model"]]


def test_a_new_gateway_takes_the_same_options(data: Path):
    words = ["gateway", "create", "mine", "--cache-ttl", "5m", "--no-logs", "--data", str(data), "--json"]
    made = json.loads(CliRunner().invoke(main, words).stdout)
    assert (made["cache_ttl"], made["collect_logs"], made["authentication"]) == (300, False, True)


@pytest.mark.parametrize("line", LINES)
def test_the_examples_of_the_pages_work(data: Path, line: str):
    done = CliRunner().invoke(main, [*shlex.split(line, comments=True), "--data", str(data)])
    assert (done.exit_code, done.output.partition(":")[0]) == (0, "Changed gateway default")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "Nothing is to be changed"),
        (("--cache-ttl", "5"), "60s to 30d, or none"),
        (("--cache-ttl", "an hour"), "as 90s, 5m, 24h or 30d"),
        (("--rate-limit", "100"), "requests in a time, as 100/60s"),
        (("--rate-limit", "0/60s"), "requests in a time, as 100/60s"),
        (("--rate-limit", "100/0s"), "requests in a time, as 100/60s"),
        (("--spend-limit", "1"), "USD in a time, as 0.5/60m"),
        (("--spend-limit", "1/1h", "--spend-limits", "-"), "not both"),
        (("--spend-limits", "-"), "is no JSON"),
        (("--set", "cache_tll=60"), "'cache_tll' is no field of a gateway"),
        (("--set", "cache_ttl"), "a field, = and its value"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_set(data: Path, words: tuple[str, ...], reason: str):
    before = shown(data)
    done = change(data, *words, answer="[" if "1/1h" not in words else "[]")
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())
    assert shown(data) == before


def test_what_the_api_refuses_is_told(data: Path):
    done = change(data, "--set", "retry_max_attempts=9")
    assert (done.exit_code, "retry_max_attempts: " in done.output) == (1, True)
