"""`scripts/soak rest` and `scripts/soak fuzz`, whose tools are in an environment of their own."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.fuzz.served import fuzz_rest
from bench.machine import BenchFault


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    resting = ways.add_parser("rest", help="calls of the management API, made from its own description")
    resting.add_argument("--calls", type=int, default=10_000)
    resting.add_argument("--seed", type=int, default=1, help="the same seed makes the same calls")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-fuzz-") as folder:
            print(fuzz_rest(Path(folder) / "data", asked.calls, asked.seed))
    except BenchFault as fault:
        print(f"soak: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
