"""A supervisor over real child processes, spoken to as a terminal and as a client would."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sluice

PROGRAMS = Path(__file__).parent / "programs"
QUICK = {"heartbeat_s": 2.5, "grace_s": 0.5, "hastened_s": 1.0}


class Server:
    """A supervisor in a process group of its own, spoken to as a terminal and as a client would."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._file = folder / "settings.json"
        self.host = ""
        self.port = 0
        self.simulator = ""
        self.ready: dict[str, dict[str, Any]] = {}
        """The last line of each role that told of its readiness."""

    def settings(self, patience: dict[str, float] = QUICK, refused: str = "", **sections: Any) -> None:
        sections = {"server": {"workers": 1, "drain_timeout_s": 20.0}} | sections
        self._file.write_text(json.dumps({"settings": sections, "patience": patience, "refused": refused}))

    def start(self, port: int = 0, terminal: int = subprocess.DEVNULL, **environment: str) -> None:
        if not self._file.exists():
            self.settings()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "serve.py"), str(self.data), str(port), str(self._file)],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=None if terminal < 0 else lambda: fcntl.ioctl(0, termios.TIOCSCTTY),
            env=os.environ | {"PYTHONPATH": str(Path(sluice.__file__).parents[1])} | environment,
        )

    def say(self) -> str:
        """The next line for the person at the terminal."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def serve(self, port: int = 0) -> None:
        self.start(port)
        self.wait_ready()

    def wait_ready(self) -> None:
        word, url, self.simulator = self.say().split()
        assert word == "ready"
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)
        while not self.ready.keys() >= {"worker", "keeper", "console"}:
            self.journal("ready")

    def journal(self, event: str, **wanted: Any) -> dict[str, Any]:
        """The next line of the process log that tells of this."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line: dict[str, Any] = json.loads(text)
            assert "trace" not in line, line["trace"]
            if line["event"] == "ready":
                self.ready[line["child"]] = line
            if line["event"].startswith(event) and wanted.items() <= line.items():
                return line
        raise AssertionError(f"the log ended without {event} {wanted}")

    def call(self, command: str) -> socket.socket:
        connection = socket.create_connection((self.host, self.port))
        try:
            connection.sendall(f"{command}\n".encode())
        except OSError:
            connection.close()
            raise
        return connection

    def connects(self) -> bool:
        try:
            self.call("who").close()
        except (ConnectionRefusedError, ConnectionResetError):
            return False
        return True

    def ask(self, command: str) -> dict[str, Any]:
        with closing(self.call(command)) as connection:
            return answer(connection)

    def signal(self, number: int) -> None:
        """To the whole group, as a terminal sends it."""
        os.killpg(self.process.pid, number)

    def ended(self) -> int:
        self.process.communicate()
        return self.process.returncode

    def ends(self) -> list[str]:
        return (self.data / "ends").read_text().splitlines()

    def alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait_for_all(self) -> None:
        """All processes hold the log's pipe: its end is theirs."""
        assert self.process.stderr is not None
        self.process.stderr.read()


def answer(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile() as lines:
        line = lines.readline()
        if line == "started\n":
            line = lines.readline()
        said: dict[str, Any] = json.loads(line)
        return said


def started(connection: socket.socket) -> socket.socket:
    """The call, once its worker has begun it."""
    assert connection.recv(8) == b"started\n"
    return connection


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    if hasattr(server, "process"):
        if server.alive():
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()
