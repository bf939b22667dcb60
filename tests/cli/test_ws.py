"""`sluice ws` before a real gateway: lines in, messages out."""

import json
import os
import subprocess
import sys
from typing import Any

PROGRAM = [sys.executable, "-c", "import sys; from sluice.cli.main import main; sys.exit(main())", "ws"]
STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "gpt-4o-mini", "messages": []}}


def ws(gateway: Any, lines: list[Any], *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    url = f"ws://127.0.0.1:{gateway.port}/v1/local/default"
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    environment = {**os.environ, "SLUICE_TOKEN": token or gateway.token}
    return subprocess.run(
        [*PROGRAM, url, *words], input=text, capture_output=True, text=True, env=environment, timeout=30, check=False
    )


def test_steps_and_messages_are_run_and_answered_line_by_line(gateway: Any):
    stream = {**STEP, "eventId": "b", "query": {**STEP["query"], "stream": True}}
    cancel = {"type": "universal.cancel", "eventId": "nobody"}
    done = ws(gateway, [{**STEP, "eventId": "a"}, "", [stream], cancel, "hello"], "-H", 'cf-aig-metadata: {"a": 1}')
    assert (done.returncode, done.stderr) == (0, "")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    by_name = {message["metadata"].get("eventId"): message for message in messages}
    assert by_name["a"]["response"]["object"] == "chat.completion"
    assert by_name["b"]["type"] == "universal.done"
    assert by_name["nobody"]["type"] == by_name[None]["type"] == "universal.error"
    assert gateway.log(by_name["a"]["metadata"]["logId"])["metadata"] == {"a": 1}


def test_a_refusal_is_told(gateway: Any):
    done = ws(gateway, [STEP], token="nobody's")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith('Error: The connection is refused: HTTP 401: {"success":false')


def test_what_is_no_address_is_told(gateway: Any):
    assert ws(gateway, [], "--header", "a:b", "extra").returncode == 2
    assert (
        "no-such-thing"
        in subprocess.run([*PROGRAM, "no-such-thing"], capture_output=True, text=True, check=False).stderr
    )
    closed = subprocess.run([*PROGRAM, "ws://127.0.0.1:1/"], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr.partition(" cannot be reached")[0]) == (1, "Error: 127.0.0.1:1")
