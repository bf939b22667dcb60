"""When the keeper ends, and how it asks for prices."""

import fcntl
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from sluice.child import Child
from sluice.supervisor.listeners import open_unix
from sluice.supervisor.orders import DRAIN, HASTEN, Orders
from sluice.values.settings import Settings
from sluice.wiring.keeper import LastWorker, price_resolver


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, Child]]:
    ours, its = socket.socketpair()
    its.setblocking(False)
    with closing(ours), closing(its):
        yield ours, Child(Orders("keeper", 0, Settings(), [], Path("/dev/null/none")), its)


@contextmanager
def worker(spool: Path, number: int) -> Iterator[IO[str]]:
    (spool / str(number)).mkdir(parents=True, exist_ok=True)
    with (spool / str(number) / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield held


def test_it_goes_on_until_told(link: tuple[socket.socket, Child], tmp_path: Path):
    ours, child = link
    stop = LastWorker(child, tmp_path)
    assert [stop(0.0), stop(0.001)] == [False, False]
    ours.sendall(DRAIN)
    assert stop(10.0)


def test_a_dead_supervisors_workers_are_waited_for_and_new_ones_are_not(
    link: tuple[socket.socket, Child], tmp_path: Path
):
    ours, child = link
    stop = LastWorker(child, tmp_path)
    with worker(tmp_path, 0):
        ours.close()
        assert [stop(10.0), stop(0.0)] == [False, False]
        with worker(tmp_path, 1):
            assert not stop(0.0)
    with worker(tmp_path, 1):
        assert stop(0.0)


def test_it_can_be_hastened(link: tuple[socket.socket, Child], tmp_path: Path):
    ours, child = link
    stop = LastWorker(child, tmp_path)
    with worker(tmp_path, 0):
        ours.sendall(DRAIN)
        assert not stop(10.0)
        ours.sendall(HASTEN)
        assert stop(10.0)


def test_a_console_that_is_down_or_deaf_resolves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.wiring.keeper._ASK_TIMEOUT_S", 0.05)
    resolve = price_resolver(tmp_path / "relay.sock")
    assert not resolve("openai", "gpt")
    with closing(open_unix(tmp_path / "relay.sock")):
        assert not resolve("openai", "gpt")


def test_a_console_that_answers_is_asked_for_the_model(tmp_path: Path):
    asked = b""

    def console(listener: socket.socket) -> None:
        nonlocal asked
        with closing(listener.accept()[0]) as connection:
            while not asked.endswith(b'{"provider":"openai","model":"gpt"}'):
                asked += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with closing(open_unix(tmp_path / "relay.sock")) as listener:
        thread = threading.Thread(target=console, args=(listener,))
        thread.start()
        assert price_resolver(tmp_path / "relay.sock")("openai", "gpt")
        thread.join()
    assert asked.startswith(b"POST /internal/prices/resolve HTTP/1.1\r\n")
