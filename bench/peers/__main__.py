"""The command line of `scripts/bench --peers`: Sluice beside nginx and other AI gateways (docs/benchmarks.md)."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.contenders import ROOT
from bench.machine import BenchFault, Cores, end_in_order
from bench.peers import roster, tables
from bench.peers.calls import MODES
from bench.peers.gateways import Peer
from bench.peers.parts import PARTS, Plan
from bench.peers.roster import PEERS, Faults

SESSION = "session.json"
MOST = 10_000
MOST_SOCKETS = 900
"""select(2), by which the client of the latency part waits, knows descriptors up to 1,023."""


def main() -> int:
    asked = arguments()
    if asked.markdown:
        return show(asked.raw)
    asked.raw.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # who ends it ends what it has started
    faults: Faults = {}
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            peers = roster.find(asked.contenders, asked.cache, faults)
            plan = plan_of(asked, peers, Path(folder))
            keep(asked.raw / SESSION, session(asked, peers, faults))
            for name in asked.parts:
                measure(name, plan, asked.raw, faults)
                keep(asked.raw / SESSION, session(asked, peers, faults))
    except BenchFault as fault:
        print(f"bench: {fault}", file=sys.stderr)
        return 2
    print(f"raw figures: {asked.raw}")
    return 0


def measure(name: str, plan: Plan, raw: Path, faults: Faults) -> None:
    """Runs a part; what it has found so far is kept after each comparison."""
    found = []
    with ExitStack() as stack:
        print(f"{time.strftime('%H:%M:%S')} {name} ...", file=sys.stderr, flush=True)
        for comparison in PARTS[name](plan, stack, faults):
            found.append(asdict(comparison))
            keep(raw / f"{name}.json", found)
    print(tables.part(name, found), flush=True)


def session(asked: argparse.Namespace, peers: Sequence[Peer], faults: Mapping[str, str]) -> dict[str, Any]:
    return {
        "started": asked.started,
        "machine": machine.describe(),
        "plan": {
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "connections": ",".join(map(str, asked.connections)),
            "rates": ",".join(map(str, asked.rates)),
            "streams of": f"{asked.events} events every {asked.every_ms} ms",
        },
        "peers": {peer.name: {"version": peer.installed.version, **asdict(peer.installed.size)} for peer in peers},
        "left_out": dict(faults),
    }


def show(raw: Path) -> int:
    """Prints the tables of a session that was measured before."""
    if not (raw / SESSION).exists():
        print(f"bench: {raw} holds no raw figures: name the folder of a session by --raw", file=sys.stderr)
        return 2
    print(tables.session(json.loads((raw / SESSION).read_bytes())))
    for name in PARTS:
        if (raw / f"{name}.json").exists():
            print(tables.part(name, json.loads((raw / f"{name}.json").read_bytes())))
    return 0


def keep(path: Path, figures: object) -> None:
    path.write_text(json.dumps(figures, indent=1))


def plan_of(asked: argparse.Namespace, peers: Sequence[Peer], folder: Path) -> Plan:
    folder.chmod(0o755)  # nginx drops root for its worker, which must still reach its temporary folders
    cores = Cores.choose()
    os.sched_setaffinity(0, {cores.load})
    return Plan(
        peers=peers,
        cores=cores,
        folder=folder,
        rounds=asked.rounds,
        seconds=asked.seconds,
        connections=asked.connections,
        modes=asked.modes,
        rates=asked.rates,
        least_requests=100 if asked.quick else 400,
        stream_events=asked.events,
        stream_every_ms=asked.every_ms,
        starts=min(3, asked.rounds),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench --peers", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}; all if none")
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one short round of each: does it run, not how fast")
    parser.add_argument("--rounds", type=whole, help="how often each contender has its turn (5)")
    parser.add_argument("--seconds", type=whole, help="how long each turn under load takes (4)")
    parser.add_argument(
        "--connections", type=partial(numbers, most=MOST_SOCKETS), help="connections, streams and sockets (1,16,64,256)"
    )
    parser.add_argument("--rates", type=numbers, help="of the latency part, in requests/s (50,300,2000)")
    parser.add_argument("--events", type=whole, help="of each stream (200)")
    parser.add_argument("--every-ms", type=whole, default=20, help="between two events of a stream (20)")
    parser.add_argument("--modes", type=one_of(MODES), default=list(MODES), help=f"{','.join(MODES)}")
    parser.add_argument("--contenders", type=one_of(PEERS), default=list(PEERS), help=f"{','.join(PEERS)}")
    cache = Path.home() / ".cache" / "sluice-bench"
    parser.add_argument("--cache", type=Path, default=cache, help=f"where the peers are installed ({cache})")
    raw = ROOT / time.strftime("bench-peers-%Y%m%d-%H%M%S")
    parser.add_argument("--raw", type=Path, default=raw, help="folder of the raw figures, a JSON file for each part")
    parser.add_argument("--markdown", action="store_true", help="measure nothing, print the tables of --raw")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    fill(asked)
    return asked


def fill(asked: argparse.Namespace) -> None:
    """What was not said, for a long run or a quick one."""
    asked.started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    asked.parts = asked.parts or list(PARTS)
    asked.cache = asked.cache.expanduser().absolute()
    asked.raw = asked.raw.absolute()
    usual = {"rounds": (5, 1), "seconds": (4, 1), "events": (200, 50)}
    lists = {"connections": ([1, 16, 64, 256], [16]), "rates": ([50, 300, 2000], [30])}
    for name, (full, quick) in (usual | lists).items():
        if getattr(asked, name) is None:
            setattr(asked, name, quick if asked.quick else full)


def whole(text: str) -> int:
    """One whole number above 0."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {MOST}")
    return int(text)


def numbers(text: str, most: int = MOST) -> list[int]:
    """Whole numbers, as 1,16,64."""
    found = [int(number) for number in text.split(",") if number.isdecimal()]
    if len(found) <= text.count(",") or not all(1 <= number <= most for number in found):
        raise argparse.ArgumentTypeError(f"{text} is not a list of whole numbers from 1 to {most}, as 1,16,64")
    return found


def one_of(known: Sequence[str] | Mapping[str, object]) -> Any:
    def names(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return names


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
