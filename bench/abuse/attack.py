"""The attack: inputs of all families in one shuffled order, judged one by one, with ordinary requests beside them."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random

from bench.abuse.beside import Seen
from bench.abuse.cases import Case, Family, Script
from bench.abuse.house import Holdings, House, house
from bench.abuse.providers import hostile
from bench.abuse.replies import Catalogue, read_catalogue
from bench.abuse.table import FAMILIES
from bench.abuse.talk import Told, play
from bench.contenders import ROOT
from bench.machine import BenchFault

QUICK, SLOW = 16, 100
"""How many inputs are under way at once: those that are answered at once, and those that wait for a deadline."""
MANAGEMENT = b"/client/v4/"
"""Where errors of ours come in the envelope of the management API."""
LONG_PATIENCE = 2
"""How much longer all deadlines are in a long run: its cores are busy, and may be shared with others."""
MOST_FAILURES = 20
FLAT_SHARE, FLAT_MB = 0.05, 8.0
"""By how much a process may have grown in the second half: so much of it, or so many megabytes."""


@dataclass(frozen=True, slots=True)
class Input:
    """Which input: its family, and the number by which it can be made again."""

    family: Family
    index: int

    def make(self, seed: int, under: House) -> Case:
        return self.family.make(Random(f"{seed}/{self.family.name}/{self.index}"), under.aim)


@dataclass(slots=True)
class Findings:
    """What came of it."""

    played: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    families: set[str] = field(default_factory=set)
    took_s: float = 0.0
    half: Holdings | None = None
    end: Holdings | None = None
    alone: Seen = field(default_factory=Seen)
    beside: Seen = field(default_factory=Seen)

    def __str__(self) -> str:
        words = ", ".join(f"{word} {count:,}" for word, count in self.answers.most_common())
        lines = [
            f"{self.played:,} inputs of {len(self.families)} families in {self.took_s:.0f} s, all answered rightly:",
            f"    {words}",
            f"ordinary requests beside them: {self.beside.asked:,}, all answered rightly; {quantiles(self.beside)}",
            f"before the abuse: {self.alone.asked:,}; {quantiles(self.alone)}",
        ]
        for when, held in (("at half time", self.half), ("at the end", self.end)):
            if held is not None:
                each = [f"{title} {mb:.1f} MB, {held.files[title].total()} files" for title, mb in held.rss_mb.items()]
                lines.append(f"{when}: {'; '.join(each)}; {held.tasks:g} tasks")
        return "\n".join(lines)


def quantiles(seen: Seen) -> str:
    return (
        f"p50 {seen.quantile_ms(0.5):.1f} ms, p99 {seen.quantile_ms(0.99):.1f} ms, longest {seen.quantile_ms(1):.1f} ms"
    )


def shuffled(total: int, seed: int, only: str = "", index: int | None = None) -> list[Input]:
    """So many inputs or a few more, of every family at least one, in an order that the seed says."""
    families = [one for one in FAMILIES if not only or one.name == only]
    if not families:
        raise BenchFault(f"there is no family {only!r}, but {', '.join(one.name for one in FAMILIES)}")
    if index is not None:
        return [Input(families[0], index)]
    whole = sum(one.share for one in families)
    inputs = [Input(one, number) for one in families for number in range(ceil(total * one.share / whole))]
    Random(seed).shuffle(inputs)
    return inputs


async def abuse(
    data: Path, total: int, seed: int, only: str = "", index: int | None = None, *, weighs: bool = True
) -> Findings:
    """All of it. Raises BenchFault where an answer was wrong, something stayed, grew or died, or others suffered.

    `weighs` is whether there is a rest at half time, after which no process may grow any more.
    """
    inputs = shuffled(total, seed, only, index)
    scripts: dict[str, Script] = {}
    findings = Findings(families={one.family.name for one in inputs})
    async with hostile(scripts) as provider:
        with house(data, provider, LONG_PATIENCE if weighs else 1) as under:
            attack = Attack(under, seed, scripts, findings)
            async with bystanders(under, findings.alone):
                await asyncio.sleep(min(len(inputs) / 10_000, 5))
            before = await under.quiet(None)
            start = time.monotonic()
            middle = len(inputs) // 2 if weighs else 0
            if weighs:
                await attack.play(inputs[:middle])
                findings.half = await under.quiet(before)
                findings.took_s = time.monotonic() - start
                print(f"half time: {findings}", file=sys.stderr, flush=True)
            await attack.play(inputs[middle:])
            findings.end = await under.quiet(before)
            findings.took_s = time.monotonic() - start
            under.check_log()
    if findings.half is not None:
        judge_holdings(findings.half, findings.end)
    return findings


class Attack:
    """Plays inputs against a house, so many at once, and judges what they are told."""

    def __init__(self, under: House, seed: int, scripts: dict[str, Script], findings: Findings) -> None:
        self._under, self._seed, self._scripts, self._findings = under, seed, scripts, findings
        self._catalogue: Catalogue = read_catalogue()

    async def play(self, inputs: Sequence[Input]) -> None:
        """Raises BenchFault where an answer was wrong, here or beside."""
        quick = iter([one for one in inputs if not one.family.slow])
        slow = iter([one for one in inputs if one.family.slow])
        async with bystanders(self._under, self._findings.beside), asyncio.TaskGroup() as group:
            for source, count in ((slow, SLOW), (quick, QUICK)):
                for _ in range(count):
                    group.create_task(self._run(source))
        self._under.check_alive()
        if self._findings.failures:
            raise BenchFault("\n".join(self._findings.failures))

    async def _run(self, inputs: Iterator[Input]) -> None:
        for one in inputs:
            if len(self._findings.failures) >= MOST_FAILURES:
                return
            case = one.make(self._seed, self._under)
            for told in await play(case, self._under.port, self._under.aim, self._catalogue, self._scripts):
                self._judge(one, case, told)
            self._findings.played += 1

    def _judge(self, one: Input, case: Case, told: Told) -> None:
        right = set(case.right.split()) or set(one.family.right)
        if MANAGEMENT in b"".join(case.sends[:100])[:1000]:  # which may have been dribbled
            right |= {f"m{word}" for word in right if word[0].isdigit() and ":" in word}
        self._findings.answers.update(set(told.words) or {"nothing"})
        if set(told.words) <= right and case.least <= told.replies <= case.most:
            return
        sent = b"".join(case.sends).replace(self._under.aim.token.encode(), b"TOKEN")
        self._findings.failures.append(
            f"seed {self._seed}, family {one.family.name!r}, index {one.index}: {told}\n"
            f"    right are {case.least} to {case.most} of {' '.join(sorted(right))}; sent were {len(sent):,} bytes:"
            f" {sent[:600]!r}"
        )


@asynccontextmanager
async def bystanders(under: House, seen: Seen) -> AsyncIterator[None]:
    """Ordinary requests while the block runs, by a process of their own. Raises BenchFault where one went wrong."""
    command = [sys.executable, "-m", "bench.abuse.beside", str(under.port)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT, limit=2**26)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(under.aim.token.encode() + b"\n")
    try:
        await asyncio.wait_for(process.stdout.readline(), 30)  # the first has been answered
        yield
        process.stdin.close()
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = Seen(**json.loads(said))
    seen.asked += told.asked
    seen.took_ms += told.took_ms
    if told.wrong or not told.asked:
        raise BenchFault(f"of {told.asked:,} ordinary requests {len(told.wrong)} went wrong:\n" + "\n".join(told.wrong))


def judge_holdings(half: Holdings, end: Holdings) -> None:
    """Raises BenchFault where a process has grown in the second half."""
    for title, mb in end.rss_mb.items():
        before = half.rss_mb[title]
        if mb > max(before * (1 + FLAT_SHARE), before + FLAT_MB):
            raise BenchFault(f"{title} has grown from {before:.1f} MB at half to {mb:.1f} MB at the end")
