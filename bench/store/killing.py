"""Kills a keeper in the middle of all it does, again and again, and looks for every log when it was let be.

    scripts/soak store --rounds 50
    scripts/soak store --rounds 10 --power     and each time the power fails: what was not synced is lost too

Three gateways: one whose logs are deleted by command, a third of them and with them most of its packs; one that keeps
its newest 10,000; one that is left alone. Segments roll, are sealed and folded, packs are compacted, dictionaries
learned, all within a second, and the keeper dies by SIGKILL at a random moment of it. In the end each log must be there
once, with its own bodies, or be gone for good; roll-ups must have counted each once; `sluice doctor` must find nothing.
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from bench.machine import BenchFault
from bench.store.power import Disk
from sluice.metrics import Metrics
from sluice.spool.inspection import inspect_spools
from sluice.spool.layout import CONSOLES
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.inspection import Look, inspect_shards
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.command import Command
from sluice.values.exchange import Exchange
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG
from sluice.values.ids import wall_ms
from sluice.values.log import ShardKey
from sluice.values.rollup import RollupQuery
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Gateway

ACCOUNT: Final = "local"
KEPT: Final = 10_000
A_ROUND: Final = {"deleted-from": 300, "newest": 250, "left-alone": 50}
"""Logs for each gateway between two deaths."""
DELETED_SHARE: Final = 0.6
DRAIN_S: Final = 120.0


@dataclass(slots=True)
class Told:
    """What a gateway was given, by log id: the number that its bodies bear."""

    gateway: Gateway
    logs: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    @property
    def shard(self) -> ShardKey:
        return ShardKey(self.gateway.account, self.gateway.id.hex())


@dataclass(frozen=True, slots=True)
class Survived:
    logs: int
    deleted: int
    deaths: int


def body(number: int) -> bytes:
    """Most are small; some go to a side file, a few to a pack by pieces."""
    chance = random.Random(number)
    size = 1_200_000 if number % 997 == 0 else 100_000 if number % 211 == 0 else int(chance.expovariate(1 / 900))
    text = f'{{"number": {number}, "messages": [{{"role": "user", "content": "{chance.random()}'
    return (text + "lorem ipsum dolor " * (size // 18)).encode() + b'"}]}'


class Killing:
    def __init__(self, data: Path, *, power: bool = False, seed: int = 1) -> None:
        self._data = data
        self._notes = data.with_name("notes") if power else None
        self._chance = random.Random(seed)
        bootstrap(data)
        self.told = {name: Told(gateway) for name, gateway in _gateways(data).items()}
        settings = SpoolSettings(file_bytes=300_000)
        self._worker = SpoolWriter.open(data / "spool", settings, Metrics.unseen())
        self._console = SpoolWriter.open(data / "spool", settings, Metrics.unseen(), numbers=CONSOLES)
        self._number = 0
        if self._notes:
            Disk(data, self._notes).begin()
        self._deaths = 0

    async def run(self, rounds: int) -> Survived:
        """Raises BenchFault where a log is missing, there twice, not its own, or back from the dead."""
        for _ in range(rounds):
            with self._keeper() as keeper:
                for name, count in A_ROUND.items():
                    await self._give(self.told[name], count)
                await self._delete()
                await asyncio.sleep(self._chance.uniform(0.0, 0.5))
                keeper.kill()
                keeper.wait()
                self._deaths += 1
            if self._notes:
                self._fail(self._notes)
        self._drain()
        for told in self.told.values():
            self._check(told)
        findings = [*inspect_spools(self._data / "spool"), *inspect_shards(self._data / "shards", Look(bodies=True))]
        if findings:
            raise BenchFault(f"damage was found, as {findings[0]}")
        gone = sum(len(told.deleted) for told in self.told.values())
        return Survived(self._number, gone, self._deaths)

    @contextmanager
    def _keeper(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "bench.store.keeping", str(self._data)]
        if self._notes:
            command.append(str(self._notes))
            self._hold_spools()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
            try:
                assert keeper.stdout
                if keeper.stdout.readline() != "ready\n":
                    raise BenchFault("the keeper did not begin")
                yield keeper
            finally:
                keeper.kill()

    async def _give(self, told: Told, count: int) -> None:
        for _ in range(count):
            self._number += 1
            log_id = self._worker.mint.mint()
            tapes = self._worker.tape(log_id, "request"), self._worker.tape(log_id, "response")
            for tape in tapes:
                tape.add(body(self._number))
            self._worker.append(told.gateway, _exchange(log_id, self._number), *tapes)
            told.logs[log_id] = self._number
            if self._number % 20 == 0:
                await asyncio.sleep(0)

    async def _delete(self) -> None:
        """Of all there ever were: some are in sealed segments, some not stored yet."""
        told = self.told["deleted-from"]
        left = list(told.logs.keys() - told.deleted)
        for _ in range(4):
            chosen = self._chance.sample(left, min(len(left), int(A_ROUND["deleted-from"] * DELETED_SHARE / 4)))
            told.deleted.update(chosen)
            self._console.order(told.gateway.id, Command(self._console.mint.mint(), ACCOUNT, chosen, None))
            await asyncio.sleep(0)

    def _fail(self, notes: Path) -> None:
        """The power fails. Spools keep what is in them, and by chance get back what was removed."""
        spools = self._data.with_name("spools")
        (self._data / "spool").rename(spools)
        Disk(self._data, notes).fail(self._chance)
        shutil.rmtree(self._data / "spool", ignore_errors=True)
        spools.rename(self._data / "spool")
        for held in list(self._held.rglob("*")):
            back = self._data / "spool" / held.relative_to(self._held)
            if held.is_file() and not back.exists() and self._chance.random() < 0.5:
                back.hardlink_to(held)

    def _hold_spools(self) -> None:
        shutil.rmtree(self._held, ignore_errors=True)
        shutil.copytree(self._data / "spool", self._held, copy_function=os.link)

    @property
    def _held(self) -> Path:
        """Spool files that there were before a keeper began."""
        return self._data.with_name("held")

    def _drain(self) -> None:
        self._worker.close()
        self._console.close()
        for _ in range(2):  # what the first begins in the background the second is rid of
            with self._keeper() as keeper:
                keeper.communicate(timeout=DRAIN_S)
                if keeper.returncode:
                    raise BenchFault(f"the keeper ended with {keeper.returncode}")

    def _check(self, told: Told) -> None:
        expected = {log_id: number for log_id, number in told.logs.items() if log_id not in told.deleted}
        if told is self.told["newest"]:
            expected = dict(sorted(expected.items())[-KEPT:])
        with closing(EmbeddedLogReader(self._data / "shards", query_timeout_s=30)) as reader:
            stored = reader.ids(told.shard, LogQuery(per_page=self._number), 30)
            missing, surplus = expected.keys() - set(stored), set(stored) - expected.keys()
            if missing or surplus or len(stored) != len(expected):
                raise BenchFault(
                    f"{told.gateway.name}: of {len(expected)} logs {len(missing)} are missing and {len(surplus)} too "
                    f"many, {len(stored)} in all; as {sorted(missing)[:3]} {sorted(surplus)[:3]}"
                )
            for log_id, number in expected.items():
                for side in ("request", "response"):
                    found = reader.body(told.shard, log_id, side)
                    if found is None or b"".join(found) != body(number):
                        raise BenchFault(f"{told.gateway.name}: the {side} of log {log_id} is not its own")
        with closing(EmbeddedAnalyticsReader(self._data / "shards", query_timeout_s=30)) as analytics:
            now_ms = wall_ms()
            counted = analytics.groups({"": told.shard}, RollupQuery(now_ms - 86_400_000, now_ms + 60_000)).groups
            if sum(group.requests for group in counted) != len(told.logs):
                raise BenchFault(f"{told.gateway.name}: roll-ups count {counted}, not {len(told.logs)}")


def _gateways(data: Path) -> dict[str, Gateway]:
    found = {}
    with (
        closing(MappedGenerations.open(data / "generations.map", writable=True)) as generations,
        closing(EmbeddedControlStore.open_for_writing(data / "control.db", generations)) as control,
    ):
        for name in A_ROUND:
            config = DEFAULT_GATEWAY_CONFIG
            if name == "newest":
                changes = {"log_management": KEPT, "log_management_strategy": "DELETE_OLDEST"}
                config = msgspec.structs.replace(config, **changes)
            control.create_gateway(ACCOUNT, name, config)
            gateway = control.gateway(ACCOUNT, name)
            assert gateway is not None
            found[name] = gateway
    return found


def _exchange(log_id: str, number: int) -> Exchange:
    size = len(body(number))
    return Exchange(
        log_id, ACCOUNT, "openai", "v1/chat/completions", "POST", "provider", wall_ms(),
        0, 0, 200, "complete", 0, 0, 1, True, True, b"application/json", b"", b"application/json", b"", b"",
        b'{"team":"team-%d"}' % (number % 7), b"", size, size,
    )  # fmt: skip


def kill(data: Path, rounds: int, *, power: bool = False) -> str:
    """What to tell of it. Raises BenchFault."""
    started_s = time.monotonic()
    done = asyncio.run(Killing(data, power=power).run(rounds))
    return (
        f"{done.deaths} deaths of the {'machine' if power else 'keeper'}, {done.logs:,} logs, {done.deleted:,} of them "
        f"deleted: all as they should be ({time.monotonic() - started_s:.0f} s)"
    )
