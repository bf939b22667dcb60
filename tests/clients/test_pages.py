"""What README and docs/ tell people to run, run as it is printed but for addresses and where `sluice` lies."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

import sluice

ROOT = Path(__file__).parents[2]
SOURCE = Path(sluice.__file__).parents[1]
STAND_IN = f"{sys.executable} {Path(__file__).parent / 'programs' / 'curl.py'}"
CURL = shutil.which("curl") or STAND_IN
BLOCKS = [
    (page.name, kind, text)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for kind, text in re.findall(r"^```(python|sh)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]
COMMAND = re.compile(r"^(?:curl|(?:\.venv/bin/)?sluice run) ", re.MULTILINE)
SNIPPETS = [(page, text) for page, kind, text in BLOCKS if kind == "python"]
SHELL = [(page, text) for page, kind, text in BLOCKS if kind == "sh" and COMMAND.search(text)]
(AT_THE_ROOT,) = [text for _, text in SHELL if "8787/ " in text]


class Done(NamedTuple):
    """What a shell did: its output, and the head of each reply that curl got."""

    output: bytes
    heads: list[dict[str, str]]


Shell = Callable[..., Done]


@pytest.fixture(scope="module")
def mapped(start_shared_gateway: Any) -> Any:
    """A gateway that serves inference at the root of every host, as docs/universal.md starts it."""
    return start_shared_gateway("--simulate", hosts=json.dumps({"*": "local/default"}))


@pytest.fixture(scope="module")
def allowing(start_shared_gateway: Any) -> Any:
    """One whose custom providers may be anywhere, as docs/custom-providers.md starts it, for pages that change it."""
    return start_shared_gateway("--simulate", custom_providers={"allow_http": True, "allow_private": True})


CHANGING = ("cache.md", "custom-providers.md", "limits.md", "provider-keys.md")
"""Pages that change a gateway, which no other test is to see."""


@pytest.fixture
def shell(tmp_path: Path, provider: Any, service_account: dict[str, str]) -> Shell:
    """Runs the lines of a page by `sh` in a folder of their own."""

    def run(gateway: Any, text: str, curl: str = CURL) -> Done:
        heads = tmp_path / "heads"
        heads.mkdir()
        program(tmp_path / "bin" / "curl", f'{curl} --silent --dump-header "{heads}/$$" "$@"')
        main = "import sys; from sluice.cli.main import main; sys.exit(main())"
        program(tmp_path / "bin" / "sluice", f'{sys.executable} -c "{main}" "$@"')
        if "service-account.json" in text:
            (tmp_path / "service-account.json").write_text(json.dumps(service_account))
        text = text.replace("http://127.0.0.1:8787", gateway.base_url).replace("127.0.0.1:9000", provider.authority)
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environment |= {"SLUICE_TOKEN": gateway.token, "SLUICE_DATA": str(gateway.data), "PYTHONPATH": str(SOURCE)}
        environment |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            ["sh", "-e", "-c", text.replace(".venv/bin/sluice", "sluice")],
            cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Done(done.stdout, [head(path.read_text()) for path in sorted(heads.iterdir())])

    return run


def program(path: Path, command: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {command}\n")
    path.chmod(0o755)


def head(text: str) -> dict[str, str]:
    first, *lines = text.splitlines()
    fields = dict(line.split(": ", 1) for line in lines if line)
    return {name.lower(): value for name, value in fields.items()} | {"status": first.split()[1]}


@pytest.mark.parametrize(("page", "text"), SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_a_python_snippet_runs(gateway: Any, page: str, text: str):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, "-c", text.replace("127.0.0.1:8787", f"127.0.0.1:{gateway.port}")],
        env=environment | {"SLUICE_TOKEN": gateway.token, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("page", "text"), SHELL, ids=[f"{page} {text[:40]}" for page, text in SHELL])
def test_what_a_page_gives_to_the_shell_is_answered(request: pytest.FixtureRequest, shell: Shell, page: str, text: str):
    own = "mapped" if text == AT_THE_ROOT else "allowing" if page in CHANGING else "gateway"
    done = shell(request.getfixturevalue(own), text)
    assert len(done.heads) == len(re.findall("^curl ", text, re.MULTILINE))
    fails = page == "simulator.md" and "~status-429" in text
    assert {reply["status"] for reply in done.heads} <= {"429" if fails else "200"}
    assert done.output or "--output" in text
    expected = re.findall(r"cf-aig-step: (\d)", text)
    assert [reply["cf-aig-step"] for reply in done.heads if expected] == expected


@pytest.mark.parametrize("curl", sorted({CURL, STAND_IN}), ids=lambda curl: curl.rpartition("/")[2])
def test_the_request_at_a_hosts_root_makes_a_picture_in_two_steps(mapped: Any, shell: Shell, tmp_path: Path, curl: str):
    """As the endpoint was announced: retries, what follows, a template, a fallback, the older header."""
    (reply,) = shell(mapped, AT_THE_ROOT, curl).heads
    assert (reply["status"], reply["cf-aig-step"], reply["cf-aig-provider"]) == ("200", "0", "workers-ai")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    first, second = mapped.rows(httpx.Response(200, headers=reply), 2)
    assert [row["provider"] for row in (first, second)] == ["openai", "workers-ai"]
    assert [(row["step"], row["attempts"], row["success"]) for row in (first, second)] == [(0, 1, True)] * 2
    assert first["cost"] > 0
    assert (second["id"], second["event_id"]) == (reply["cf-aig-log-id"], first["event_id"])
    prompt = json.loads(mapped.log_body(second["id"], "request"))["prompt"]
    assert prompt.startswith("You said: Write a prompt for a picture of a harbour.")


@pytest.mark.parametrize(("fault", "attempts"), [("~status-500~first-2", [3, 1]), ("~status-500", [3, 1])])
def test_the_request_at_a_hosts_root_tries_again_and_falls_back(
    mapped: Any, shell: Shell, tmp_path: Path, marker: str, fault: str, attempts: list[int]
):
    text = AT_THE_ROOT.replace('"gpt-4o-mini"', f'"gpt-4o-mini{fault}"')
    text = text.replace('"Bearer OPENAI_KEY"', f'"Bearer OPENAI_KEY", "x-sluice-marker": "{marker}"')
    (reply,) = shell(mapped, text).heads
    recovers = "first" in fault
    assert (reply["status"], reply["cf-aig-step"]) == ("200", "0" if recovers else "1")
    rows = mapped.rows(httpx.Response(200, headers=reply), 2)
    assert [row["attempts"] for row in rows] == attempts
    assert rows[0]["duration"] >= 400  # two waits of 200 ms
    prompt = json.loads(mapped.log_body(rows[1]["id"], "request"))["prompt"]
    assert prompt.startswith("You said: ") if recovers else prompt == "a missing cat"


def test_the_request_at_a_hosts_root_needs_its_token(mapped: Any, shell: Shell):
    (reply,) = shell(mapped, AT_THE_ROOT.replace("$SLUICE_TOKEN", "nonsense")).heads
    assert reply["status"] == "401"


def test_the_pages_have_snippets_and_curl_lines():
    assert {"README.md", "compat.md", "providers.md", "rest.md", "websocket.md"} <= {page for page, _ in SNIPPETS}
    found = [page for page, _ in SHELL]
    assert {"README.md", "cli.md", "compat.md", "providers.md", "rest.md", "simulator.md"} <= set(found)
    assert found.count("universal.md") >= 7
    assert all(shlex.split(text, comments=True) for _, text in SHELL)
