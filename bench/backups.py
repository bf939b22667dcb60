"""Backups under load: a server that is started on a copy has every log that ended before the backup began, once."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from bench.contenders import SLUICE, build, make_token, start_sluice
from bench.machine import BenchFault, free_port
from bench.traffic import Account, Load, check_logs, upstream

VICTIMS = ("sluice: worker 1", "sluice: keeper")
SMALL = {"SLUICE_SPOOL__FILE_BYTES": "1048576"}
"""Spool files begin and go in the middle of a backup."""


async def back_up(data: Path, rounds: int, rate: float) -> str:
    """Backs up under load, again and again to the same place, every second time with a kill -9 in the middle.

    Raises BenchFault where a log is missing from a copy or there twice, or a copy is not sound.
    """
    place, took_s, checked = data.with_name("backup"), [], 0
    async with upstream() as origin:
        with start_sluice(origin, port := free_port(), None, data, workers=2, env=SMALL) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, VICTIMS)
            token = await asyncio.to_thread(make_token, data)
            load = Load(port, {"cf-aig-authorization": f"Bearer {token}"}, rate)
            async with load.running() as account:
                await asyncio.sleep(2)
                for turn in range(rounds):
                    before = Account(ended=dict(account.ended))
                    making = asyncio.create_task(_copy(data, place, verify=turn % 3 == 0))
                    if turn % 2:
                        await asyncio.sleep(random.uniform(0.3, 1.0))
                        os.kill(program.family()[random.choice(VICTIMS)], signal.SIGKILL)
                    took_s.append(await making)
                    await _serve_copy(origin, place, before)
                    checked += len(before.ended)
            await check_logs(account, port, token)
    longest = max(took_s)
    return f"{rounds} backups under {rate:g} requests/s, {longest:.1f} s at most; {checked:,} logs in copies, each once"


async def _copy(data: Path, place: Path, *, verify: bool) -> float:
    began_s = time.monotonic()
    words = [*SLUICE, "backup", str(place), "--data", str(data), *(["--verify"] if verify else [])]
    environment = {**os.environ, **build(pure=True)}
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BenchFault(f"no backup could be made:\n{done.stderr}")
    return time.monotonic() - began_s


async def _serve_copy(origin: int, place: Path, before: Account) -> None:
    """A server on a copy of the copy, for it is the next one's former."""
    served = place.with_name("served")
    await asyncio.to_thread(shutil.copytree, place, served)
    try:
        with start_sluice(origin, port := free_port(), None, served) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await check_logs(before, port, await asyncio.to_thread(make_token, served))
    finally:
        shutil.rmtree(served, ignore_errors=True)
