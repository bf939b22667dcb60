"""Ordinary traffic for an hour at half of what the machine can do, with a reload now and then: nothing may grow.

    scripts/soak steady                                      an hour, a reload every 5 minutes
    scripts/soak steady --seconds 120 --reload-every 20      a shorter form

Two workers in front of the simulator, everything logged, the newest 20,000 logs kept. Judged are, after a time of
warming up: each request ends as it should and is in the log once; none is cut by a reload; memory and descriptors of
each process against those of its predecessors at the same age, and against its own when it was younger; tasks of event
loops; bytes of spool and store; the p99 of plain replies in the last third against that in the first.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final, NamedTuple, Self

from bench.contenders import SLUICE, build, make_token, start_sluice
from bench.machine import BenchFault, Program, free_port, rss_mb, until
from bench.steady.traffic import Account, Traffic
from bench.steady.watch import Change, Watch, over_lives, over_time, within_lives
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.log import ShardKey

FAMILY: Final = ("sluice: worker 1", "sluice: worker 2", "sluice: keeper", "sluice: console")
KEPT: Final = 20_000
LATEST_S: Final = 30.0
"""A log that is not there so long after its request ended is missing."""
LOOK_S: Final = 1.0
READ_LOG_S: Final = 3.0
JUDGED_S: Final = 60.0
"""In a shorter run nothing is warm yet: what grows is shown, and not judged."""
OLD_ENOUGH_S: Final = 120.0
"""Likewise of a process's own growth, where it is replaced sooner."""
FULL_S: Final = 600.0
"""Likewise of the store, which grows until it is full."""
SETTINGS: Final = {"SLUICE_SPOOL__FILE_BYTES": "1000000"}
"""Small files, for one that is not full yet looks like growth."""


@dataclass(frozen=True, slots=True)
class Times:
    seconds: float
    reload_s: float
    connections: int = 32

    @property
    def warm_s(self) -> float:
        return min(self.reload_s, self.seconds / 6)


class Row(NamedTuple):
    """A figure, whether it counts, and whether it is too much at the end."""

    name: str
    change: Change | None
    judged: bool
    grew: bool

    @classmethod
    def of(cls, name: str, change: Change | None, judged: bool, part: float, slack: float) -> Self:
        return cls(name, change, judged and change is not None, change is not None and change.grown(part, slack))


class Steady:
    """One run."""

    def __init__(self, data: Path, times: Times) -> None:
        self._data, self._times = data, times
        self._seen: set[str] = set()
        """Log ids of the last listing."""
        self._reloads = 0

    async def run(self) -> str:
        """What to tell of it. Raises BenchFault where something grew, was cut or is missing."""
        port, origin, times = free_port(), free_port(), self._times
        log = self._data.with_name("simulator.log")
        simulate = [*SLUICE, "simulate", "--port", str(origin)]
        with Program(simulate, None, log, build(pure=True)) as simulator:
            await asyncio.to_thread(simulator.wait_for_port, origin)
            with start_sluice(origin, port, None, self._data, workers=2, env=SETTINGS) as program:
                await asyncio.to_thread(program.wait_for_port, port)
                await asyncio.to_thread(program.wait_for_family, FAMILY)
                token = await asyncio.to_thread(make_token, self._data)
                await asyncio.to_thread(self._keep_newest)
                traffic = Traffic(port, token, times.connections)
                watch = Watch(program, port, token, self._data)
                rate = await self._saturation(traffic) / 2
                _say(f"half of saturation is {rate:,.0f} requests a second")
                begun_s = time.monotonic()
                async with (
                    traffic.running(rate) as account,
                    _meanwhile(self._look_on(watch, account, begun_s)),
                    _meanwhile(self._follow(account)),
                ):
                    await asyncio.gather(asyncio.sleep(times.seconds), self._reload(program))
                await self._find_the_rest(account)
                await asyncio.to_thread(program.end)
            done = await asyncio.to_thread(self._doctor)
        if program.status() or done.returncode:
            raise BenchFault(f"exit status {program.status()}; sluice doctor: {done.stdout}{done.stderr}")
        return self._judged(account, [*self._growth(watch, begun_s), _slower(account, begun_s, self._times)])

    async def _saturation(self, traffic: Traffic) -> float:
        """Requests a second in a closed loop."""
        seconds = min(5.0, self._times.seconds / 6)
        loop = asyncio.get_running_loop()
        async with traffic.running(0) as account, _meanwhile(self._follow(account)):
            await asyncio.sleep(seconds / 2)  # a first second is slower
            before, since = account.ended, loop.time()
            await asyncio.sleep(seconds)
            rate = (account.ended - before) / (loop.time() - since)
        account.at_s, account.took_s = type(account.at_s)("d"), type(account.took_s)("d")
        return rate

    async def _look_on(self, watch: Watch, account: Account, begun_s: float) -> None:
        """Takes samples, and shows how it goes, twenty times in all or every half minute."""
        show_s = min(30.0, self._times.seconds / 20)
        shown_s, ended = begun_s, account.ended
        while True:
            watch.look()
            await watch.count()
            if (now_s := time.monotonic()) >= shown_s + show_s:
                rate = (account.ended - ended) / (now_s - shown_s)
                p99_ms = _p99_ms(list(account.took_s[-1000:]))
                memory = [(title, rss_mb(pid)) for title, pid in sorted(watch.program.family().items())]
                _say(
                    f"{now_s - begun_s:6.0f} s  {rate:6,.0f}/s  p99 {p99_ms:6.1f} ms  {len(account.due):5,} logs due  "
                    f"{len(account.faults)} faults  "
                    + "  ".join(f"{title.removeprefix('sluice: ')} {mb:.0f} MB" for title, mb in memory)
                )
                shown_s, ended = now_s, account.ended
            await asyncio.sleep(LOOK_S)

    async def _follow(self, account: Account) -> None:
        while True:
            await asyncio.to_thread(self._find, account)
            late_s = asyncio.get_running_loop().time() - LATEST_S
            if late := [log_id for log_id, ended_s in list(account.due.items()) if ended_s < late_s]:
                raise BenchFault(
                    f"{len(late)} requests are not in the log {LATEST_S:g} s after their end, as {late[0]}"
                )
            await asyncio.sleep(READ_LOG_S)

    async def _find_the_rest(self, account: Account) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + LATEST_S
        while account.due and loop.time() < end_s:
            await asyncio.to_thread(self._find, account)
            await asyncio.sleep(0.2)
        if account.due:
            raise BenchFault(f"{len(account.due)} ended requests are not in the log, as {next(iter(account.due))}")

    def _find(self, account: Account) -> None:
        """Strikes out what is in the log. Raises BenchFault where a log is there twice."""
        for folder in (self._data / "shards" / "local").glob("*"):
            with closing(EmbeddedLogReader(self._data / "shards", query_timeout_s=30)) as reader:
                ids = reader.ids(ShardKey("local", folder.name), LogQuery(per_page=2 * KEPT), 30)
            if twice := [log_id for log_id, times in Counter(ids).items() if times > 1]:
                raise BenchFault(f"{len(twice)} logs are there twice, as {twice[0]}")
            for log_id in ids:
                account.due.pop(log_id, None)

    async def _reload(self, program: Program) -> None:
        """Every so often while the time goes; the last one is waited for."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._times.seconds - self._times.reload_s
        while loop.time() < end_s:
            await asyncio.sleep(self._times.reload_s)
            before = set(program.family().values())
            os.kill(program.pid, signal.SIGHUP)
            await until(partial(_replaced, program, before), "a successor of every process")
            self._reloads += 1

    def _judged(self, account: Account, rows: list[Row]) -> str:
        for row in rows:
            if row.change is None:
                continue
            _say(f"{'GREW' if row.judged and row.grew else 'flat' if row.judged else 'seen'}  {row.name}: {row.change}")
        if account.faults:
            raise BenchFault(f"{len(account.faults)} requests did not end as they should: {account.faults[:5]}")
        if grown := [row.name for row in rows if row.judged and row.grew]:
            raise BenchFault(f"{', '.join(grown)} grew")
        sent = ", ".join(f"{count:,} {kind}" for kind, count in account.sent.most_common())
        return (
            f"{account.ended:,} requests ended as they should and are in the log once ({sent}); {self._reloads} "
            f"reloads, {account.not_begun} requests of WebSockets came too late for one that restarts; nothing grew"
        )

    def _growth(self, watch: Watch, begun_s: float) -> Iterator[Row]:
        times, roles = self._times, watch.roles()
        judged = times.seconds >= JUDGED_S
        for figure, slack in (("memory_mb", 0.0), ("descriptors", 2.0)):
            for role, lives in sorted(roles.items()):
                if role == "supervisor":
                    seen = [
                        (life.born_s + each.age_s, getattr(each, figure)) for life in lives for each in life.samples
                    ]
                    yield Row.of(f"{figure} of {role}", over_time(seen, begun_s + times.warm_s), judged, 0.05, slack)
                    continue
                yield Row.of(f"{figure} of {role}", over_lives(lives, figure, times.reload_s), judged, 0.05, slack)
                old = judged and times.reload_s >= OLD_ENOUGH_S
                within = within_lives(lives, figure, times.reload_s)
                yield Row.of(f"{figure} of {role} within a life", within, old, 0.05, slack)
        for name, counts in sorted(watch.sums.items()):
            full = judged and (name != "store" or times.seconds >= FULL_S)
            slack = 5 if "tasks" in name else 1e6
            yield Row.of(name, over_time(counts, begun_s + times.warm_s), full, 0.25, slack)

    def _keep_newest(self) -> None:
        fields = (f"log_management={KEPT}", 'log_management_strategy="DELETE_OLDEST"')
        words = [word for one in fields for word in ("--set", one)]
        self._cli("gateway", "change", "default", *words, check=True)

    def _doctor(self) -> subprocess.CompletedProcess[str]:
        return self._cli("doctor", check=False)

    def _cli(self, *words: str, check: bool) -> subprocess.CompletedProcess[str]:
        command, environment = [*SLUICE, *words, "--data", str(self._data)], {**os.environ, **build(pure=True)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if check and done.returncode:
            raise BenchFault(f"sluice {' '.join(words)}:\n{done.stdout}{done.stderr}")
        return done


@asynccontextmanager
async def _meanwhile(doing: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Goes on with something until the block ends, which ends with it where it fails."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(doing)
        yield
        task.cancel()


def _slower(account: Account, begun_s: float, times: Times) -> Row:
    """The p99 of plain replies, of the first third and of the last: the median of ten parts of each.

    What slows down is slow in all of them; what a neighbour on the machine does is in some.
    """
    parts: list[list[float]] = [[] for _ in range(30)]
    start_s, part_s = begun_s + times.warm_s, (times.seconds - times.warm_s) / 30
    for at_s, took_s in zip(account.at_s, account.took_s, strict=True):
        if at_s >= start_s:
            parts[min(int((at_s - start_s) / part_s), 29)].append(took_s)
    p99s = [_p99_ms(part) for part in parts]
    return Row.of("p99 in ms", Change(median(p99s[:10]), median(p99s[-10:])), times.seconds >= JUDGED_S, 0.5, 5.0)


def _p99_ms(times_s: list[float]) -> float:
    return quantiles(times_s, n=100)[-1] * 1000 if len(times_s) > 1 else 0.0


def _replaced(program: Program, before: set[int]) -> bool:
    now = program.family()
    return all(title in now and now[title] not in before for title in FAMILY)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=3600, help="how long it lasts")
    parser.add_argument("--reload-every", type=float, default=300, help="seconds between reloads")


def run(folder: Path, asked: argparse.Namespace) -> str:
    """What the command line asks for. Raises BenchFault."""
    return asyncio.run(soak(folder, asked.seconds, asked.reload_every))


async def soak(folder: Path, seconds: float, reload_s: float) -> str:
    """Raises BenchFault."""
    try:
        return await Steady(folder / "data", Times(seconds, reload_s)).run()
    except* BenchFault as faults:
        raise BenchFault("; ".join(map(str, _each(faults)))) from faults


def _each(faults: BaseExceptionGroup[BenchFault]) -> Iterator[BenchFault]:
    """Those of groups within it too."""
    for fault in faults.exceptions:
        if isinstance(fault, BaseExceptionGroup):
            yield from _each(fault)
        else:
            yield fault
