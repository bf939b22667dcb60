"""`scripts/soak faults`: which cells, and how they are told."""

import argparse
import asyncio
import sys
from pathlib import Path

from bench.faults.board import score
from bench.faults.cells import cells_of
from bench.faults.expectations import FAULTS
from bench.faults.peers import compare
from bench.faults.report import lines, markdown
from bench.faults.shapes import SHAPES
from bench.faults.sights import of_sluice, table

CACHE = Path.home() / ".cache" / "sluice-bench"
"""Where `scripts/bench --peers` has them too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", action="append", choices=SHAPES, metavar="NAME", help="these alone; all if not said")
    parser.add_argument("--fault", action="append", choices=FAULTS, metavar="NAME", help="these alone; all if not said")
    parser.add_argument("--markdown", action="store_true", help="the tables of docs/faults.md")
    parser.add_argument("--peers", action="store_true", help="OpenAI's chat before LiteLLM, Portkey and TensorZero too")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where peers are installed (%(default)s)")


def run(folder: Path, asked: argparse.Namespace) -> int:
    """Prints the scoreboard. The exit status is 1 where anything in it is not true."""
    shapes = [SHAPES[name] for name in asked.shape or SHAPES]
    faults = [FAULTS[name] for name in asked.fault or FAULTS]
    verdicts = asyncio.run(score(folder, list(cells_of(shapes, faults))))
    for line in (markdown if asked.markdown else lines)(verdicts):
        print(line)
    if asked.peers:
        found = [verdict.found for verdict in verdicts]
        for fallback, theirs in enumerate(compare(folder, asked.cache, _say)):
            print()
            for line in table([*of_sluice(found, bool(fallback)), *theirs]):
                print(line)
    return int(any(verdict.lies for verdict in verdicts))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
