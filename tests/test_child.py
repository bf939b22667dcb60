"""A child's side of the supervisor, over a real socketpair."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.child import Child
from sluice.metrics import render
from sluice.supervisor import orders
from sluice.supervisor.orders import BEAT, DRAIN, HASTEN, READY, Orders
from sluice.values.settings import ProviderSettings, ServerSettings, Settings


class Line:
    """The supervisor's end, and the child that hears the other."""

    def __init__(self) -> None:
        self.ours, its = socket.socketpair()
        self.ours.settimeout(5)
        self._its_fd = its.detach()
        self._children: list[Child] = []

    def begin(self, said: bytes) -> Child:
        self.ours.sendall(said)
        return self.receive()

    def receive(self) -> Child:
        child = Child.receive(self._its_fd)
        self._children.append(child)
        return child

    def close(self) -> None:
        for child in self._children:
            child.close()
        self.ours.close()


@pytest.fixture
def line() -> Iterator[Line]:
    with closing(Line()) as line:
        yield line


def given(tmp_path: Path) -> Orders:
    return Orders("worker", 3, Settings(), [], tmp_path / "worker-1.map")


def test_orders_arrive_as_they_were_given(line: Line, tmp_path: Path):
    settings = Settings(
        data=tmp_path, server=ServerSettings(port=1), providers={"openai": ProviderSettings("http://127.0.0.1:1")}
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        told = Orders("worker", 3, settings, [listener.detach()], tmp_path / "worker-1.map", generation=7)
    child = line.begin(orders.encode(told))
    assert (child.role, child.slot, child.generation, child.settings) == ("worker", 3, 7, settings)
    with closing(child.listeners[0]) as inherited:
        assert inherited.getsockname() == address


def test_a_call_to_drain_right_behind_the_orders_is_heard(line: Line, tmp_path: Path):
    assert line.begin(orders.encode(given(tmp_path)) + DRAIN).told_to_drain(0.0)


def test_a_supervisor_that_dies_before_its_orders_leaves_no_child(line: Line):
    line.ours.close()
    with pytest.raises(SystemExit):
        line.receive()


def test_it_beats_on_without_a_descriptor_to_spare(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        child.beat()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert line.ours.recv(4096) == BEAT


async def test_it_beats_on_its_loop_and_shows_what_it_uses(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    child.ready()
    child.start_heartbeat()
    assert line.ours.recv(4096).startswith(READY + BEAT)
    text = render([tmp_path / "worker-1.map"])
    assert 'sluice_processes{role="worker"} 1\n' in text
    assert 'sluice_process_resident_bytes{role="worker"} 0\n' not in text
    assert f'sluice_process_tasks{{role="worker"}} {len(asyncio.all_tasks())}\n' in text


async def test_drain_and_hasten_are_told_one_after_the_other(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    child.start_heartbeat()
    line.ours.sendall(DRAIN)
    await child.draining()
    hastened = asyncio.ensure_future(child.hastened())
    await asyncio.sleep(0)
    assert not hastened.done()
    line.ours.sendall(HASTEN)
    await hastened


async def test_a_dead_supervisor_means_drain_and_does_not_disturb_the_heartbeat(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    child.start_heartbeat()
    line.ours.close()
    await child.draining()
    child.beat()
    assert child.orphaned
    assert not child.told_to_hasten()


async def test_a_child_whose_turn_came_before_the_supervisor_died_is_no_orphan(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    line.ours.sendall(DRAIN)
    assert child.told_to_drain(0.0)
    line.ours.close()
    child.beat()
    child.told_to_hasten()
    assert not child.orphaned


def test_a_supervisor_that_is_stopped_does_not_block_the_heartbeat(line: Line, tmp_path: Path):
    child = line.begin(orders.encode(given(tmp_path)))
    for _ in range(2000):  # more than the socket holds
        child.beat()
    assert not child.told_to_drain(0.0)
