"""`sluice ws` before a real gateway: lines in, messages out."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.utils import accept_key

PROGRAM = [sys.executable, "-c", "import sys; from sluice.cli.main import main; sys.exit(main())", "ws"]
STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "gpt-4o-mini", "messages": []}}


def ws(gateway: Any, lines: list[Any], *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(lines, f"ws://127.0.0.1:{gateway.port}/v1/local/default", *words, token=token or gateway.token)


def run(lines: list[Any], *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    environment = {**os.environ, "SLUICE_TOKEN": token}
    return subprocess.run(
        [*PROGRAM, *words], input=text, capture_output=True, text=True, env=environment, timeout=30, check=False
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


def test_it_ends_when_what_it_cancelled_has(gateway: Any):
    endless = {**STEP, "eventId": "a", "query": {"model": "gpt-4o-mini~slow-head-60000", "messages": []}}
    cancel = {"type": "universal.cancel", "eventId": "a"}
    done = ws(gateway, [endless, endless, {**STEP, "eventId": "b"}, cancel])
    assert (done.returncode, done.stderr) == (0, "")
    metadata = [json.loads(line)["metadata"] for line in done.stdout.splitlines()]
    assert sorted((told["eventId"], told.get("cancelled", False)) for told in metadata) == [
        ("a", True),
        ("a", True),
        ("b", False),
    ]


def test_without_an_address_it_asks_the_server_of_the_data_folder(gateway: Any, tmp_path: Path):
    done = run([STEP], "--data", str(gateway.data), token=gateway.token)
    assert (done.returncode, json.loads(done.stdout)["type"]) == (0, "universal.created")
    alone = run([STEP], "--data", str(tmp_path / "data"))
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "start `sluice serve`" in alone.stderr


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "The connection is refused: "),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{accept}\r\n", "broke off"),
    ],
    ids=["before its handshake", "behind it"],
)
def test_a_connection_that_ends_without_a_goodbye_is_told(answer: str, told: str):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                asked = client.recv(65_536).decode()
                key = re.search(r"Sec-WebSocket-Key: (\S+)", asked)
                assert key
                client.sendall(answer.format(accept=f"Sec-WebSocket-Accept: {accept_key(key[1])}\r\n").encode())

        thread = threading.Thread(target=serve)
        thread.start()
        done = run([STEP], f"ws://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert told in done.stderr


def test_a_refusal_is_told(gateway: Any):
    done = ws(gateway, [STEP], token="nobody's")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith('Error: The connection is refused: HTTP 401: {"success":false')


@pytest.mark.parametrize("header", ["no colon", ": no name"])
def test_what_is_no_header_is_told(gateway: Any, header: str):
    done = ws(gateway, [STEP], "-H", header)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{header!r} is not NAME:VALUE" in done.stderr


def test_what_is_no_address_is_told(gateway: Any):
    assert ws(gateway, [], "--header", "a:b", "extra").returncode == 2
    assert (
        "no-such-thing"
        in subprocess.run([*PROGRAM, "no-such-thing"], capture_output=True, text=True, check=False).stderr
    )
    closed = subprocess.run([*PROGRAM, "ws://127.0.0.1:1/"], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr.partition(" cannot be reached")[0]) == (1, "Error: 127.0.0.1:1")
