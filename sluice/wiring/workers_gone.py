"""Whoever workers need ends after them, also where no supervisor is left to say when."""

import asyncio
from typing import Final

from sluice.child import Child
from sluice.supervisor.lock import held_spools, is_held

GRACE_S: Final = 5.0
_LOOK_S: Final = 0.05


async def draining_after_workers(child: Child) -> None:
    """Returns when this process is to end: when it is told to, for then its turn has come.

    A dead supervisor calls all children at once, and workers that still finish requests need this process for them.
    """
    await child.draining()
    if not child.orphaned:
        return
    awaited = held_spools(child.settings.data / "spool")
    for _ in range(round((child.settings.server.drain_timeout_s + GRACE_S) / _LOOK_S)):
        if not any(map(is_held, awaited)):
            return
        await asyncio.sleep(_LOOK_S)
