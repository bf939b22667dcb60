"""What README and docs/ tell people to run, run as it is printed but for the address."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (page.name, kind, text)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for kind, text in re.findall(r"^```(python|sh)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]
SNIPPETS = [(page, text) for page, kind, text in BLOCKS if kind == "python"]
CURLS = [(page, line) for page, _, text in BLOCKS for line in re.findall(r"^curl (?:[^']|'[^']*')*", text, re.M)]


@pytest.mark.parametrize(("page", "text"), SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_a_python_snippet_runs(gateway: Any, page: str, text: str):
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", text.replace("http://127.0.0.1:8787", gateway.base_url)],
        env=environment | {"SLUICE_TOKEN": gateway.token, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("page", "line"), CURLS, ids=[page for page, _ in CURLS])
def test_a_curl_line_is_answered(gateway: Any, provider: Any, page: str, line: str):
    """Carried out without curl, which not every machine has."""
    line = line.replace("http://127.0.0.1:8787", gateway.base_url).replace("127.0.0.1:9000", provider.authority)
    words = shlex.split(line.replace("\\\n", " ").replace("$SLUICE_TOKEN", gateway.token))
    url = next(word for word in words if word.startswith("http://"))
    headers = [words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"]
    body = words[words.index("-d") + 1] if "-d" in words else None
    method = "POST" if body else "GET"
    reply = httpx.request(method, url, headers=dict(headers), content=body, timeout=20, trust_env=False)
    assert reply.status_code == (429 if "~status-429" in line else 200)
    assert reply.content


def test_the_pages_have_snippets_and_curl_lines():
    assert {"README.md", "rest.md"} <= {page for page, _ in SNIPPETS}
    assert {"README.md", "rest.md", "simulator.md"} <= {page for page, _ in CURLS}
