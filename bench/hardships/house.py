"""A gateway that is to suffer: its server, its load, and what both say of it afterwards."""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contenders import make_token, start_sluice
from bench.hardships.shim import Shim
from bench.machine import BenchFault, Program, free_port, until
from bench.traffic import Account, Load, check_logs, get_bytes
from sluice.spool.layout import spool_bytes

FAMILY: Final = ("sluice: worker 1", "sluice: worker 2", "sluice: keeper", "sluice: console")
CONNECTIONS: Final = 50
ROOT_IS_BOUND: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
"""For whom modes of files count like for anybody."""
_DROPPED: Final = re.compile(r"^sluice_logs_dropped_total\{.*\} (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where, how long and how much."""

    folder: Path
    origin: int
    """Port of the provider."""
    seconds: float
    """How long each hardship lasts."""
    stopped_s: float
    """How long the keeper stands still."""
    rate: float
    rounds: int
    """How often the power fails."""


@dataclass(slots=True)
class House:
    """A running server."""

    plan: Plan
    data: Path
    program: Program
    port: int
    token: str
    shim: Shim
    lost: int = 0
    """Logs of ended requests that it lost, as it says itself."""

    def load(self, *, may_be_turned_away: bool = False) -> Load:
        headers = {"cf-aig-authorization": f"Bearer {self.token}"}
        return Load(self.port, headers, self.plan.rate, CONNECTIONS, may_be_turned_away=may_be_turned_away)

    def process(self, title: str) -> int:
        return self.program.family()[title]

    async def succeeded(self, title: str, victim: int) -> None:
        """Returns once another process has this title."""
        await until(lambda: self.program.family().get(title, victim) != victim, f"a successor of {title}")

    async def kill(self, title: str) -> None:
        os.kill(victim := self.process(title), signal.SIGKILL)
        await self.succeeded(title, victim)

    async def settle(self, account: Account, *, cut: bool = False) -> None:
        """Compares the log with the account. Raises BenchFault where a log was lost that is not counted.

        `cut`: whether requests may be cut, as by a death.
        """
        if not cut and (account.cut or account.refused):
            raise BenchFault(f"{len(account.cut)} requests were cut, {account.refused} not begun: {account.cut[:3]}")
        if account.refused > CONNECTIONS:
            raise BenchFault(f"{account.refused} connections were refused")
        dropped = await self.dropped()
        self.lost = await check_logs(account, self.port, self.token, may_lack=dropped)
        if dropped > self.lost + len(account.cut):
            raise BenchFault(f"{dropped} logs are counted as lost, but {self.lost} are missing")

    def spool_bytes(self) -> int:
        return spool_bytes(self.data / "spool")

    async def dropped(self) -> int:
        """Logs that the server says it has lost."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            text = (await get_bytes(reader, writer, "/metrics", self.token)).decode()
        return sum(int(count) for count in _DROPPED.findall(text))


@asynccontextmanager
async def house(
    plan: Plan, name: str, *, before: Sequence[str] = (), notary: Path | None = None, settings: Mapping[str, str] = {}
) -> AsyncIterator[House]:
    """A server with two workers on a data folder of this name, made if need be."""
    data = plan.folder / name
    with closing(Shim.make(data)) as shim:
        env = {**shim.environment(notary), **{f"SLUICE_{key}": value for key, value in settings.items()}}
        port = free_port()
        with start_sluice(plan.origin, port, None, data, workers=2, env=env, before=before) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, FAMILY)
            token = await asyncio.to_thread(make_token, data)
            yield House(plan, data, program, port, token, shim)
            await asyncio.to_thread(program.end)  # not in the loop, which has connections to close


def bound() -> Sequence[str]:
    """What to put before a command so that modes of files bind it. Raises BenchFault where there is no such thing."""
    if os.geteuid() != 0:
        return ()
    if shutil.which(ROOT_IS_BOUND[0]) is None:
        raise BenchFault("root needs setpriv to lose a permission: apt install util-linux")
    return ROOT_IS_BOUND
