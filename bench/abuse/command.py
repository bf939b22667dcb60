"""`scripts/soak abuse`: how many inputs, or which one."""

import argparse
import asyncio
from pathlib import Path

from bench.abuse.attack import abuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="what they are made from (%(default)s)")
    parser.add_argument("--family", default="", help="of this family alone")
    parser.add_argument("--index", type=int, help="the one input of the family that bears this number")


def run(folder: Path, asked: argparse.Namespace) -> int:
    """Prints what came of it. Raises BenchFault for what must not be."""
    weighs = asked.inputs >= 20_000 and not asked.family  # fewer do not even warm a process up
    attack = abuse(folder / "data", asked.inputs, asked.seed, asked.family, asked.index, weighs=weighs)
    print(asyncio.run(attack))
    return 0
