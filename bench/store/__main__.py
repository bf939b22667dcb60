"""The command line of `scripts/bench --store`: fills a store, asks it everything, empties it, prints tables."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import bench.contenders
from bench import machine, report
from bench.contenders import COMPILED, FAMILY, ROOT, Contender
from bench.machine import BenchFault, Cores, pin, rss_mb
from bench.store.client import Management
from bench.store.measuring import Bodies, Ingest, Retained, Room, bodies, copies, filling, ingest, retain, room
from bench.store.queries import COLD_MS, Asked, measure

WRITING: int = 1_000
"""Logs a second that are written while the store is asked."""
WHOLE_SEGMENTS = 4_000_000
"""A gateway of fewer logs has a limit on them from the start, so that its segments are small enough to go whole."""
INGEST = 12_000
FLAT = 0.8


def main() -> int:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="sluice-store-", dir=asked.folder) as folder, ExitStack() as stack:
        raw: dict[str, object] = {"machine": machine.describe(), "build": "pure" if COMPILED is None else "compiled"}
        try:
            met = run(asked, Path(folder), raw, stack)
        except BenchFault as fault:
            print(f"bench: {fault}", file=sys.stderr)
            return 2
        finally:
            asked.raw.write_text(json.dumps(raw, indent=1))
    print(f"raw figures: {asked.raw}\n")
    return int(asked.floors and not met)


def run(asked: argparse.Namespace, folder: Path, raw: dict[str, object], stack: ExitStack) -> bool:
    """Whether every floor was met."""
    cores = Cores.choose()
    data = folder / "data"
    port = machine.free_port()
    program = stack.enter_context(bench.contenders.start_sluice(1, port, None, data))
    program.wait_for_port(port)
    program.wait_for_family(FAMILY)
    token = bench.contenders.make_token(data)
    server = Contender("sluice", port, "", {"cf-aig-authorization": f"Bearer {token}"}, program, cores.gateway)
    for title, pid in program.family().items():
        pin(pid, cores.gateway if title == "sluice: keeper" else cores.load)
    console = Management(port, token)
    stack.callback(console.close)
    names = [f"bench-{number}" for number in range(asked.gateways)]
    for name in names:
        console.create_gateway(name)
        if asked.store < WHOLE_SEGMENTS:
            console.put_gateway(name, log_management=max(10_000, asked.store), log_management_strategy="DELETE_OLDEST")
    options = ["--index-only"] if asked.index_only else []
    print(f"## {asked.store:,} logs in {asked.gateways} gateways\n", flush=True)
    if asked.copied:
        filled = ingest(server, console, names[:1], asked.store // asked.gateways, data, cores, *options)
        copies(console, names, data / "shards")
    else:
        filled = ingest(server, console, names, asked.store, data, cores, *options)
    taken = room(data / "shards")
    raw.update(ingest=asdict(filled), room=asdict(taken))
    print(f"\n{ingest_table(filled, taken, asked.store, index_only=asked.index_only)}", flush=True)
    answers = questions(server, console, names[0], data, cores, *options)
    raw["queries"] = [asdict(each) for each in answers]
    print(f"## Queries while {WRITING:,} logs/s are written\n\n{query_table(answers)}", flush=True)
    read = None if asked.index_only else bodies(console, names[0], 200)
    rest = {title: rss_mb(pid) for title, pid in server.processes().items()}
    left = max(10_000, asked.store // asked.gateways // 10)
    kept = retain(console, names[0], left, data / "shards")
    raw.update(bodies=read and asdict(read), memory_mb=rest, retention=asdict(kept))
    print(f"## Bodies, memory, retention\n\n{rest_table(read, rest, kept)}", flush=True)
    return verdict(filled, taken, answers, kept, left, index_only=asked.index_only)


def questions(
    server: Contender, console: Management, gateway: str, data: Path, cores: Cores, *options: str
) -> list[Asked]:
    """Every query, while logs come in at a fixed rate."""
    with filling(
        server, [console.internal_id(gateway)], 10**9, data, cores, "--rate", str(WRITING), *options
    ) as process:
        answers = list(measure(console, gateway, data / "shards"))
        if process.poll() is not None:
            raise BenchFault("no logs were written meanwhile")
        return answers


def ingest_table(filled: Ingest, taken: Room, logs: int, *, index_only: bool) -> str:
    lines: list[report.Line] = [
        [f"{step.rows:,}", step.logs_per_cpu_s, step.logs_per_s, step.rss_mb] for step in filled.steps
    ]
    table = report.table(["logs there", "logs/s of a core", "logs/s", "keeper MB"], lines)
    room_lines: list[report.Line] = [["index, bytes a log", taken.index / logs]]
    if not index_only:
        room_lines += [
            ["bodies, bytes a log", taken.packs / logs],
            ["bodies as they came, bytes a log", filled.body_bytes / logs],
            ["all of it, of bodies and fields as JSON", taken.total / filled.raw_bytes],
        ]
    return f"{table}\n{report.table(['room', 'figure'], room_lines)}"


def query_table(answers: list[Asked]) -> str:
    lines: list[report.Line] = [
        [
            each.name,
            each.cold_ms,
            each.warm_ms,
            f"{each.total:,}{'' if each.exact else ' or more'}",
            "" if each.complete else "part",
        ]
        for each in answers
    ]
    return report.table(["query", "cold ms", "warm ms", "logs that fit", "page"], lines)


def rest_table(read: Bodies | None, rest: dict[str, float], kept: Retained) -> str:
    lines: list[report.Line] = []
    if read is not None:
        lines += [["reading a body, p50 ms", read.p50_ms], ["reading a body, p99 ms", read.p99_ms]]
    lines += [[f"{title}, MB", size] for title, size in rest.items()]
    lines += [
        ["logs left by retention", f"{kept.left:,}"],
        ["until they were counted so, s", kept.counted_s],
        ["until 90 % of what goes was off the disk, s", kept.freed_s],
        ["part of the disk freed", kept.freed_share],
    ]
    return report.table(["what", "figure"], lines)


def verdict(filled: Ingest, taken: Room, answers: list[Asked], kept: Retained, left: int, *, index_only: bool) -> bool:
    rates = [step.logs_per_cpu_s for step in filled.steps]
    judged: list[tuple[str, float, str, float]] = [
        ("keeper, logs/s of a core, least", min(rates), "at least", INGEST),
        ("last tenth, of the first", rates[-1] / rates[0], "at least", FLAT),
        ("logs left by retention", kept.left, "exactly", left),
        ("retention, s", max(kept.counted_s, kept.freed_s), "at most", 5.0),
        ("slowest cold query, ms", max(each.cold_ms for each in answers), "at most", COLD_MS),
    ]
    if not index_only:
        judged.append(("room, of JSON", taken.total / filled.raw_bytes, "at most", 1 / 3))
    judged += [(f"{each.name}, warm ms", each.warm_ms, "at most", each.most_ms) for each in answers]
    met = {"at least": float.__ge__, "at most": float.__le__, "exactly": float.__eq__}
    good = [met[bound](float(figure), float(floor)) for _, figure, bound, floor in judged]
    lines = [
        [what, figure, f"{bound} {floor:,.3g}", "yes" if each else "NO"]
        for (what, figure, bound, floor), each in zip(judged, good, strict=True)
    ]
    print(f"## Floors\n\n{report.table(['what', 'figure', 'floor', 'met'], lines)}")
    return all(good)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--store", type=int, required=True, metavar="N", help="how many logs, 20,000 at least")
    parser.add_argument("--gateways", type=int, default=1, help="among so many gateways (1)")
    parser.add_argument("--copied", action="store_true", help="one gateway is filled; the others get its folder")
    parser.add_argument("--index-only", action="store_true", help="without bodies")
    parser.add_argument("--folder", type=Path, help="where the store is made, and removed (a temporary folder)")
    parser.add_argument("--raw", type=Path, default=ROOT / time.strftime("bench-store-%Y%m%d-%H%M%S.json"))
    parser.add_argument("--floors", action="store_true", help="exit with 1 where a floor is missed")
    return parser.parse_args()


if __name__ == "__main__":
    machine.end_in_order()
    sys.exit(main())
