"""A supervisor that becomes the program installed in its place, with its children, over real processes."""

import fcntl
import os
import signal
import socket
from contextlib import closing

import pytest

from tests.supervisor.conftest import Server, answer, started


def test_it_becomes_the_program_that_is_installed_now_time_and_again_and_cuts_nothing(server: Server):
    times = 2
    server.settings(server={"workers": 2, "public_url": "http://old"})
    server.serve()
    pid, port = server.process.pid, server.port
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(server.data / "console.sock"))
    for turn in range(1, times + 1):
        with closing(started(server.call("slow"))) as running:
            server.settings(server={"workers": 1, "public_url": f"http://new{turn}"})
            os.kill(pid, signal.SIGUSR2)
            server.journal("took over", pid=pid)
            with closing(server.call("who")) as waiting:
                assert answer(waiting)["pid"] != pid
            assert answer(running)["generation"] == turn - 1
        for _ in range(2):
            server.journal("ready", child="worker", generation=turn)
        while any(server.ready[role]["generation"] != turn for role in ("keeper", "console")):
            server.journal("ready")
        said = [server.ask("who") for _ in range(32)]
        assert {each["slot"] for each in said} == {1, 2}, "how many workers there are changes with a restart"
        assert {each["public_url"] for each in said} == {f"http://new{turn}"}
    assert server.port == port
    with pytest.raises(BlockingIOError), (server.data / "sluice.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    server.process.terminate()
    assert server.ended() == 0
    assert sorted(server.ends()) == sorted(
        f"{role} {turn}" for role in ("worker", "worker", "keeper", "console") for turn in range(times + 1)
    )


def test_children_that_die_or_drain_in_the_meantime_are_the_successors_to_bury(server: Server):
    server.serve()
    with closing(started(server.call("stuck"))) as running:
        os.kill(server.process.pid, signal.SIGHUP)
        server.journal("ready", child="worker", generation=1)
        server.journal("closed its sockets")
        while server.ready["keeper"]["generation"] != 1:
            server.journal("ready")
        with closing(started(server.call("stuck"))):
            os.kill(server.process.pid, signal.SIGUSR2)
            server.journal("took over")
            server.journal("ready", child="worker", generation=2)
            os.kill(server.process.pid, signal.SIGHUP)
            server.journal("ready", child="worker", generation=3)
        assert running.recv(1) == b"", "a third generation hastens the first one, whoever began that"
    dead = server.ask("who")["pid"]
    os.kill(dead, signal.SIGKILL)
    server.journal("ended", child_pid=dead, how="SIGKILL")
    assert server.ask("who")["generation"] == 3
    server.process.terminate()
    server.journal("stopping")
    server.process.terminate()  # one of the children would wait for its deadline
    assert server.ended() == 0


def test_a_program_that_would_not_start_is_not_become(server: Server):
    server.settings(refused="it is broken")
    server.serve()
    os.kill(server.process.pid, signal.SIGUSR2)
    assert server.journal("upgrade refused")["why"] == "it is broken"
    assert server.ask("who")["generation"] == 0
