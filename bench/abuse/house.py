"""The gateway under attack: its processes, what they hold, what they say. Nothing may stay, and nobody may die."""

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.abuse.cases import Aim
from bench.abuse.framing import BODY_BYTES
from bench.abuse.sockets import MESSAGE_BYTES
from bench.contenders import SLUICE, build, make_token
from bench.machine import BenchFault, Program, free_port, rss_mb
from bench.traffic import Broken, get_bytes

FAMILY = ("sluice: supervisor", "sluice: worker 1", "sluice: worker 2", "sluice: keeper", "sluice: console")
BOUNDS = {
    "LIMITS__BODY_BYTES": BODY_BYTES,
    "LIMITS__WEBSOCKET_MESSAGE_BYTES": MESSAGE_BYTES,
    "REALTIME__FRAME_BYTES": MESSAGE_BYTES,
}
DEADLINES_S = {
    "LIMITS__HEAD_TIMEOUT_S": 1.5,
    "LIMITS__BODY_IDLE_TIMEOUT_S": 1.5,
    "LIMITS__KEEP_ALIVE_S": 4,
    "LIMITS__SEND_IDLE_TIMEOUT_S": 1,
    "LIMITS__WEBSOCKET_IDLE_TIMEOUT_S": 1.5,
    "REALTIME__IDLE_TIMEOUT_S": 1.5,
    "UPSTREAM__KEEP_ALIVE_S": 1,
    "UPSTREAM__IDLE_TIMEOUT_S": 3,
}
"""What is minutes by default is seconds here: bounds and deadlines are to be met."""
LEFT_OPEN = {"file": 12, "unix": 64}
"""What a process may have open beside what it had before, and nothing else: files of the data folder, opened when first
needed, and connections between workers and console, kept for half a minute, at most 32 of each worker."""
IDLE_TASKS = 8
"""One of each worker, five of the console, one more for who asks."""
IDLE_GAUGES = (
    *("sluice_websockets", "sluice_realtime_connections", "sluice_websocket_requests"),
    *("sluice_websocket_queued_bytes", "sluice_cache_waiting", "sluice_logs_waiting", "sluice_commands_waiting"),
)
_GAUGE = re.compile(r"^(\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the processes hold when all is quiet, by title."""

    pids: Mapping[str, int]
    files: Mapping[str, Counter[str]]
    rss_mb: Mapping[str, float]
    tasks: float


class House:
    """The gateway with two workers, in front of the simulator and of a hostile provider."""

    def __init__(self, program: Program, port: int, token: str, log: Path) -> None:
        self._program, self._log = program, log
        self.port, self.aim = port, Aim(token)
        self.pids = self._family()

    def _family(self) -> dict[str, int]:
        known = self._program.family()
        return {title: known[title] for title in FAMILY if title in known}

    def check_alive(self) -> None:
        """Raises BenchFault where a process has died, even if another has taken its place."""
        if (now := self._family()) != self.pids:
            raise BenchFault(f"of {self.pids} there are left {now}:\n{self._program.said()}")

    async def quiet(self, before: Holdings | None, deadline_s: float = 40.0) -> Holdings:
        """What is held once it is no more than before. Raises BenchFault where it stays more."""
        end = time.monotonic() + deadline_s
        while True:
            self.check_alive()
            gauges = await self._gauges()
            await asyncio.sleep(0.1)  # the connection of this question is gone
            now = self._holdings(gauges)
            busy = still_busy(gauges) + ([] if before is None else surplus(now, before))
            if not busy:
                return now
            if time.monotonic() > end:
                raise BenchFault(f"not quiet after {deadline_s:g} s: {'; '.join(busy)}")
            await asyncio.sleep(0.1)

    def check_log(self) -> dict[str, int]:
        """How often each event is in the process log. Raises BenchFault where one tells of a bug, or the token."""
        text = self._log.read_text(errors="replace")
        events: dict[str, int] = {}
        if self.aim.token in text:
            raise BenchFault("the process log has the token in it")
        for line in text.splitlines():
            if not line.startswith("{"):
                if "Traceback" in line or "Error" in line:
                    raise BenchFault(f"the process log has a trace in it: {line}")
                continue
            said = json.loads(line)
            if said["level"] in ("error", "critical", "warning") or "trace" in said:
                raise BenchFault(f"the process log has {line[:4000]}")
            events[said["event"]] = events.get(said["event"], 0) + 1
        return events

    def _holdings(self, gauges: Mapping[str, float]) -> Holdings:
        files = {title: open_files(pid) for title, pid in self.pids.items()}
        memory = {title: rss_mb(pid) for title, pid in self.pids.items()}
        return Holdings(self.pids, files, memory, gauges["sluice_process_tasks"])

    async def _gauges(self) -> dict[str, float]:
        """Every metric, those of all processes and labels added up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(20):
                text = (await get_bytes(reader, writer, "/metrics", self.aim.token)).decode()
        except (Broken, TimeoutError) as error:
            raise BenchFault(f"no metrics: {error!r}") from error
        finally:
            writer.transport.abort()
        sums: dict[str, float] = {}
        for name, value in _GAUGE.findall(text):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums


def still_busy(gauges: Mapping[str, float]) -> list[str]:
    """What still runs or waits."""
    busy = [f"{name} is {gauges[name]:g}" for name in IDLE_GAUGES if gauges.get(name)]
    if (connections := gauges.get("sluice_connections", 0.0)) > 1:  # that by which it is asked
        busy.append(f"sluice_connections is {connections:g}")
    return busy


def surplus(now: Holdings, before: Holdings) -> list[str]:
    """What is held that was not held before."""
    found = []
    for title, files in now.files.items():
        if more := files - before.files[title] - Counter(LEFT_OPEN):
            found.append(f"{title} has open, beside what is right, {dict(more)}")
    if now.tasks > IDLE_TASKS:
        found.append(f"there are {now.tasks:g} tasks, {IDLE_TASKS} are right")
    return found


def open_files(pid: int) -> Counter[str]:
    """How many of each kind a process has open: `file`, `unix` or other `socket`, `pipe`, `anon_inode`."""
    kinds: Counter[str] = Counter()
    between = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            kind, _, inode = os.readlink(f"/proc/{pid}/fd/{name}").partition(":")
            if kind == "socket" and inode.strip("[]") in between:
                kind = "unix"
            kinds["file" if kind.startswith("/") else kind] += 1
    return kinds


@contextmanager
def house(data: Path, hostile: int, patience: float) -> Iterator[House]:
    """A house that has come up, with a hostile provider on this port; its deadlines are so many times as long."""
    simulator, port = free_port(), free_port()
    with Program(
        [*SLUICE, "simulate", "--port", str(simulator)], None, data.with_suffix(".simulator.log"), build()
    ) as provider:
        provider.wait_for_port(simulator)
        command = [*SLUICE, "serve", "--data", str(data), "--port", str(port), "--workers", "2"]
        log = data.with_suffix(".log")
        with Program(command, None, log, environment(simulator, hostile, patience)) as program:
            program.wait_for_port(port)
            program.wait_for_family(FAMILY)
            yield House(program, port, make_token(data), log)


def environment(simulator: int, hostile: int, patience: float) -> dict[str, str]:
    """Limits that can be met, and where the providers are; at Mistral's nobody listens."""
    urls = {name: f"http://127.0.0.1:{simulator}/{name}" for name in ("openai", "cartesia", "workers-ai")}
    urls |= dict.fromkeys(("groq", "anthropic", "aws-bedrock"), f"http://127.0.0.1:{hostile}")
    urls["mistral"] = "http://127.0.0.1:1"
    settings = {f"SLUICE_{name}": str(value) for name, value in BOUNDS.items()}
    settings |= {f"SLUICE_{name}": str(value * patience) for name, value in DEADLINES_S.items()}
    for name, url in urls.items():
        settings[f"SLUICE_PROVIDERS__{name.upper().replace('-', '_')}__BASE_URL"] = url
    return {**build(), **settings}
