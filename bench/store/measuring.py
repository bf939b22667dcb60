"""The parts of the measurement: filling a store, what it takes on the disk, bodies, and retention."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.contenders import ROOT, Contender, build
from bench.machine import BenchFault, Cores, cpu_s, rss_mb, wait_until_quiet
from bench.store.client import Management

STEPS: Final = 10
_LOOK_S: Final = 0.25


@dataclass(slots=True)
class Step:
    """A tenth of the filling: how many logs there were at its begin, and what each of its own took."""

    rows: int
    logs_per_cpu_s: float
    logs_per_s: float
    rss_mb: float


@dataclass(slots=True)
class Ingest:
    steps: list[Step] = field(default_factory=list)
    body_bytes: int = 0
    raw_bytes: int = 0


@contextmanager
def filling(
    contender: Contender, gateways: Sequence[str], logs: int, data: Path, cores: Cores, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """The process that appends logs for gateways of these internal ids, on the load's core, begun."""
    words = [str(data), ",".join(gateways), str(logs), *options]
    with appending("bench.store.filling", cores.load, words) as process:
        yield process


@contextmanager
def appending(module: str, core: int, words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A program in the worker's place, which has said that it is ready."""
    path = {**build(pure=False)}
    path["PYTHONPATH"] = f"{path['PYTHONPATH']}:{ROOT}"
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=path) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise BenchFault("no logs can be made")
            yield process
        finally:
            process.kill()


def ingest(
    contender: Contender, console: Management, names: Sequence[str], logs: int, data: Path, cores: Cores, *options: str
) -> Ingest:
    """Fills the gateways evenly; the keeper is watched meanwhile."""
    keeper = contender.process("sluice: keeper")
    found = Ingest()
    ids = [console.internal_id(name) for name in names]
    with filling(contender, ids, logs, data, cores, *options) as process:
        rows, spent, at = 0, cpu_s([keeper]), time.monotonic()
        for number in range(1, STEPS + 1):
            goal = logs * number // STEPS
            stored = _wait_for(console, names, goal, process, last=number == STEPS)
            now, used = time.monotonic(), cpu_s([keeper])
            found.steps.append(
                Step(rows, (stored - rows) / max(used - spent, 1e-9), (stored - rows) / (now - at), rss_mb(keeper))
            )
            print(f"  {stored:,} logs, {found.steps[-1].logs_per_cpu_s:,.0f} a second of a core", flush=True)
            rows, spent, at = stored, used, now
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    found.body_bytes, found.raw_bytes = told["body_bytes"], told["raw_bytes"]
    wait_until_quiet([keeper], 600.0)
    return found


def copies(console: Management, names: Sequence[str], shards: Path) -> None:
    """Gives all gateways but the first the logs of the first. Nothing is written meanwhile, so files are whole."""
    first, *others = (console.internal_id(name) for name in names)
    (folder,) = shards.glob(f"*/{first}")
    for other in others:
        shutil.copytree(folder, folder.with_name(other), ignore=shutil.ignore_patterns("*-shm"))
    if len({console.total(name) for name in names}) > 1:
        raise BenchFault("the copies do not have the logs of what they were copied from")


def _wait_for(
    console: Management, names: Sequence[str], goal: int, process: "subprocess.Popen[str]", *, last: bool
) -> int:
    idle_since = time.monotonic()
    before = -1
    while True:
        stored = sum(console.total(name) for name in names)
        if stored >= goal:
            return stored
        now = time.monotonic()
        if stored != before:
            before, idle_since = stored, now
        if now - idle_since > 60 or (process.poll() not in (None, 0) and not last):
            raise BenchFault(f"{stored} logs are stored, of {goal}, and no more come")
        time.sleep(_LOOK_S)


@dataclass(slots=True)
class Room:
    """What a store takes on the disk, in bytes."""

    index: int
    packs: int

    @property
    def total(self) -> int:
        return self.index + self.packs


def room(shards: Path) -> Room:
    sizes = {path: path.stat().st_size for path in shards.rglob("*") if path.is_file()}
    packs = sum(size for path, size in sizes.items() if path.suffix == ".pack")
    return Room(sum(sizes.values()) - packs, packs)


@dataclass(slots=True)
class Bodies:
    p50_ms: float
    p99_ms: float


def bodies(console: Management, gateway: str, count: int) -> Bodies:
    """Reads the stored replies of logs from all over the store."""
    chance = random.Random(3)
    pages = max(1, console.total(gateway) // 50)
    ids = [
        row["id"]
        for _ in range(max(1, count // 10))
        for row in console.logs(gateway, per_page=10, page=1 + chance.randrange(pages) * 5)["result"]
    ]
    times = []
    for log_id in ids:
        began = time.perf_counter()
        if not console.ask("GET", f"/gateways/{gateway}/logs/{log_id}/response"):
            raise BenchFault(f"the stored reply of {log_id} is empty")
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return Bodies(median(times), times[len(times) * 99 // 100])


@dataclass(slots=True)
class Retained:
    """After the limit was set: seconds until the count was right, and until the files were gone."""

    left: int
    counted_s: float
    freed_s: float
    freed_share: float


def retain(console: Management, gateway: str, left: int, shards: Path) -> Retained:
    """Lowers the gateway's limit while its newest page is read over and over; the count must come to it exactly."""
    before = room(shards).total
    began = time.monotonic()
    console.put_gateway(gateway, log_management=left, log_management_strategy="DELETE_OLDEST")
    counted_s = freed_s = 0.0
    goal = before * (1 - 0.9 * (1 - left / max(console.total(gateway), left)))
    while not counted_s or not freed_s:
        now = time.monotonic() - began
        total = console.logs(gateway, per_page=50)["result_info"]["total_count"]
        if total == left and not counted_s:
            counted_s = now
        if room(shards).total <= goal and not freed_s:
            freed_s = now
        if now > (10 if counted_s else 60):
            break  # of a small store the last segment is most of what goes
        time.sleep(0.02)
    return Retained(total, counted_s, freed_s, 1 - room(shards).total / before)
