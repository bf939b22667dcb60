"""Processes and cores: what a benchmark must pin, start, end and read from /proc."""

import asyncio
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class BenchFault(Exception):
    """The measurement cannot be made or cannot be trusted; the message says why."""


class Cores(NamedTuple):
    """Which core carries the gateway, and which the load, the upstream and all that is not measured."""

    gateway: int
    load: int

    @classmethod
    def choose(cls) -> Self:
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise BenchFault("a benchmark needs two cores: one for the gateway, one for the load")
        return cls(allowed[0], allowed[1])


def end_in_order() -> None:
    """Has SIGTERM end this program as Ctrl-C does: with all that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def pin(pid: int, core: int) -> None:
    """Pins every thread of a process; threads made later inherit it from the one that makes them."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


class Program:
    """A program under measurement, in a process group of its own, ended with everything it started."""

    def __init__(
        self, command: Sequence[str], core: int | None, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                command if core is None else ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self, patience_s: float = 20.0) -> None:
        """Asks it to leave, then makes the whole group leave."""
        if self.running:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def wait_for_port(self, port: int, deadline_s: float = 30.0) -> None:
        """Returns once something listens on the port. Raises BenchFault where the program ends before that."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise BenchFault(f"{self.command[0]} did not come up:\n{self.said()}")

    def wait_for_family(self, titles: Sequence[str], deadline_s: float = 30.0) -> None:
        """Returns once processes with these titles are there."""
        end = time.monotonic() + deadline_s
        while missing := set(titles) - self.family().keys():
            if time.monotonic() > end or not self.running:
                raise BenchFault(f"no {sorted(missing)} among {sorted(self.family())}:\n{self.said()}")
            time.sleep(0.01)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def gone(self) -> bool:
        """Whether it and everything it started have ended."""
        if self.running:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def status(self) -> int | None:
        return self._process.poll()

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def family(self) -> dict[str, int]:
        """Process id by title, of the program and all that it started; equal titles are told apart by number."""
        named: dict[str, int] = {}
        for pid in _descendants(self.pid):
            title = title_of(pid)
            named[title if title not in named else f"{title} ({pid})"] = pid
        return named


def title_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "gone"
    title = b" ".join(words).decode(errors="replace").strip()
    return title if title.startswith(("sluice:", "nginx:")) else Path(title.partition(" ")[0]).name


def cpu_s(pids: Sequence[int]) -> float:
    """Processor seconds that these processes have used so far, all threads, user and system."""
    return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)


def _cpu_clock(pid: int) -> int:
    """Linux's clock of another process (clock_getcpuclockid(3)): /proc has it in hundredths of a second only."""
    return ~pid << 3 | 2


def rss_mb(pid: int) -> float:
    """Resident memory; none for a process that has ended, as the console's short-lived ones do."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0


@contextmanager
def watching_rss(pids: Sequence[int]) -> Iterator[list[float]]:
    """Fills the list with the sum of the processes' memory in MB, ten times a second, while the block runs."""
    samples: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            samples.append(sum(rss_mb(pid) for pid in pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        done.set()
        watcher.join()


def wait_until_quiet(pids: Sequence[int], deadline_s: float = 120.0) -> None:
    """Returns once the processes use next to no processor time: what they had left to do is done."""
    end = time.monotonic() + deadline_s
    before = cpu_s(pids)
    while time.monotonic() < end:
        time.sleep(0.5)
        after = cpu_s(pids)
        if after - before <= 0.03:
            return
        before = after
    raise BenchFault(f"still busy after {deadline_s:.0f} s: {[title_of(pid) for pid in pids]}")


async def until(look: Callable[[], bool], what: str, deadline_s: float = 60) -> None:
    """Returns once it is so. Raises BenchFault after the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not look():
        if loop.time() > end:
            raise BenchFault(f"waited {deadline_s:g} s in vain for {what}")
        await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def describe() -> dict[str, str | int]:
    """The machine, for the record kept beside the figures."""
    model = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "nginx": _version(["nginx", "-v"]),
        "wrk": _version(["wrk", "-v"]),
    }


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "none"
    return (done.stderr + done.stdout).strip().splitlines()[0].removeprefix("nginx version: ")


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
    return found
