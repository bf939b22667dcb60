"""The thread that syncs the spool outlives whatever a disk does to it: replies wait for it."""

import asyncio
from pathlib import Path

from sluice.metrics import Metrics
from sluice.spool.group_sync import GroupSync

NOBODYS = 1 << 20
"""A descriptor that is not open: neither to be synced nor to be closed."""


async def test_a_file_that_cannot_be_closed_is_counted_and_the_next_is_synced(tmp_path: Path, metrics: Metrics):
    failures = metrics.counter("failures", "")
    sync = GroupSync(0.0, failures, lambda: None)
    try:
        sync.retire(NOBODYS, tmp_path)
        async with asyncio.timeout(2):
            await sync.durable()
            await sync.durable()
        assert failures.value == 2
    finally:
        sync.stop()
