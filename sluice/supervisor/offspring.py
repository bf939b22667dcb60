"""One child as the supervisor sees it: started, listened to, told to drain, killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import sluice
from sluice.supervisor import orders
from sluice.supervisor.orders import Orders

PROGRAM: Final = (
    sys.executable,
    "-P",  # a select.py in the folder where `sluice serve` was typed must not become ours
    "-c",
    "import sys; sys.path.append(sys.argv[1]); from sluice.processes import main; main()",
    str(Path(sluice.__file__).parent.parent),
)
_BLOCKED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)


class Process(Protocol):
    """A process of which we are the parent."""

    pid: int

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...


class AdoptedProcess:
    """One that this process had started before it became another program."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                self._code = 0
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Offspring:
    """A child process, from its start to its burial."""

    def __init__(
        self, role: str, slot: int, generation: int, metrics: Path, process: Process, link: socket.socket, now: float
    ) -> None:
        self.role, self.slot, self.generation, self.metrics = role, slot, generation, metrics
        self.pid = process.pid
        self.link = link
        self.born = now
        self.last_beat = now
        self.ready = False
        self.draining = False
        self.doomed_at: float | None = None
        """When it gets SIGKILL."""
        self._process = process
        self.unfinished = b""
        """What it has begun to say."""

    @classmethod
    def start(cls, given: Orders, program: Sequence[str], now: float) -> "Offspring":
        """Raises OSError where no process can be had.

        Signals of the terminal are blocked in it until it ignores them: a Ctrl-C may come before its first line.
        """
        mine, its = socket.socketpair()
        try:
            mine.sendall(orders.encode(given))
            mine.setblocking(False)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
            try:
                process = subprocess.Popen(
                    [*program, given.role, str(its.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[its.fileno(), *given.listeners],
                    env=_environment(),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError:
            mine.close()
            raise
        finally:
            its.close()
        return cls(given.role, given.slot, given.generation, given.metrics, process, mine, now)

    def hear(self, now: float) -> bool:
        """Takes in what the child says; true if it is the word that it is ready. Its end is told by `ended`."""
        try:
            piece = self.link.recv(65536)
        except OSError:
            return False
        *lines, self.unfinished = (self.unfinished + piece).split(b"\n")
        if lines:
            self.last_beat = now
        news = not self.ready and orders.READY.strip() in lines
        self.ready = self.ready or news
        return news

    def drain(self, kill_at: float) -> None:
        """Lets it finish what it has begun, up to a point in time."""
        if not self.draining:
            self.draining = True
            self.doomed_at = kill_at
            self._tell(orders.DRAIN)

    def hasten(self, kill_at: float) -> None:
        """Lets it drain with no more patience than this."""
        self.drain(kill_at)
        self.doomed_at = min(kill_at, self.doomed_at or kill_at)
        self._tell(orders.HASTEN)

    def kill(self) -> None:
        self.doomed_at = None
        self._process.kill()

    def ended(self) -> str | None:
        """How it ended, in words; None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name

    def bury(self) -> None:
        self.link.close()

    def _tell(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it is dying, or reads nothing: its deadline stands
            self.link.send(line, socket.MSG_NOSIGNAL)


def _environment() -> dict[str, str]:
    """Without the settings, which come with the orders: keys among them would be read off `ps e`."""
    return {name: text for name, text in os.environ.items() if not name.startswith("SLUICE_")}


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
