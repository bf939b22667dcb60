"""Ends processes under load and counts: every request whose end its client saw must be in the log, once.

scripts/soak kill --rounds 100 --rate 500   kill -9 of a random process: a worker, the keeper, the console
scripts/soak end --signal TERM              the whole server, by SIGTERM, SIGINT, or SIGKILL of the supervisor
scripts/soak reload --rounds 5              every process replaced by SIGHUP, again and again
scripts/soak backup --rounds 10             backups of a server under load, each served and looked through
scripts/soak store --rounds 50              kill -9 of a keeper that rolls, seals, compacts, deletes all the time
scripts/soak limits --rounds 20             floods of gateways that allow 100, every second one with a kill -9
scripts/soak steady                         an hour of mixed traffic, in which nothing may grow
scripts/soak hardships                      a full disk, a slow one, a clock stepped back, the power gone, and others
scripts/soak import --lines 1000000         LiteLLM's logs, twice, and with a kill -9 of the import
scripts/soak abuse                          100,000 bad inputs, none of which may do any harm
scripts/soak faults                         what is seen and logged where a provider fails, and whether it is true
scripts/soak rest --calls 10000             fuzzed calls of the management API, and `fuzz`: the codecs (bench/fuzz)
"""

import argparse
import asyncio
import math
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.abuse import command as abuse
from bench.backups import back_up
from bench.contenders import make_token, start_sluice
from bench.faults import command as faults
from bench.hardships import hardships
from bench.limiting import limits
from bench.machine import BenchFault, Program, end_in_order, free_port, until
from bench.steady import steady
from bench.store.bringing import bring
from bench.store.killing import kill as kill_keepers
from bench.traffic import Account, Broken, Load, check_logs, upstream

FAMILY = ("sluice: worker 1", "sluice: worker 2", "sluice: keeper", "sluice: console")
SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}


async def kill(data: Path, rounds: int, rate: float) -> Account:
    """Kills a process a round under load, each as often as the others, in any order.

    Raises BenchFault where a log is missing or there twice.
    """
    victims = random.sample(FAMILY * math.ceil(rounds / len(FAMILY)), rounds)
    async with upstream() as origin:
        with start_sluice(origin, port := free_port(), None, data, workers=2) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, FAMILY)
            token = await asyncio.to_thread(make_token, data)
            load = Load(port, {"cf-aig-authorization": f"Bearer {token}"}, rate)
            async with load.running() as account:
                await asyncio.sleep(1)
                for victim in victims:
                    await _kill_one(program, victim)
                    await asyncio.sleep(random.uniform(0.5, 1.5))
            await check_logs(account, port, token)
    return account


async def end(data: Path, by: signal.Signals, rate: float) -> Account:
    """Ends the server under load, starts it again, reads the log. Raises BenchFault where a request was cut or lost."""
    async with upstream() as origin:
        with start_sluice(origin, port := free_port(), None, data, workers=2) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, FAMILY)
            token = await asyncio.to_thread(make_token, data)
            load = Load(port, {"cf-aig-authorization": f"Bearer {token}"}, rate)
            async with load.running() as account:
                await asyncio.sleep(2)
                load.expect_the_end()
                os.kill(program.pid, by)
                await until(program.gone, "the end of all processes")
        if account.cut:
            raise BenchFault(f"{len(account.cut)} of {account.sent} requests were cut, as {account.cut[:5]}")
        if by != signal.SIGKILL and program.status() != 0:
            raise BenchFault(f"exit status {program.status()}:\n{program.said()}")
        with start_sluice(origin, port := free_port(), None, data, workers=2) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await check_logs(account, port, token)
    return account


async def reload(data: Path, rounds: int, rate: float, by: signal.Signals = signal.SIGHUP) -> Account:
    """Replaces all processes under load, again and again; by SIGUSR2 their supervisor too.

    Raises BenchFault where a request was cut or a log lost.
    """
    async with upstream() as origin:
        with start_sluice(origin, port := free_port(), None, data, workers=2) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, FAMILY)
            token = await asyncio.to_thread(make_token, data)
            load = Load(port, {"cf-aig-authorization": f"Bearer {token}"}, rate)
            async with load.running() as account:
                await asyncio.sleep(0.5)
                for _ in range(rounds):
                    before = set(program.family().values())
                    os.kill(program.pid, by)
                    await until(partial(_replaced, program, before), "a successor of every process")
                    await asyncio.sleep(random.uniform(0.0, 0.5))
            if account.cut or account.refused:
                raise BenchFault(
                    f"of {account.sent} requests {len(account.cut)} were cut and {account.refused} not begun, "
                    f"as {account.cut[:5]}"
                )
            await check_logs(account, port, token)
    return account


async def _kill_one(program: Program, title: str) -> None:
    """Kills the process with this title and returns once its successor is there."""
    await until(lambda: title in program.family(), f"a {title} to kill")
    victim = program.family()[title]
    os.kill(victim, signal.SIGKILL)
    await until(lambda: program.family().get(title, victim) != victim, f"a successor of {title}")


def _replaced(program: Program, before: set[int]) -> bool:
    """Whether workers, keeper and console are all there and none is of those before; those may still drain."""
    now = program.family()
    return all(title in now and now[title] not in before for title in FAMILY)


def told(account: Account) -> str:
    return (
        f"{account.sent:,} requests sent, {len(account.ended):,} ended, each in the log once; "
        f"{len(account.cut)} cut by a death, {account.refused} not begun"
    )


Asked = argparse.Namespace
WAYS: dict[str, Callable[[Path, Asked], str | int]] = {
    "kill": lambda folder, asked: told(asyncio.run(kill(folder / "data", asked.rounds, asked.rate))),
    "end": lambda folder, asked: told(asyncio.run(end(folder / "data", SIGNALS[asked.signal], asked.rate))),
    "reload": lambda folder, asked: told(asyncio.run(reload(folder / "data", asked.rounds, asked.rate))),
    "backup": lambda folder, asked: asyncio.run(back_up(folder / "data", asked.rounds, asked.rate)),
    "store": lambda folder, asked: kill_keepers(folder / "data", asked.rounds, power=asked.power),
    "limits": lambda folder, asked: asyncio.run(limits(folder / "data", asked.rounds)),
    "import": lambda folder, asked: bring(folder / "data", asked.lines),
    "faults": faults.run,
    "abuse": abuse.run,
    "steady": steady.run,
    "hardships": hardships.run,
}
"""What each does in a folder of its own: says what came of it, or returns the exit status and has said it."""


def arguments() -> Asked:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(dest="way", required=True)
    killing = ways.add_parser("kill", help="kill -9 of workers, keeper and console")
    killing.add_argument("--rounds", type=int, default=20)
    ending = ways.add_parser("end", help="the whole server")
    ending.add_argument("--signal", choices=SIGNALS, default="TERM")
    reloading = ways.add_parser("reload", help="every process, by its successor")
    reloading.add_argument("--rounds", type=int, default=5)
    backing = ways.add_parser("backup", help="backups, and a server on each")
    backing.add_argument("--rounds", type=int, default=10)
    storing = ways.add_parser("store", help="the keeper alone, in the middle of all it does")
    storing.add_argument("--rounds", type=int, default=50)
    storing.add_argument("--power", action="store_true", help="the power fails each time")
    limiting = ways.add_parser("limits", help="floods of requests at gateways that allow 100")
    limiting.add_argument("--rounds", type=int, default=20)
    importing = ways.add_parser("import", help="foreign logs, each once however often they are imported")
    importing.add_argument("--lines", type=int, default=1_000_000)
    faults.add_arguments(ways.add_parser("faults", help="every fault of a provider in every shape: docs/faults.md"))
    abuse.add_arguments(ways.add_parser("abuse", help="bad inputs of every kind: docs/hardening.md"))
    steady.add_options(ways.add_parser("steady", help="an hour of mixed traffic, in which nothing may grow"))
    hardships.add_options(ways.add_parser("hardships", help="what a machine may do to a server"))
    for way in (killing, ending, reloading, backing):
        way.add_argument("--rate", type=float, default=500, help="requests a second")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="sluice-soak-") as folder:
        try:
            outcome = WAYS[asked.way](Path(folder), asked)
        except (BenchFault, Broken) as fault:
            print(f"soak: {fault}", file=sys.stderr)
            return 1
    if isinstance(outcome, int):
        return outcome
    print(outcome)
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
