"""The supervisor over real child processes: start, replacement, drain, reload, its own death."""

import os
import pty
import signal
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sluice import metrics
from tests.supervisor.conftest import QUICK, Server, answer, started, title


def test_it_is_ready_once_all_its_processes_are_and_each_shows_its_role(server: Server):
    server.settings(server={"workers": 2})
    server.serve()
    workers = {said["slot"]: said["pid"] for said in (server.ask("who") for _ in range(64))}
    assert sorted(workers) == [1, 2]
    assert title(server.process.pid) == "sluice: supervisor"
    assert title(workers[2]) == "sluice: worker 2"
    for role in ("keeper", "console"):
        assert title(server.ready[role]["child_pid"]) == f"sluice: {role}"


def test_the_keeper_starts_after_those_for_whom_clients_wait(server: Server):
    server.settings(QUICK | {"keeper_start_s": 3600.0})
    server.start()
    assert server.say().startswith("ready ")
    server.journal("ready", child="keeper")


def test_the_keeper_does_not_wait_long_for_the_others(server: Server):
    server.settings(QUICK | {"keeper_start_s": 0.1}, server={"workers": 1, "public_url": "never"})
    server.start()
    server.journal("ready", child="keeper")


def test_its_sockets_for_the_console_are_this_users_alone(server: Server):
    server.serve()
    for name in ("console.sock", "relay.sock"):
        assert (server.data / name).stat().st_mode & 0o777 == 0o600
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert not (server.data / "console.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_workers_then_console_then_keeper(server: Server, number: int):
    server.serve()
    with closing(started(server.call("slow"))) as running:
        server.signal(number)
        assert answer(running)["slot"] == 1
    assert server.ended() == 0
    assert server.ends() == ["worker 0", "console 0", "keeper 0"]
    assert not server.alive()


def test_a_draining_server_refuses_new_connections(server: Server):
    server.serve()
    with closing(started(server.call("stuck"))):
        server.signal(signal.SIGTERM)
        server.journal("stopping")
        while server.connects():
            pass  # the supervisor has closed its copy, the worker is about to


def test_what_does_not_finish_is_cut_at_the_deadline(server: Server):
    server.settings(server={"workers": 1, "drain_timeout_s": 0.2})
    server.serve()
    with closing(started(server.call("stuck"))) as running:
        server.signal(signal.SIGTERM)
        assert server.journal("killed")["reason"] == "drain deadline"
        assert running.recv(1) == b""
    assert server.ended() == 0


def test_a_second_interrupt_hastens_the_drain(server: Server):
    server.serve()
    with closing(started(server.call("stuck"))) as running:
        server.signal(signal.SIGINT)
        server.journal("stopping")
        server.signal(signal.SIGINT)
        assert running.recv(1) == b""
    assert server.ended() == 0
    assert server.ends()[0] == "worker 0"


def test_a_dead_worker_is_replaced_and_those_who_wait_on_its_socket_are_served(server: Server):
    server.serve()
    first = server.ask("who")["pid"]
    os.kill(first, signal.SIGSTOP)
    with closing(server.call("who")) as waiting:
        os.kill(first, signal.SIGKILL)
        assert answer(waiting)["pid"] != first
    assert server.journal("ended", child="worker")["how"] == "SIGKILL"


@pytest.mark.parametrize("role", ["keeper", "console"])
def test_a_dead_keeper_or_console_is_replaced(server: Server, role: str):
    server.serve()
    victim = server.ready[role]["child_pid"]
    os.kill(victim, signal.SIGKILL)
    assert server.journal("ended", child=role)["child_pid"] == victim
    assert server.journal("ready", child=role)["child_pid"] != victim


def test_a_worker_that_hangs_is_killed(server: Server):
    server.serve()
    with closing(server.call("hang")) as hanging:
        assert server.journal("killed", child="worker")["reason"] == "no heartbeat"
        assert hanging.recv(1) == b""
    assert server.ask("who")["slot"] == 1


def test_a_slot_that_keeps_dying_is_closed_until_a_worker_stays_up(server: Server):
    server.serve()
    for _ in range(3):
        with closing(server.call("die")) as dying:
            assert dying.recv(1) == b""
            server.journal("ended", child="worker")
    server.journal("slot closed")
    server.journal("ready", child="worker")
    assert server.ask("who")["slot"] == 1


def test_a_server_whose_workers_cannot_start_gives_up(server: Server):
    server.settings(server={"workers": 1, "public_url": "die"})
    server.start()
    assert server.say() == ""
    assert server.ended() == 1
    assert not server.alive()


def test_counts_go_on_when_a_worker_is_replaced(server: Server):
    server.serve()
    server.ask("who")
    with closing(server.call("die")) as dying:
        assert dying.recv(1) == b""
    server.ask("who")
    text = metrics.render((server.data / "metrics").iterdir())
    assert "seen_total 3\n" in text
    assert 'sluice_processes{role="worker"} 1\n' in text


def test_a_reload_starts_successors_with_the_new_settings_before_it_drains(server: Server):
    server.settings(server={"workers": 1, "public_url": "http://old"})
    server.serve()
    with closing(started(server.call("slow"))) as running:
        server.settings(server={"workers": 1, "public_url": "http://new"})
        os.kill(server.process.pid, signal.SIGHUP)
        old = answer(running)
    assert (old["generation"], old["public_url"]) == (0, "http://old")
    new = server.ask("who")
    assert (new["generation"], new["public_url"]) == (1, "http://new")
    while any(server.ready[role]["generation"] == 0 for role in ("keeper", "console")):
        server.journal("ready")


def test_a_third_generation_hastens_the_first_that_drains(server: Server):
    server.serve()
    with ExitStack() as stack:
        calls = []
        for generation in range(3):
            calls.append(stack.enter_context(closing(started(server.call("stuck")))))
            os.kill(server.process.pid, signal.SIGHUP)
            server.journal("ready", child="worker", generation=generation + 1)
            server.journal("closed its sockets")
        first, second, third = calls
        assert first.recv(1) == b""
        for call in (second, third):
            call.setblocking(False)
            with pytest.raises(BlockingIOError):
                call.recv(1)


def test_systemd_is_told_how_it_fares(server: Server, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20.0)
        heard: list[str] = []

        def hear(state: str) -> None:
            while state not in heard:
                heard.append(manager.recv(100).decode().partition("\n")[0])

        server.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="100000")
        server.wait_ready()
        hear("READY=1")
        heard.clear()
        hear("WATCHDOG=1")
        environment = Path(f"/proc/{server.ready['worker']['child_pid']}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        os.kill(server.process.pid, signal.SIGHUP)
        hear("RELOADING=1")
        assert "READY=1" not in heard
        hear("READY=1")
        heard.clear()
        os.kill(server.process.pid, signal.SIGUSR2)
        for state in ("RELOADING=1", "READY=1", "WATCHDOG=1"):
            hear(state)
        server.process.terminate()
        hear("STOPPING=1")
        assert server.process.wait() == 0
    assert set(heard) == {"WATCHDOG=1", "RELOADING=1", "READY=1", "STOPPING=1"}


def test_a_manager_that_went_is_no_failure(server: Server, tmp_path: Path):
    server.start(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    server.wait_ready()
    server.process.terminate()
    assert server.process.wait() == 0


def test_settings_that_are_wrong_do_not_replace_anybody(server: Server):
    server.serve()
    before = server.ask("who")
    server.settings(server={"workers": "many"})
    os.kill(server.process.pid, signal.SIGHUP)
    assert "Expected `int`" in server.journal("reload refused")["error"]
    assert server.ask("who") == before


def test_a_successor_that_cannot_start_leaves_the_predecessor_at_work(server: Server):
    server.serve()
    before = server.ask("who")
    server.settings(server={"workers": 1, "public_url": "die"})
    os.kill(server.process.pid, signal.SIGHUP)
    server.journal("reload failed here")
    server.journal("reload failed, keeper and console stay too")
    assert server.ask("who") == before
    assert {server.ready[role]["generation"] for role in ("worker", "keeper", "console")} == {0}


def test_the_port_cannot_change_without_a_restart_and_workers_are_told_the_one_in_use(server: Server):
    server.settings(server={"workers": 1}, simulate=True)
    server.serve()
    assert server.ask("who")["providers"] == {"openai": f"{server.simulator}/openai"}
    server.settings(server={"workers": 3, "host": "127.0.0.2"}, simulate=True)
    os.kill(server.process.pid, signal.SIGHUP)
    server.journal("data, simulate, server.host")
    server.journal("ready", child="keeper")
    assert server.ask("who")["generation"] == 1


def test_a_closed_terminal_leaves_nothing_running(server: Server):
    terminal, its_side = pty.openpty()
    server.start(terminal=its_side)
    os.close(its_side)
    server.wait_ready()
    os.kill(server.process.pid, signal.SIGHUP)  # as long as the terminal is there, this is a reload
    server.journal("ready", child="keeper", generation=1)
    os.close(terminal)
    assert server.ended() == 0
    assert not server.alive()


def test_children_of_a_killed_supervisor_finish_and_leave(server: Server):
    server.serve()
    with closing(started(server.call("slow"))) as running:
        os.kill(server.process.pid, signal.SIGKILL)
        assert answer(running)["slot"] == 1
    server.wait_for_all()
    assert sorted(server.ends()) == ["console 0", "keeper 0", "worker 0"]


def test_a_new_server_waits_for_the_workers_of_a_killed_one(server: Server, tmp_path: Path):
    server.serve()
    worker = server.ask("who")["pid"]
    os.kill(worker, signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    successor = Server(tmp_path)
    successor.start(server.port)
    try:
        assert "Workers of a former server" in successor.say()
        os.kill(worker, signal.SIGCONT)
        successor.wait_ready()
        assert successor.port == server.port
        assert successor.ask("who")["pid"] != worker
        successor.signal(signal.SIGTERM)
        assert successor.ended() == 0
    finally:
        successor.process.kill()
        successor.process.communicate()


def test_a_taken_port_names_who_has_it(server: Server):
    with closing(socket.create_server(("127.0.0.1", 0), reuse_port=True)) as other:
        port = other.getsockname()[1]
        server.start(port)
        said = server.say()
        assert f"Port {port} on 127.0.0.1 is taken by" in said
        assert f"(process {os.getpid()})" in said
        assert server.ended() == 2


def test_a_second_server_on_the_same_folder_is_refused(server: Server, tmp_path: Path):
    server.serve()
    second = Server(tmp_path)
    second.start()
    assert f"A Sluice server (process {server.process.pid}) already works on the data folder" in second.say()
    assert second.ended() == 2
