"""What a server takes while it runs: memory and descriptors of each process, tasks, spool and store."""

import asyncio
import os
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from bench.machine import Program, rss_mb
from bench.traffic import get_bytes

_ROLE: Final = re.compile(r"sluice: (worker|keeper|console|supervisor)\b")
_SUM: Final = re.compile(r"^(sluice_spool_bytes|sluice_process_tasks\{role=\"(\w+)\"\}) (\d+)$", re.MULTILINE)
EARLY: Final = (0.5, 0.6)
LATE: Final = (0.8, 0.97)
"""Parts of a process's life: when it has grown warm, and before its successor comes."""


class Sample(NamedTuple):
    age_s: float
    memory_mb: float
    descriptors: int


@dataclass(slots=True)
class Life:
    """One process, as it was seen from its first sample to its last."""

    role: str
    born_s: float
    samples: list[Sample] = field(default_factory=list)

    def within(self, part: tuple[float, float], length_s: float) -> list[Sample]:
        """The samples of a part of a life of that length."""
        return [sample for sample in self.samples if part[0] <= sample.age_s / length_s <= part[1]]


@dataclass(slots=True)
class Watch:
    """Samples of a server since it was begun to be watched."""

    program: Program
    port: int
    token: str
    data: Path
    lives: dict[int, Life] = field(default_factory=dict)
    sums: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """`spool`, `store` and `tasks of` a role: bytes or tasks of all its processes, and when."""

    def look(self) -> None:
        """At all processes that are there and do not drain."""
        now_s = time.monotonic()
        for title, pid in self.program.family().items():
            role = _ROLE.match(title)
            if role is None or "draining" in title:
                continue
            life = self.lives.setdefault(pid, Life(role[1], now_s))
            try:
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue  # it has just ended
            life.samples.append(Sample(now_s - life.born_s, rss_mb(pid), descriptors))
        self._put("store", now_s, sum(_bytes(path) for path in (self.data / "shards").rglob("*")))

    async def count(self) -> None:
        """What the server counts itself."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            async with asyncio.timeout(30):
                text = (await get_bytes(reader, writer, "/metrics", self.token)).decode()
        for name, role, count in _SUM.findall(text):
            self._put(f"tasks of {role}" if role else name.removeprefix("sluice_").removesuffix("_bytes"),
                      time.monotonic(), int(count))  # fmt: skip

    def roles(self) -> dict[str, list[Life]]:
        """The lives that had samples enough, by role, in their order."""
        found: dict[str, list[Life]] = {}
        for life in self.lives.values():
            if len(life.samples) > 1:
                found.setdefault(life.role, []).append(life)
        return found

    def _put(self, name: str, now_s: float, count: int) -> None:
        self.sums.setdefault(name, []).append((now_s, count))


class Change(NamedTuple):
    """A figure at the beginning and at the end."""

    before: float
    after: float

    def grown(self, part: float, slack: float) -> bool:
        return self.after > self.before * (1 + part) + slack

    def __str__(self) -> str:
        return f"{self.before:,.1f} -> {self.after:,.1f}"


def over_lives(lives: Sequence[Life], figure: str, reload_s: float) -> Change | None:
    """A figure of processes at the same age: the first third of them against the last, without the very first."""
    whole = sorted((life for life in lives if life.within(LATE, reload_s)), key=lambda life: life.born_s)
    abreast = sum(life.born_s < whole[0].born_s + reload_s / 2 for life in whole) if whole else 0
    if len(whole) > 3 * abreast:
        whole = whole[abreast:]
    third = max(len(whole) // 3, abreast)
    if not third or len(whole) < 2 * third:
        return None
    return Change(*(fmean(_late(life, figure, reload_s) for life in part) for part in (whole[:third], whole[-third:])))


def within_lives(lives: Iterable[Life], figure: str, reload_s: float) -> Change | None:
    """A figure of processes that have grown warm against the same at the end of their lives, on the average."""
    pairs = []
    for life in lives:
        early, late = life.within(EARLY, reload_s), life.within(LATE, reload_s)
        if early and late:
            pairs.append([fmean(getattr(sample, figure) for sample in part) for part in (early, late)])
    return Change(*(fmean(column) for column in zip(*pairs, strict=True))) if pairs else None


def over_time(sums: Sequence[tuple[float, int]], warm_s: float) -> Change | None:
    """Means of the first and of the last third of what came after `warm_s`."""
    counts = [count for at_s, count in sums if at_s >= warm_s]
    third = len(counts) // 3
    return Change(fmean(counts[:third]), fmean(counts[-third:])) if third else None


def _late(life: Life, figure: str, reload_s: float) -> float:
    return fmean(getattr(sample, figure) for sample in life.within(LATE, reload_s))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
