"""Runs the targets under atheris, which keeps what reaches new code and goes on from there."""

import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha1
from pathlib import Path
from typing import Final, NamedTuple

from bench.fuzz.corpus import save, saved
from bench.machine import BenchFault

LONGEST: Final = 4096
"""Bytes of an input."""
PATIENCE_S: Final = 10
"""For one input: what takes longer has not ended."""
MOST_MB: Final = 2048
MOST_SAVED: Final = 100
LARGEST_SAVED: Final = 400
_RUNS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+) ft: (\d+)")
_CRASH: Final = re.compile(r"Test unit written to (\S+)")


class Ran(NamedTuple):
    """How many inputs a target had, and how many edges and features of the code they reached."""

    target: str
    inputs: int
    edges: int
    features: int

    def __str__(self) -> str:
        return f"{self.target}: {self.inputs:,} inputs reached {self.edges:,} edges, {self.features:,} features"


def fuzz(folder: Path, seconds: float, targets: Collection[str], *, keep: bool) -> Iterator[Ran]:
    """Each target in turn, all together for so long. Raises BenchFault for the first input that breaks a promise."""
    for target in targets:
        corpus = _laid_out(folder / target, saved(target))
        yield _run(target, corpus, max(1, round(seconds / len(targets))))
        if keep:
            save(target, _telling(target, corpus))


def _run(target: str, corpus: Path, seconds: int) -> Ran:
    limits = (f"-max_len={LONGEST}", f"-timeout={PATIENCE_S}", f"-rss_limit_mb={MOST_MB}")
    said = _guided(target, *limits, f"-max_total_time={seconds}", f"-artifact_prefix={corpus}-", str(corpus))
    covered = _COVERED.findall(said) or [("0", "0")]
    ran = _RUNS.search(said)
    if ran is None:
        raise BenchFault(f"{target} was not fuzzed:\n{said[-2000:]}")
    return Ran(target, int(ran[1]), *map(int, covered[-1]))


def _telling(target: str, corpus: Path) -> list[bytes]:
    """The saved inputs, and of the new ones, each of which reached something, the smallest."""
    before = saved(target)
    new = sorted({path.read_bytes() for path in corpus.iterdir()}.difference(before), key=len)
    return [*before, *(one for one in new if len(one) <= LARGEST_SAVED)][: max(MOST_SAVED, len(before))]


def _guided(target: str, *arguments: str) -> str:
    """What one process says. Raises BenchFault with the input that it fell over."""
    command = [sys.executable, "-m", "bench.fuzz.guided", target, "-print_final_stats=1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        crash = _CRASH.search(done.stderr)
        fault = done.stdout[-3000:] + ("" if crash else done.stderr[-3000:])
        raise BenchFault(
            f"{target}: {fault}\ninput: {Path(crash[1]).read_bytes()!r}" if crash else f"{target}: {fault}"
        )
    return done.stderr


def _laid_out(folder: Path, inputs: Iterable[bytes]) -> Path:
    folder.mkdir(parents=True)
    for one in inputs:
        (folder / sha1(one, usedforsecurity=False).hexdigest()).write_bytes(one)
    return folder
