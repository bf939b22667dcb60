"""The command line of `scripts/bench --isolation`: what gateways of one keeper feel of each other.

A thousand gateways with logs at once; one that floods beside all others; a hundred thousand that are known, of which
ten have logs; one with many logs that is deleted.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import bench.contenders
from bench import machine, report
from bench.contenders import COMPILED, FAMILY, ROOT, Contender
from bench.machine import BenchFault, Cores, Program, cpu_s, pin, wait_until_quiet
from bench.store.client import Management
from bench.store.crowd import give_folders, know, name_of, shard_of
from bench.store.measuring import filling, room
from bench.store.pacing import Asked
from bench.store.watching import WATCHED, Seen, observe, pacing, stored
from sluice.storage.embedded.open import shard_folder
from sluice.storage.embedded.reader import EmbeddedLogReader

LAG_MS: Final = 2_000.0
KEEPER_MB: Final = 400.0
TRUE: Final = 0.98
"""What part of the asked rate must have been reached for a figure to count."""
FEW: Final = 10
_FEW_RATE: Final = 100.0
_START_S: Final = 300.0
_QUIET_S: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class Started:
    """A server that was started where so many gateways are known beside ten for which logs had waited."""

    known: int
    stored_s: float
    """From its start until all that waited could be read."""
    seen: Seen
    peak_mb: float
    tidied_cpu_s: float
    """What the keeper used from its start until it was quiet, beside storing also looking through all folders."""


@dataclass(frozen=True, slots=True)
class Deleted:
    logs: int
    megabytes: float
    reply_ms: float
    folder_s: float
    """From the reply until its folder was not there any more."""
    disk_s: float
    """From the reply until its files were not there any more."""


@dataclass(slots=True)
class Found:
    first: Seen | None = None
    """The first log of each gateway, whose folder is made for it."""
    even: Seen | None = None
    even_mb: float = 0.0
    quiet: Seen | None = None
    flood: Seen | None = None
    flood_mb: float = 0.0
    started: list[Started] = field(default_factory=list)
    deleted: Deleted | None = None


class Server:
    """A running `sluice serve` with its keeper alone on one core."""

    def __init__(self, program: Program, port: int, data: Path, cores: Cores) -> None:
        program.wait_for_port(port)
        program.wait_for_family(FAMILY)
        self.data, self._port, self._program, self._cores = data, port, program, cores
        self.keeper = program.family()["sluice: keeper"]
        for title, pid in program.family().items():
            pin(pid, cores.gateway if title == "sluice: keeper" else cores.load)

    def contender(self) -> Contender:
        return Contender("sluice", self._port, "", {}, self._program, self._cores.gateway)

    @contextmanager
    def management(self) -> Iterator[Management]:
        with closing(Management(self._port, bench.contenders.make_token(self.data))) as console:
            yield console

    def peak_mb(self) -> float:
        """The most memory that the keeper has had since it was started."""
        lines = Path(f"/proc/{self.keeper}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6


@contextmanager
def serving(data: Path, cores: Cores) -> Iterator[Server]:
    port = machine.free_port()
    with bench.contenders.start_sluice(1, port, None, data) as program:
        yield Server(program, port, data, cores)


def crowded(asked: argparse.Namespace, folder: Path, cores: Cores, found: Found) -> None:
    """All gateways alike, then all but one at one log a second, without and with a flood from that one."""
    gateways = know(folder / "crowd", asked.gateways)
    every = max(1, len(gateways) // WATCHED)
    loud, *others = gateways
    with serving(folder / "crowd", cores) as server:

        def see(*streams: Asked, seconds: float = asked.seconds) -> Seen:
            return observe(server.data, seconds, streams, others[::every], cores, server.keeper)

        found.first = see(Asked(asked.gateways, gateways), seconds=1.0)
        found.even, found.even_mb = see(Asked(asked.rate, gateways)), server.peak_mb()
        found.quiet = see(Asked(len(others), others))
        found.flood = see(Asked(len(others), others), Asked(asked.flood, [loud]))
        found.flood_mb = server.peak_mb()


def started(folder: Path, known: int, seconds: float, cores: Cores) -> Started:
    """Starts a server twice: for a few gateways to get their logs, then beside all the others."""
    data = folder / f"known-{known}"
    gateways = know(data, known + FEW + 1)
    few, model, others = gateways[:FEW], gateways[FEW], gateways[FEW + 1 :]
    streams = [Asked(_FEW_RATE, few)]
    with serving(data, cores) as server:
        observe(data, 1.0, [*streams, Asked(3, [model])], few, cores, server.keeper)
    give_folders(data, model, others)
    with closing(EmbeddedLogReader(data / "shards")) as reader:
        before = stored(reader, few)
        with pacing(data, 1.0, streams, cores.load) as process:
            process.wait()
        began_s = time.monotonic()
        with serving(data, cores) as server:
            while stored(reader, few) < before + _FEW_RATE:
                if time.monotonic() > began_s + _START_S:
                    raise BenchFault(f"what waited was not stored within {_START_S:.0f} s")
                time.sleep(0.01)
            stored_s = time.monotonic() - began_s
            seen = observe(data, seconds, streams, few, cores, server.keeper)
            wait_until_quiet([server.keeper], _QUIET_S)
            return Started(known, stored_s, seen, server.peak_mb(), cpu_s([server.keeper]))


def deleted(folder: Path, logs: int, cores: Cores) -> Deleted:
    """Deletes a gateway through the management API and waits for its folder and its files to go."""
    data = folder / "deleted"
    (gateway,) = know(data, 1)
    shards, own = data / "shards", shard_folder(data / "shards", shard_of(gateway))
    with serving(data, cores) as server, closing(EmbeddedLogReader(shards)) as reader, server.management() as console:
        with filling(server.contender(), [gateway.hex()], logs, data, cores) as process:
            process.wait()
        while stored(reader, [gateway]) < logs:
            time.sleep(0.1)
        wait_until_quiet([server.keeper])
        size = room(own).total / 1e6
        asked_s = time.monotonic()
        console.ask("DELETE", f"/gateways/{name_of(0)}")
        replied_s = time.monotonic()
        folder_s = _gone_s(lambda: not own.exists()) - replied_s
        disk_s = _gone_s(lambda: not list(shards.glob(".trash-*"))) - replied_s
        return Deleted(logs, size, (replied_s - asked_s) * 1e3, folder_s, disk_s)


def _gone_s(gone: Callable[[], bool]) -> float:
    """When it was."""
    give_up_s = time.monotonic() + 60
    while not gone():
        if time.monotonic() > give_up_s:
            raise BenchFault("a deleted gateway's logs are still there after a minute")
        time.sleep(0.005)
    return time.monotonic()


def seen_lines(name: str, seen: Seen, memory_mb: float | None = None) -> report.Line:
    rate = " + ".join(f"{each.rate:,.0f}" for each in seen.paced)
    late_ms = max(each.late_p99_ms for each in seen.paced)
    lag = seen.lag
    memory: list[float | str] = ["" if memory_mb is None else memory_mb]
    return [name, rate, late_ms, lag.p50_ms, lag.p99_ms, lag.max_ms, lag.look_ms, seen.cpu_share, *memory]


def tables(found: Found) -> str:
    lines: list[report.Line] = []
    if found.first:
        lines.append(seen_lines("all at once for the first time", found.first))
    if found.even:
        lines.append(seen_lines("all alike", found.even, found.even_mb))
    if found.quiet:
        lines.append(seen_lines("all but one, 1/s each", found.quiet))
    if found.flood:
        lines.append(seen_lines("and one that floods", found.flood, found.flood_mb))
    lines += [seen_lines(f"{each.known:,} known beside {FEW}", each.seen, each.peak_mb) for each in found.started]
    heads = ["gateways", "logs/s", "late p99 ms", "lag p50 ms", "p99", "max", "look ms", "keeper cores", "peak MB"]
    rest: list[report.Line] = []
    for each in found.started:
        rest.append([f"{each.known:,} known: start to what waited visible, s", each.stored_s])
        rest.append([f"{each.known:,} known: processor s of the keeper until quiet", each.tidied_cpu_s])
    if gone := found.deleted:
        rest.append([f"deleted, {gone.logs:,} logs, MB", gone.megabytes])
        rest.append(["reply, ms", gone.reply_ms])
        rest.append(["folder gone after it, s", gone.folder_s])
        rest.append(["files gone after it, s", gone.disk_s])
    return f"{report.table(heads, lines)}\n{report.table(['what', 'figure'], rest)}"


def missed(found: Found) -> list[str]:
    """What does not hold."""
    said = []
    runs = {"all alike": found.even, "quiet": found.quiet, "flood": found.flood}
    runs |= {f"{each.known} known": each.seen for each in found.started}
    for name, seen in runs.items():
        if seen and seen.lag.p99_ms >= LAG_MS:
            said.append(f"{name}: a log is visible after {seen.lag.p99_ms:,.0f} ms, not within {LAG_MS:,.0f}")
    peaks = [found.even_mb, found.flood_mb, *(each.peak_mb for each in found.started)]
    if max(peaks) >= KEEPER_MB:
        said.append(f"the keeper has had {max(peaks):.0f} MB, not under {KEEPER_MB:.0f}")
    return said


def untrue(asked: argparse.Namespace, found: Found) -> list[str]:
    """Rates that were not reached: what was measured then is something else."""
    others = asked.gateways - 1.0
    pairs = [(found.even, (asked.rate,)), (found.quiet, (others,)), (found.flood, (others, asked.flood))]
    pairs += [(each.seen, (_FEW_RATE,)) for each in found.started]
    return [
        f"{paced.rate:,.0f} logs a second were written, not {rate:,.0f}"
        for seen, rates in pairs
        if seen
        for paced, rate in zip(seen.paced, rates, strict=True)
        if paced.rate < rate * TRUE
    ]


def run(asked: argparse.Namespace, folder: Path, found: Found) -> None:
    cores = Cores.choose()
    if "crowd" in asked.parts:
        crowded(asked, folder, cores, found)
    if "known" in asked.parts:
        for known in (0, asked.known):
            found.started.append(started(folder, known, asked.seconds / 2, cores))
    if "delete" in asked.parts:
        found.deleted = deleted(folder, asked.logs, cores)


def main() -> int:
    asked = arguments()
    found = Found()
    with tempfile.TemporaryDirectory(prefix="sluice-isolation-", dir=asked.folder) as folder:
        try:
            run(asked, Path(folder), found)
        except BenchFault as fault:
            print(f"bench: {fault}", file=sys.stderr)
            return 2
        finally:
            raw = {"machine": machine.describe(), "build": "pure" if COMPILED is None else "compiled"}
            asked.raw.write_text(json.dumps(raw | asdict(found), indent=1))
    print(f"{tables(found)}\nraw figures: {asked.raw}\n")
    if false := untrue(asked, found):
        print("\n".join(["bench: these figures do not count:", *false]), file=sys.stderr)
        return 2
    bad = missed(found)
    print("\n".join(f"MISSED: {each}" for each in bad))
    return int(asked.floors and bool(bad))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isolation", action="store_true", required=True)
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS, help="one of them alone (all)")
    parser.add_argument("--gateways", type=int, default=1_000, help="with logs at once (1,000)")
    parser.add_argument("--rate", type=float, default=2_000, help="logs a second of all of them together (2,000)")
    parser.add_argument("--flood", type=float, default=5_000, help="logs a second of the one that floods (5,000)")
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement (60)")
    parser.add_argument("--known", type=int, default=100_000, help="gateways that are there and still (100,000)")
    parser.add_argument("--logs", type=int, default=100_000, help="of the gateway that is deleted (100,000)")
    parser.add_argument("--folder", type=Path, help="where the stores are made, and removed (a temporary folder)")
    parser.add_argument("--raw", type=Path, default=ROOT / time.strftime("bench-isolation-%Y%m%d-%H%M%S.json"))
    parser.add_argument("--floors", action="store_true", help="exit with 1 where a bound is missed")
    asked = parser.parse_args()
    asked.parts = asked.parts or list(PARTS)
    return asked


PARTS: Final = ("crowd", "known", "delete")

if __name__ == "__main__":
    machine.end_in_order()
    sys.exit(main())
