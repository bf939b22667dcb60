"""The command line of `scripts/bench`: starts the contenders, runs the chosen parts, prints tables, keeps raw data."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import bench.contenders
import bench.features
import bench.keeper
import bench.latency
import bench.startup
import bench.streams
import bench.throughput
import bench.websocket.idle
import bench.websocket.load
import bench.websocket.streams
import bench.websocket.ways
from bench import machine, report
from bench.contenders import COMPILED, ROOT, Name
from bench.exchange import reply_body
from bench.machine import BenchFault, Cores
from bench.startup import Start
from bench.streams import Pace


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and for how long."""

    contenders: list[Name]
    prototype: Path
    cores: Cores
    folder: Path
    rounds: int
    seconds: float
    connections: list[int]
    latency_requests: int
    streams: int
    stream_events: int
    slow_streams: int
    slow_every_ms: float
    starts: int
    lag_s: float
    sockets: int
    requests: int


@dataclass(slots=True)
class Findings:
    raw: dict[str, Any] = field(default_factory=dict)
    budgets: list[tuple[str, float, str, float]] = field(default_factory=list)
    """What, the figure, at least or at most, the floor (docs/performance.md)."""

    def judge(self, what: str, figure: float, bound: str, floor: float) -> None:
        if figure == figure:
            self.budgets.append((what, figure, bound, floor))


def throughput(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        contenders = bench.contenders.start(plan.contenders, upstream, plan.cores, plan.folder, plan.prototype, stack)
        for connections in plan.connections:
            rows = bench.throughput.compare(contenders, connections, plan.rounds, plan.seconds, plan.cores, plan.folder)
            findings.raw[f"throughput at {connections}"] = rows
            print(f"\n## Throughput, {connections} connections\n\n{report.throughput(rows)}", flush=True)
            if connections == 64:
                share = report.ratio(rows, "sluice", "nginx", "requests_per_s")
                findings.judge("throughput at 64 connections, of nginx", share, "at least", 0.25)


def tls(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack, tls=True)
        contenders = bench.contenders.by_tls(upstream, plan.cores, plan.folder, stack)
        rows = bench.throughput.compare(contenders, 64, plan.rounds, plan.seconds, plan.cores, plan.folder)
    findings.raw["tls"] = rows
    print(f"\n## An upstream by TLS, 64 connections\n\n{report.throughput(rows)}", flush=True)


def endpoints(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        native = bench.contenders.sluice("sluice", upstream, plan.cores, plan.folder / "data-endpoints", stack)
        contenders = bench.contenders.endpoints(native)
        rows = bench.throughput.compare(contenders, 64, plan.rounds, plan.seconds, plan.cores, plan.folder)
    findings.raw["endpoints"] = rows
    print(f"\n## Endpoints, 64 connections\n\n{report.throughput(rows, 'sluice')}", flush=True)
    for name in ("sluice-universal", "sluice-compat"):
        share = report.ratio(rows, name, "sluice", "requests_per_s")
        findings.judge(f"{name.partition('-')[2]} endpoint, of the native path", share, "at least", 0.7)


def cache(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        native = bench.contenders.sluice("sluice", upstream, plan.cores, plan.folder / "data-cache", stack)
        contenders = bench.contenders.cached(native)
        rows = bench.throughput.compare(contenders, 64, plan.rounds, plan.seconds, plan.cores, plan.folder)
    findings.raw["cache"] = rows
    print(f"\n## Cache, 64 connections\n\n{report.throughput(rows, 'sluice')}", flush=True)
    share = report.ratio(rows, "sluice-hit", "sluice", "requests_per_s")
    findings.judge("cache hit, of the native path", share, "at least", 1.3)


def features(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        native = bench.contenders.sluice("sluice", upstream, plan.cores, plan.folder / "data-features", stack)
        contenders = bench.features.features(native)
        rows = bench.throughput.compare(contenders, 64, plan.rounds, plan.seconds, plan.cores, plan.folder)
    findings.raw["features"] = rows
    print(f"\n## What features cost, 64 connections\n\n{report.throughput(rows, 'sluice')}", flush=True)


def latency(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        wanted: list[Name] = ["direct", *plan.contenders]
        contenders = bench.contenders.start(wanted, upstream, plan.cores, plan.folder, plan.prototype, stack)
        rows = bench.latency.compare(contenders, plan.rounds, 500, plan.latency_requests, plan.cores)
        findings.raw["latency"] = rows
        print(f"\n## Latency, one connection, 500 requests/s\n\n{report.latency(rows)}", flush=True)
        for figure, floor in (("p50_us", 0.3), ("p99_us", 1.0)):
            added = (report.of(rows, "sluice", figure) - report.of(rows, "direct", figure)) / 1e3
            findings.judge(f"added latency, {figure[:3]}, ms", added, "at most", floor)


def streams(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.streams.start_upstream(plan.cores, plan.folder, stack)
        wanted: list[Name] = ["direct", *(name for name in plan.contenders if name != "sluice-one-core")]
        contenders = bench.contenders.start(wanted, upstream, plan.cores, plan.folder, plan.prototype, stack)
        rows = bench.streams.compare(contenders, plan.rounds, plan.streams, plan.stream_events, 10, plan.cores)
        findings.raw["streams"] = rows
        print(f"\n## Streams, an event every 10 ms\n\n{report.streams(rows)}", flush=True)
        findings.judge("events/s per core", report.of(rows, "sluice", "events_per_cpu_s"), "at least", 40_000)
        slow = bench.streams.compare(contenders, 1, plan.slow_streams, 10, plan.slow_every_ms, plan.cores)
        findings.raw["slow streams"] = slow
        print(f"\n## Many slow streams\n\n{report.streams(slow)}", flush=True)
        findings.judge("slow streams at once, MB", report.of(slow, "sluice", "rss_peak_mb"), "at most", 150)


def start(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        starts = bench.startup.measure(upstream, plan.cores, plan.folder / "data-start", plan.starts)
        if "sluice-pure" in plan.contenders:
            pure = bench.startup.measure(upstream, plan.cores, plan.folder / "data-pure", plan.starts, pure=True)
            findings.raw["start, pure"] = [asdict(row) for row in pure]
            print(f"\n## Start and rest, not compiled\n\n{at_rest(pure)}", flush=True)
    findings.raw["start"] = [asdict(row) for row in starts]
    print(f"\n## Start and rest\n\n{at_rest(starts)}", flush=True)
    findings.judge("start to first 200, s", median(row.first_200_s for row in starts), "at most", 1)
    worker = [mb for title, mb in resting(starts).items() if title.startswith("sluice: worker")]
    findings.judge("worker at rest, MB", max(worker, default=float("nan")), "at most", 60)


def resting(starts: list[Start]) -> dict[str, float]:
    """The median memory of each process by its title."""
    return {title: median(row.rss_mb[title] for row in starts if title in row.rss_mb) for title in starts[0].rss_mb}


def at_rest(starts: list[Start]) -> str:
    lines: list[report.Line] = [["start to first 200, s", median(row.first_200_s for row in starts)]]
    lines += [[f"{title} at rest, MB", mb] for title, mb in resting(starts).items()]
    return report.table(["what", "figure"], lines)


def keeper(plan: Plan, findings: Findings) -> None:
    with ExitStack() as stack:
        upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
        contender = bench.contenders.sluice("sluice", upstream, plan.cores, plan.folder / "data-keeper", stack)
        lag = bench.keeper.lag(contender, 1000, plan.lag_s)
        drain = bench.keeper.drain(contender, plan.cores, plan.folder)
    findings.raw["keeper"] = {"lag": asdict(lag), "drain": asdict(drain)}
    lines: list[report.Line] = [
        ["logs/s per core", drain.logs_per_cpu_s],
        ["memory after, MB", drain.rss_mb],
        ["reply to visible at 1,000/s, p50 ms", lag.p50_ms],
        ["reply to visible at 1,000/s, p99 ms", lag.p99_ms],
    ]
    print(f"\n## Keeper\n\n{report.table(['what', 'figure'], lines)}", flush=True)
    findings.judge("keeper, logs/s per core", drain.logs_per_cpu_s, "at least", 12_000)
    findings.judge("reply to visible, p99 ms", lag.p99_ms, "at most", 500)


def websocket(plan: Plan, findings: Findings) -> None:
    """Each on a gateway of its own: what one leaves in a worker's memory is not the next one's."""
    for number, part in enumerate((idle_websockets, websocket_load, websocket_ways, websocket_streams)):
        with ExitStack() as stack:
            part(plan, findings, plan.folder / f"data-websocket-{number}", stack)


def idle_websockets(plan: Plan, findings: Findings, data: Path, stack: ExitStack) -> None:
    bench.websocket.idle.allow_descriptors(plan.sockets)
    upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
    gateway = bench.contenders.sluice("sluice", upstream, plan.cores, data, stack)
    idle = bench.websocket.idle.measure(bench.contenders.endpoints(gateway)[1], plan.sockets)
    findings.raw["websocket, idle"] = asdict(idle)
    print(f"\n## {idle.sockets:,} idle WebSockets\n\n{report.idle(idle)}", flush=True)
    findings.judge(f"{idle.sockets:,} idle WebSockets, MB", max(idle.open_mb, idle.used_mb), "at most", 300)


def websocket_load(plan: Plan, findings: Findings, data: Path, stack: ExitStack) -> None:
    upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
    gateway = bench.contenders.sluice("sluice", upstream, plan.cores, data, stack)
    rows = bench.websocket.load.compare(gateway, plan.rounds, plan.seconds, plan.cores, plan.folder)
    findings.raw["websocket, throughput"] = rows
    print(f"\n## Throughput over WebSockets\n\n{report.websocket(rows)}", flush=True)
    for name in (bench.websocket.load.ONE, bench.websocket.load.MANY):
        findings.judge(f"{name}, requests/s", report.of(rows, name, "requests_per_s"), "at least", 8_000)


def websocket_ways(plan: Plan, findings: Findings, data: Path, stack: ExitStack) -> None:
    upstream = bench.contenders.instant_upstream(reply_body(), plan.cores, plan.folder, stack)
    gateway = bench.contenders.sluice("sluice", upstream, plan.cores, data, stack)
    rows = bench.websocket.ways.compare(gateway, plan.rounds, plan.requests, plan.cores, plan.folder)
    findings.raw["websocket, ways"] = rows
    print(
        f"\n## {plan.requests:,} requests, {bench.websocket.ways.AT_ONCE} at a time\n\n{report.ways(rows)}", flush=True
    )


def websocket_streams(plan: Plan, findings: Findings, data: Path, stack: ExitStack) -> None:
    upstream = bench.streams.start_upstream(plan.cores, plan.folder, stack)
    gateway = bench.contenders.sluice("sluice", upstream, plan.cores, data, stack)
    for title, pace in (
        ("at once", Pace.at_once(plan.streams, plan.stream_events, 10)),
        ("11 ms apart", Pace(plan.streams, plan.stream_events, 10, 11)),
    ):
        rows = bench.websocket.streams.compare(gateway, plan.rounds, pace)
        findings.raw[f"websocket, streams {title}"] = rows
        shown = report.streams(rows, bench.websocket.streams.HTTP)
        print(f"\n## Streams over WebSockets, opened {title}, an event every 10 ms\n\n{shown}", flush=True)


PARTS: dict[str, Callable[[Plan, Findings], None]] = {
    "throughput": throughput,
    "tls": tls,
    "endpoints": endpoints,
    "cache": cache,
    "features": features,
    "latency": latency,
    "streams": streams,
    "start": start,
    "keeper": keeper,
    "websocket": websocket,
}
EVERYONE = ("nginx", "prototype", "sluice", "sluice-pure", "sluice-one-core", "sluice-no-logs")
QUICK = ("nginx", "sluice")
OF_SLUICE_ALONE = {"endpoints", "cache", "features", "start", "keeper", "websocket"}


def main() -> int:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        built = "pure" if COMPILED is None else "compiled"
        findings = Findings(
            {"machine": machine.describe(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "build": built}
        )
        print(f"`sluice` is the {built} build.", flush=True)
        try:
            plan = plan_of(asked, Path(folder))
            parts = asked.parts or [
                part for part in PARTS if part not in OF_SLUICE_ALONE or "sluice" in plan.contenders
            ]
            for part in parts:
                PARTS[part](plan, findings)
        except BenchFault as fault:
            print(f"bench: {fault}", file=sys.stderr)
            return 2
        finally:
            asked.raw.write_text(json.dumps(findings.raw, indent=1))
    print(f"raw figures: {asked.raw}\n")
    return verdict(findings, enforce=asked.floors)


def verdict(findings: Findings, *, enforce: bool) -> int:
    """Prints each floor with its figure; 1 where one is missed and floors are enforced."""
    met = [figure >= floor if bound == "at least" else figure <= floor for _, figure, bound, floor in findings.budgets]
    lines = [
        [what, figure, f"{bound} {floor:,}", "yes" if good else "NO"]
        for (what, figure, bound, floor), good in zip(findings.budgets, met, strict=True)
    ]
    if lines:
        print(f"## Floors\n\n{report.table(['what', 'figure', 'floor', 'met'], lines)}")
    return int(enforce and not all(met))


def plan_of(asked: argparse.Namespace, folder: Path) -> Plan:
    # nginx drops root for its worker, which must still reach its temporary folders
    folder.chmod(0o755)
    cores = Cores.choose()
    os.sched_setaffinity(0, {cores.load})
    quick: bool = asked.quick
    everyone = [name for name in EVERYONE if COMPILED is not None or name != "sluice-pure"]
    contenders: str = asked.contenders or ",".join(QUICK if quick else everyone)
    return Plan(
        contenders=[bench.contenders.NAMES[name] for name in contenders.split(",")],
        prototype=asked.prototype,
        cores=cores,
        folder=folder,
        rounds=asked.rounds or (1 if quick else 5),
        seconds=asked.seconds or (1 if quick else 4),
        connections=[int(number) for number in asked.connections.split(",")],
        latency_requests=250 if quick else 2000,
        streams=50 if quick else 100,
        stream_events=100 if quick else 400,
        slow_streams=100 if quick else 1000,
        slow_every_ms=100 if quick else 1000,
        starts=1 if quick else 5,
        lag_s=2 if quick else 10,
        sockets=500 if quick else 10_000,
        requests=200 if quick else 1000,
    )


def arguments() -> argparse.Namespace:
    others = (
        "`--store N`, `--isolation` and `--peers`, given first, measure other things; each has a --help of its own."
    )
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=others)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="one short round of each: does it run, not how fast")
    parser.add_argument("--rounds", type=int, help="how often each contender has its turn (5)")
    parser.add_argument("--seconds", type=float, help="how long each turn of the throughput part takes (4)")
    parser.add_argument("--connections", default="64", help="of the throughput part, as 1,16,64,256")
    parser.add_argument("--contenders", help=f"who takes part: {','.join(EVERYONE)}")
    parser.add_argument("--prototype", type=Path, default=ROOT.parent / "shared" / "prototypes" / "native_path.py")
    parser.add_argument("--raw", type=Path, default=ROOT / time.strftime("bench-%Y%m%d-%H%M%S.json"))
    parser.add_argument("--floors", action="store_true", help="exit with 1 where a floor is missed")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    if asked.contenders and (unknown := set(asked.contenders.split(",")) - set(EVERYONE)):
        parser.error(f"unknown contender: {', '.join(sorted(unknown))}")
    return asked


if __name__ == "__main__":
    machine.end_in_order()
    sys.exit(main())
