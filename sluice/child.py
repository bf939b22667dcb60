"""A child's side of the supervisor: its orders, the word that it is ready, its heartbeat, the call to drain."""

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Final

import setproctitle

from sluice import journal
from sluice.heap import return_large_blocks
from sluice.metrics import Metrics
from sluice.supervisor import orders
from sluice.supervisor.orders import Orders

BEAT_S: Final = 1.0
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Requests, logs and answers leave few reference cycles, so the collector may run rarely."""
_log = logging.getLogger(__name__)


class Child:
    """What one process was told at its start, and its line to the supervisor.

    A process with an event loop calls `start_heartbeat` on it and awaits `draining`; one without calls `beat` and
    `told_to_drain` itself.
    """

    def __init__(self, given: Orders, link: socket.socket) -> None:
        self.role = given.role
        self.slot = given.slot
        self.generation = given.generation
        self.settings = given.settings
        self.listeners = [socket.socket(fileno=fd) for fd in given.listeners]
        self.metrics = _open_metrics(given.metrics)
        self.orphaned = False
        """Whether the call to drain was the supervisor's death."""
        self.name = f"{given.role} {given.slot}" if given.slot else given.role
        setproctitle.setproctitle(f"sluice: {self.name}")
        self._vitals = _Vitals(self.metrics, given.role)
        self._link = link
        self._heard = b""
        self._drain = asyncio.Event()
        self._hasten = asyncio.Event()

    @classmethod
    def receive(cls, fd: int) -> "Child":
        """Reads the start orders; ends the process where the supervisor has died before giving any."""
        link = socket.socket(fileno=fd)
        heard = b""
        while b"\n" not in heard:
            piece = link.recv(65536)
            if not piece:
                link.close()
                sys.exit(1)
            heard += piece
        line, _, rest = heard.partition(b"\n")
        link.setblocking(False)
        child = cls(orders.decode(line), link)
        child._take(rest)
        return child

    def close(self) -> None:
        """Lets go of the line; to the supervisor that is as good as an end."""
        self._link.close()

    def ready(self) -> None:
        """Tells the supervisor that this process does its work from now on."""
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process: no collection need look at it again
        gc.set_threshold(*GC_THRESHOLDS)
        return_large_blocks()
        self._tell(orders.READY)
        self.beat()

    def beat(self) -> None:
        """Shows that this process is alive, and measures it; to be called every second."""
        self._tell(orders.BEAT)
        self._vitals.measure()

    def start_heartbeat(self) -> None:
        """Beats every second from the running loop, so that a loop that hangs is noticed, and listens for orders."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._link, self._hear)
        self._beat_on(loop)

    async def draining(self) -> None:
        """Returns when this process is to finish what it has begun and end."""
        await self._drain.wait()

    async def hastened(self) -> None:
        """Returns when there is no more time to finish anything; two seconds later comes SIGKILL."""
        await self._hasten.wait()

    def told_to_drain(self, wait_s: float) -> bool:
        """For a process without a loop: waits up to this long for the call to drain."""
        self._listen(wait_s if not self._drain.is_set() else 0.0)
        return self._drain.is_set()

    def told_to_hasten(self, wait_s: float = 0.0) -> bool:
        """For a process without a loop: likewise, for the call to end at once."""
        self._listen(wait_s if not self._hasten.is_set() else 0.0)
        return self._hasten.is_set()

    def _listen(self, wait_s: float) -> None:
        if self._link.fileno() < 0:
            time.sleep(wait_s)
        elif select.select([self._link], [], [], wait_s)[0]:
            self._hear()

    def _hear(self) -> None:
        try:
            piece = self._link.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._hang_up()
            self._drain_alone()
        self._take(piece)

    def _take(self, piece: bytes) -> None:
        self._heard += piece
        if orders.DRAIN in self._heard:
            self._begin_drain()
        if orders.HASTEN in self._heard:
            self._hasten.set()

    def _hang_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # no loop, no reader
            asyncio.get_running_loop().remove_reader(self._link)
        self._link.close()

    def _drain_alone(self) -> None:
        self.orphaned = self.orphaned or not self._drain.is_set()
        self._begin_drain()

    def _begin_drain(self) -> None:
        if not self._drain.is_set():
            setproctitle.setproctitle(f"sluice: {self.name} (draining)")
            self._drain.set()

    def _beat_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat()
        self._vitals.count_tasks(loop)
        loop.call_later(BEAT_S, self._beat_on, loop)

    def _tell(self, line: bytes) -> None:
        if self._link.fileno() < 0:
            return
        try:
            self._link.send(line, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            pass  # a supervisor that is stopped reads nothing; what it missed is only that we live
        except OSError:
            self._drain_alone()


class _Vitals:
    """Memory, descriptors, tasks and processor time of this process, into its metrics."""

    def __init__(self, metrics: Metrics, role: str) -> None:
        self._resident = metrics.gauge("sluice_process_resident_bytes", "Resident memory.", role=role)
        self._descriptors = metrics.gauge("sluice_process_open_fds", "Open file descriptors.", role=role)
        self._tasks = metrics.gauge("sluice_process_tasks", "Tasks of the event loop.", role=role)
        self._cpu = metrics.seconds("sluice_process_cpu_seconds_total", "Processor time, user and system.", role=role)
        self._processes = metrics.gauge("sluice_processes", "Living processes.", role=role)
        self._cpu_seen_ns = 0
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def measure(self) -> None:
        spent_ns = time.process_time_ns()
        self._cpu.add(spent_ns - self._cpu_seen_ns)
        self._cpu_seen_ns = spent_ns
        self._processes.set(1)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # no descriptor may be left to look with: we live all the same
                self._look()

    def count_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes 2 ms where there are 10,000."""
        self._tasks.set(len(asyncio.all_tasks(loop)))

    def _look(self) -> None:
        # The size of this folder is the count since Linux 6.2; listing 16,000 entries would hold the loop for 5 ms.
        self._descriptors.set(os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")))
        with open("/proc/self/statm", "rb") as file:
            self._resident.set(int(file.read().split()[1]) * self._page_bytes)


def _open_metrics(path: Path) -> Metrics:
    try:
        return Metrics.open(path)
    except OSError as error:
        _log.warning("metrics file cannot be had, counting unseen", extra=journal.fields(error=str(error)))
        return Metrics.unseen()
