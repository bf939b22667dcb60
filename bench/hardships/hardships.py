"""What a machine may do to a running gateway, one hardship after the other, and whether what is promised holds.

    scripts/soak hardships                              all of them, 10 s each; the keeper stands still for 5 minutes
    scripts/soak hardships --only disk-full,power --seconds 2

Each has a server of its own with two workers, under load all the while. docs/hardships.md says what is promised. The
log is compared with the clients' account: a request whose end was seen is in it once with its own bodies, or is one of
those that the server itself counts as lost, where it may lose any.
"""

import argparse
import asyncio
import errno
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from typing import Final

from bench.contenders import SLUICE, build
from bench.hardships.house import CONNECTIONS, House, Plan, bound, house
from bench.machine import BenchFault, until
from bench.store.power import Disk
from bench.traffic import Account, Broken, check_logs, upstream
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.values.ids import WORKERS, key_of

HOUR_S: Final = 3600.0
SYNC_S: Final = 0.5
"""How much longer a slow disk takes for each sync."""
BREATH_S: Final = 1.0
SMALL_FILES: Final = {"SPOOL__FILE_BYTES": "200000"}
_ASIDE: Final = re.compile(r"damaged spool/[^/]+/bad ")
POWER: Final = {"SPOOL__DURABILITY": "power"}


async def disk_full(plan: Plan) -> str:
    """Requests are served on, also by workers that begin then; the logs that find no room are counted."""
    async with _suffering(plan, "disk-full", cut=True, settings=SMALL_FILES) as (its, account):
        its.shim.fail_writes(errno.ENOSPC)
        await asyncio.sleep(plan.seconds / 2)
        for title in ("sluice: worker 1", "sluice: worker 2", "sluice: keeper"):
            await its.kill(title)
        more = len(account.ended) + plan.rate * plan.seconds / 2
        await until(lambda: len(account.ended) > more, "replies by workers that began on a full disk")
        its.shim.fail_writes(0)
    if not its.lost:
        raise BenchFault("no log was lost: the disk was not full")
    return _told(account, its)


async def disk_full_refuse(plan: Plan) -> str:
    """With `spool.when_full = "refuse"`: requests get a 503, but those that were let in before."""
    name, settings = "disk-full-refuse", {**SMALL_FILES, "SPOOL__WHEN_FULL": "refuse"}
    async with _suffering(plan, name, may_be_turned_away=True, settings=settings) as (its, account):
        its.shim.fail_writes(errno.ENOSPC)
        await asyncio.sleep(plan.seconds)
        its.shim.fail_writes(0)
    if not account.turned_away or its.lost > CONNECTIONS:
        raise BenchFault(f"{account.turned_away} requests were turned away, {its.lost} logs lost all the same")
    return _told(account, its)


async def disk_slow(plan: Plan) -> str:
    """No reply waits for it, and no log is lost."""
    async with _suffering(plan, "disk-slow") as (its, account):
        before = len(account.times_s)
        its.shim.slow_syncs(SYNC_S)
        await asyncio.sleep(plan.seconds)
        times_s, syncs = account.times_s[before:], its.shim.slow
        its.shim.slow_syncs(0)
    p99_s = quantiles(times_s, n=100)[-1]
    slow = f"p99 {p99_s * 1000:.0f} ms while {syncs} syncs took {SYNC_S:g} s longer each"
    if its.lost or p99_s > SYNC_S / 2 or not syncs:
        raise BenchFault(f"{slow}; {its.lost} logs were lost")
    return f"{_told(account, its)}; {slow}"


async def disk_slow_power(plan: Plan) -> str:
    """With `spool.durability = "power"`: each reply waits for the sync of its log."""
    async with _suffering(plan, "disk-slow-power", settings=POWER) as (its, account):
        its.shim.slow_syncs(SYNC_S)
        await asyncio.sleep(BREATH_S)
        before = len(account.times_s)
        await asyncio.sleep(plan.seconds)
        times_s = account.times_s[before:]
        its.shim.slow_syncs(0)
    if its.lost or min(times_s) < SYNC_S:
        raise BenchFault(f"a reply took {min(times_s):.3f} s where its log's sync took {SYNC_S} s")
    return f"{_told(account, its)}; the fastest reply took {min(times_s) * 1000:.0f} ms where a sync takes {SYNC_S} s"


async def permission_lost(plan: Plan) -> str:
    """Spool files that are open are written on, logs wait in them, and all is stored once the modes are mended."""
    async with _suffering(plan, "permission-lost", before=bound(), settings=SMALL_FILES) as (its, account):
        places = [its.data / "spool", its.data / "shards"]
        _chmod(places, 0o500, 0o400)
        await asyncio.sleep(plan.seconds)
        _chmod(places, 0o700, 0o600)
    if its.lost:
        raise BenchFault(f"{its.lost} logs were lost")
    return _told(account, its)


async def clock_back(plan: Plan) -> str:
    """Ids go on upwards, also those of a worker that begins then."""
    async with _suffering(plan, "clock-back", cut=True) as (its, account):
        before = list(account.ended)
        its.shim.step_clock(-HOUR_S)
        await asyncio.sleep(plan.seconds / 2)
        await its.kill("sluice: worker 1")
        passed = len(account.ended)
        await asyncio.sleep(plan.seconds / 2)
    highest, later = _by_worker(before), _by_worker(list(account.ended)[passed:])
    if its.lost or not highest.keys() & later.keys():
        raise BenchFault(f"{its.lost} logs were lost; spools {sorted(highest)} before, {sorted(later)} after")
    for worker in highest.keys() & later.keys():
        if min(later[worker]) <= max(highest[worker]):
            raise BenchFault(f"worker {worker} minted a key below one that it had minted before")
    return _told(account, its)


async def keeper_stopped(plan: Plan) -> str:
    """It is waited for, however long: logs lie in the spool, and are stored once it goes on."""
    async with _suffering(plan, "keeper-stopped") as (its, account):
        with _stopped(keeper := its.process("sluice: keeper")):
            await asyncio.sleep(plan.stopped_s)
            if its.process("sluice: keeper") != keeper:
                raise BenchFault("the keeper that was stopped was replaced")
            waiting = its.spool_bytes()
    if its.lost:
        raise BenchFault(f"{its.lost} logs were lost")
    return f"{_told(account, its)}; {waiting / 1e6:,.1f} MB waited after {plan.stopped_s:g} s"


async def keeper_stopped_reload(plan: Plan) -> str:
    """A reload does not wait for it longer than for any other: it is killed, and its successor catches up."""
    async with _suffering(plan, "keeper-stopped-reload") as (its, account):
        with _stopped(keeper := its.process("sluice: keeper")):
            os.kill(its.program.pid, signal.SIGHUP)
            await its.succeeded("sluice: keeper", keeper)
    if its.lost:
        raise BenchFault(f"{its.lost} logs were lost")
    return _told(account, its)


async def power(plan: Plan) -> str:
    """With `spool.durability = "power"`: what was not synced is gone, and no log of an ended request with it."""
    whole = Account()
    data, notes, chance = plan.folder / "power", plan.folder / "notes", random.Random(1)
    await asyncio.to_thread(bootstrap, data)  # an installation: the making of the folder is not what fails
    for number in range(plan.rounds):
        (disk := Disk(data.resolve(), notes)).begin()
        async with (
            _noted(disk, plan.folder / f"notary-{number}") as notary,
            house(plan, "power", notary=notary, settings={**SMALL_FILES, **POWER}) as its,
        ):
            load = its.load()
            async with load.running() as account:
                await asyncio.sleep(plan.seconds / plan.rounds)
                load.expect_the_end()
                os.killpg(its.program.pid, signal.SIGKILL)
                await until(its.program.gone, "the end of all processes")
        disk.fail(chance)
        whole.sent += account.sent
        whole.ended.update(account.ended)
        whole.cut += account.cut
    async with house(plan, "power") as its:
        await check_logs(whole, its.port, its.token)
    done = await asyncio.to_thread(_doctor, data)
    if done.returncode and not _only_unsynced(done.stdout):
        raise BenchFault(f"sluice doctor found damage:\n{done.stdout}{done.stderr}")
    return f"{_told(whole, its)}; {plan.rounds} failures of the power"


def _only_unsynced(found: str) -> bool:
    """Whether all that is damaged are frames of the spool: one that was not synced may have lost a block within it."""
    damaged = [line for line in found.splitlines() if line.startswith("damaged")]
    return bool(damaged) and all(_ASIDE.match(line) for line in damaged)


HARDSHIPS: Final[dict[str, Callable[[Plan], Awaitable[str]]]] = {
    "disk-full": disk_full,
    "disk-full-refuse": disk_full_refuse,
    "disk-slow": disk_slow,
    "disk-slow-power": disk_slow_power,
    "permission-lost": permission_lost,
    "clock-back": clock_back,
    "keeper-stopped": keeper_stopped,
    "keeper-stopped-reload": keeper_stopped_reload,
    "power": power,
}


async def suffer(
    folder: Path, names: Sequence[str], seconds: float, stopped_s: float, rate: float, rounds: int
) -> dict[str, str]:
    """What to tell of each. Raises BenchFault where what is promised does not hold."""
    told = {}
    async with upstream() as origin:
        plan = Plan(folder, origin, seconds, stopped_s, rate, rounds)
        for name in names:
            try:
                told[name] = await HARDSHIPS[name](plan)
            except (BenchFault, Broken) as fault:
                raise BenchFault(f"{name}: {fault}") from fault
            print(f"{name}: {told[name]}", flush=True)
    return told


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default=",".join(HARDSHIPS), help="some of " + ", ".join(HARDSHIPS))
    parser.add_argument("--seconds", type=float, default=10, help="how long each lasts")
    parser.add_argument("--stopped", type=float, default=300, help="seconds for which the keeper stands still")
    parser.add_argument("--rounds", type=int, default=3, help="failures of the power")
    parser.add_argument("--rate", type=float, default=300, help="requests a second")


def run(folder: Path, asked: argparse.Namespace) -> str:
    """What the command line asks for. Raises BenchFault."""
    names = asked.only.split(",")
    if unknown := set(names) - HARDSHIPS.keys():
        raise BenchFault(f"there is no hardship {sorted(unknown)[0]!r}, but {', '.join(HARDSHIPS)}")
    told = asyncio.run(suffer(folder, names, asked.seconds, asked.stopped, asked.rate, asked.rounds))
    return f"{len(told)} hardships borne as promised"


@asynccontextmanager
async def _suffering(
    plan: Plan,
    name: str,
    *,
    cut: bool = False,
    may_be_turned_away: bool = False,
    before: Sequence[str] = (),
    settings: Mapping[str, str] = {},
) -> AsyncIterator[tuple[House, Account]]:
    """A server under load, for a while before the block and after it; then it is compared with the account."""
    async with house(plan, name, before=before, settings=settings) as its:
        async with its.load(may_be_turned_away=may_be_turned_away).running() as account:
            await asyncio.sleep(BREATH_S)
            yield its, account
            await asyncio.sleep(BREATH_S)
        await its.settle(account, cut=cut)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _noted(disk: Disk, socket: Path) -> AsyncIterator[Path]:
    """A process that writes down what is synced, at this socket."""
    command = [sys.executable, "-m", "bench.hardships.notary", str(disk.live), str(disk.notes), str(socket)]
    notary = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert notary.stdout
        if await notary.stdout.readline() != b"ready\n":
            raise BenchFault("nobody takes notes")
        yield socket
    finally:
        notary.kill()
        await notary.wait()


def _chmod(places: Iterable[Path], folders: int, files: int) -> None:
    for place in places:
        for folder, _, names in os.walk(place):
            for name in names:
                with suppress(FileNotFoundError):  # the keeper removes what is stored
                    Path(folder, name).chmod(files)
            Path(folder).chmod(folders)


def _by_worker(log_ids: Iterable[str]) -> dict[int, list[int]]:
    """Keys of logs by the number of the worker that minted them."""
    found: dict[int, list[int]] = {}
    for key in map(key_of, log_ids):
        found.setdefault(key >> 14 & (WORKERS - 1), []).append(key)
    return found


def _doctor(data: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **build(pure=True)}
    command = [*SLUICE, "doctor", "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _told(account: Account, its: House) -> str:
    return (
        f"{account.sent:,} requests sent, {len(account.ended):,} ended: {len(account.ended) - its.lost:,} in the log "
        f"once, {its.lost:,} counted as lost; {account.turned_away:,} turned away, {len(account.cut)} cut"
    )
