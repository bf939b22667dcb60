"""`scripts/soak rest` and `scripts/soak fuzz`, whose tools are in an environment of their own."""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.fuzz.guiding import fuzz
from bench.fuzz.rest import Fuzzer
from bench.fuzz.served import fuzz_served
from bench.fuzz.targets import TARGETS
from bench.machine import BenchFault, end_in_order


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    resting = ways.add_parser("rest", help="calls of the management API, made from its own description")
    resting.add_argument("--calls", type=int, default=10_000)
    resting.add_argument("--seed", type=int, default=1, help="the same seed makes the same calls")
    fuzzing = ways.add_parser("fuzz", help="the codecs and parsers, guided by the code that an input reaches")
    fuzzing.add_argument("--seconds", type=float, default=600, help="for all targets together")
    fuzzing.add_argument("--keep", action="store_true", help="save the inputs that reached new code")
    fuzzing.add_argument("--target", action="append", choices=TARGETS, help="one or, said again, several; else all")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-fuzz-") as folder:
            if asked.way == "fuzz":
                for ran in fuzz(Path(folder), asked.seconds, asked.target or TARGETS, keep=asked.keep):
                    print(ran, flush=True)
            else:
                caller = partial(Fuzzer, number=asked.seed)
                print(fuzz_served(Path(folder) / "data", asked.calls, caller))
    except BenchFault as fault:
        print(f"soak: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
