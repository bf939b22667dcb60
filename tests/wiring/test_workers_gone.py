"""Who is needed by workers ends after them."""

import asyncio
import fcntl
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.child import Child
from sluice.supervisor.orders import DRAIN, Orders
from sluice.values.settings import ServerSettings, Settings
from sluice.wiring import workers_gone
from sluice.wiring.workers_gone import draining_after_workers


@pytest.fixture
def link(tmp_path: Path) -> Iterator[tuple[socket.socket, Child]]:
    """A child of a server with one living worker, and the supervisor's end of its line."""
    spool = tmp_path / "spool" / "0"
    spool.mkdir(parents=True)
    ours, its = socket.socketpair()
    its.setblocking(False)
    settings = Settings(data=tmp_path, server=ServerSettings(drain_timeout_s=0.2))
    with closing(ours), closing(its), (spool / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield ours, Child(Orders("console", 0, settings, [], Path("/dev/null/none")), its)


async def test_its_turn_has_come_when_it_is_told(link: tuple[socket.socket, Child]):
    ours, child = link
    child.start_heartbeat()
    ours.sendall(DRAIN)
    async with asyncio.timeout(5):
        await draining_after_workers(child)


async def test_after_the_supervisors_death_workers_are_waited_for_up_to_their_deadline(
    link: tuple[socket.socket, Child], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers_gone, "GRACE_S", 0.1)
    ours, child = link
    child.start_heartbeat()
    ours.close()
    begun = asyncio.get_running_loop().time()
    await draining_after_workers(child)
    assert asyncio.get_running_loop().time() - begun >= 0.25
