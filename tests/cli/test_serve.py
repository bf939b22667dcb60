"""The command line beside a running gateway, and what `serve` and `simulate` tell a person."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import sluice

SLUICE = [sys.executable, "-c", "import sys; from sluice.cli.main import main; sys.exit(main())"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sluice.__file__).parents[1])}
Started = Any  # tests/conftest.py: Gateway
StartGateway = Callable[..., Started]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SLUICE, *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False)


def follow(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*SLUICE, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def curl(printed: str) -> httpx.Response:
    """Carries out the curl line of a welcome."""
    found = re.search(r"^  (curl (?:.*\\\n)*.*)$", printed, re.MULTILINE)
    assert found
    words = shlex.split(found[1].replace("\\\n", " "))
    headers = [words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"]
    body = words[words.index("-d") + 1]
    return httpx.post(words[1], headers=dict(headers), content=body, trust_env=False)


def welcome(gateway: Started) -> str:
    gateway.until(lambda: "\nready\n" in gateway.said(), "the welcome")
    return "".join(line for line in gateway.said().splitlines(True) if not line.startswith("{"))


def test_the_first_start_prints_a_token_once_and_a_call_that_works(start_gateway: StartGateway):
    gateway = start_gateway("--simulate")
    printed = welcome(gateway)
    assert len(re.findall(r"^  sluice_\S+$", printed, re.MULTILINE)) == 1
    reply = curl(printed)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"]
    gateway.stop()
    again = welcome(start_gateway("--simulate"))
    assert "sluice_" not in again
    assert f"sluice token create --permissions run,read,edit --data {gateway.data}" in again


def test_without_the_simulator_the_call_shows_where_the_providers_key_goes(start_gateway: StartGateway):
    printed = welcome(start_gateway())
    assert '-H "authorization: Bearer $OPENAI_API_KEY"' in printed
    assert "no key is needed" not in printed


def test_programs_get_the_same_as_one_object(start_gateway: StartGateway):
    gateway = start_gateway("--simulate", "--json")
    gateway.until(lambda: '"simulator":' in gateway.said(), "the object")
    objects = [json.loads(line) for line in gateway.said().splitlines() if line.startswith("{")]
    told = next(one for one in objects if "simulator" in one)
    assert told["url"] == gateway.base_url
    assert told["data"] == str(gateway.data)
    assert told["token"].startswith("sluice_")


def test_ctrl_c_ends_everything(start_gateway: StartGateway):
    gateway = start_gateway("--simulate")
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert gateway.process.wait(20) == 0
    gateway.until(lambda: not gateway.processes(), "the end of every process")


def test_what_a_command_changes_is_in_force_at_once(gateway: Started):
    gateway.cli("gateway", "create", "from-cli", "--open")
    url = gateway.inference_url(gateway="from-cli") + "/v1/models"
    assert httpx.get(url, trust_env=False).status_code == 200
    gateway.cli("gateway", "delete", "from-cli", "--yes")
    assert httpx.get(url, trust_env=False).status_code == 400


def test_a_revoked_token_lets_nobody_in(gateway: Started):
    made = gateway.cli("token", "create", "--permissions", "run")
    headers = {"cf-aig-authorization": f"Bearer {made['token']}"}
    url = f"{gateway.inference_url()}/v1/models"
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    gateway.cli("token", "delete", made["id"])
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 401


def test_tail_prints_each_log_as_it_is_stored(gateway: Started):
    gateway.cli("gateway", "create", "tailed")
    with follow("logs", "tail", "--gateway", "tailed", "--json", "--data", str(gateway.data)) as tail:
        assert tail.stdout is not None
        for number in range(3):
            body = {"model": f"gpt-{number}", "messages": [{"role": "user", "content": "hello"}]}
            url = f"{gateway.inference_url(gateway='tailed')}/v1/chat/completions"
            assert gateway.http.post(url, json=body).status_code == 200
            assert json.loads(tail.stdout.readline())["model"] == f"gpt-{number}"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(10) == 0
    shown = run("logs", "tail", "--no-follow", "-n", "2", "--gateway", "tailed", "--data", str(gateway.data)).stdout
    assert re.findall(r"200  \d+ in \d+ out +\$.* ms  \S+  openai/(gpt-\d)$", shown, re.MULTILINE) == ["gpt-1", "gpt-2"]


def test_tail_tells_why_a_call_was_refused_and_what_a_cheap_one_cost(start_gateway: StartGateway):
    gateway = start_gateway("--simulate")
    dropped = gateway.chat(model="\x1b[31mred~drop")
    gateway.http.post(
        f"{gateway.inference_url()}/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"}
    )
    gateway.log(dropped.headers["cf-aig-log-id"])
    assert gateway.terminate() == 0
    first, second = run("logs", "tail", "--no-follow", "--data", str(gateway.data)).stdout.splitlines()
    assert re.search(r"  400  -  +-  +\d+ ms  \S+  openai/\ufffd\[31mred~drop  refused: \w", first)
    assert "$0.000000020 " in second


def test_show_prints_a_log_with_its_bodies(gateway: Started):
    reply = gateway.chat(model="gpt-4o-mini")
    log_id = reply.headers["cf-aig-log-id"]
    gateway.log(log_id)
    shown = run("logs", "show", log_id, "--data", str(gateway.data))
    assert shown.returncode == 0
    assert f'"id": "{log_id}"' in shown.stdout
    assert reply.text in shown.stdout
    assert '{"role":"user","content":"hello"}' in shown.stdout
    printed = gateway.cli("logs", "show", log_id)
    assert printed["response_body"] == reply.text
    assert printed["model"] == "gpt-4o-mini"


def test_the_same_commands_work_once_the_server_has_gone(start_gateway: StartGateway):
    gateway = start_gateway("--simulate")
    log_id = gateway.chat().headers["cf-aig-log-id"]
    assert gateway.terminate() == 0
    assert gateway.cli("logs", "show", log_id)["id"] == log_id
    assert gateway.cli("gateway", "create", "offline")["id"] == "offline"


def test_a_port_that_is_taken_ends_serve_with_the_reason(tmp_path: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        done = run("serve", "--port", str(other.getsockname()[1]), "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "is taken by" in done.stderr
    assert not (tmp_path / "data" / "control.db").exists()


def test_a_second_server_on_the_folder_is_told_who_has_it(gateway: Started):
    done = run("serve", "--port", "0", "--data", str(gateway.data))
    assert done.returncode == 1
    assert f"A Sluice server (process {gateway.process.pid}) already works on the data folder" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_simulator_alone_tells_where_it_is_and_ends_when_asked(number: int):
    with follow("simulate", "--port", "0", "--json") as simulator:
        assert simulator.stdout is not None
        url = json.loads(simulator.stdout.readline())["url"]
        assert httpx.get(f"{url}/openai/v1/models", trust_env=False).status_code == 200
        simulator.send_signal(number)
        assert simulator.wait(10) == 0


def test_the_welcome_names_a_program_that_is_not_on_the_path_as_it_was_called(tmp_path: Path):
    program = tmp_path / "bin" / "sluice"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{SLUICE[2]}\n")
    program.chmod(0o755)
    with subprocess.Popen(
        [program, "serve", "--port", "0", "--simulate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env={**ENVIRONMENT, "PATH": "/usr/bin:/bin"},
    ) as serving:
        assert serving.stdout is not None
        printed = "".join(iter(serving.stdout.readline, "ready\n"))
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
    assert re.search(r"^Then see it go by: +bin/sluice logs tail$", printed, re.MULTILINE)
