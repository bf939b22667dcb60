"""When the keeper ends, and how it asks for prices."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from sluice.child import Child
from sluice.supervisor.listeners import open_unix
from sluice.supervisor.orders import DRAIN, HASTEN, Orders
from sluice.values.settings import Settings
from sluice.wiring.keeper import LastWorker, PriceQuestions


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


@pytest.fixture
def questions(tmp_path: Path) -> Iterator[PriceQuestions]:
    with closing(PriceQuestions(tmp_path / "relay.sock")) as asked:
        yield asked


def test_a_console_that_is_down_cannot_be_asked_for_prices(questions: PriceQuestions):
    assert not questions([("openai", "gpt")])


def test_a_console_that_is_starting_reads_the_question_when_it_is_up(questions: PriceQuestions, tmp_path: Path):
    with closing(open_unix(tmp_path / "relay.sock")) as listener:
        assert questions([("openai", "gpt"), ("openai", "other")])
        with closing(listener.accept()[0]) as connection:
            asked = b""
            while not asked.endswith(b"]}"):
                asked += connection.recv(4096)
    assert asked.startswith(b"POST /internal/prices/wanted HTTP/1.1\r\n")
    assert b'{"models":[{"provider":"openai","model":"gpt"},{"provider":"openai","model":"other"}]}' in asked


def test_a_deaf_console_holds_few_connections(questions: PriceQuestions, tmp_path: Path):
    with closing(open_unix(tmp_path / "relay.sock")) as listener:
        assert all(questions([("openai", f"gpt-{number}")]) for number in range(20))
        hung_up = [_hung_up(listener) for _ in range(20)]
    assert hung_up == [True] * 16 + [False] * 4


def _hung_up(listener: socket.socket) -> bool:
    """Whether the next connection was closed at the other end."""
    with closing(listener.accept()[0]) as connection:
        connection.setblocking(False)
        try:
            while connection.recv(4096):
                pass
        except BlockingIOError:
            return False
    return True
