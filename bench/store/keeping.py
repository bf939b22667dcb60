"""A keeper alone with small segments, packs and dictionaries: a few thousand logs make it do all that it can do.

    python -m bench.store.keeping DATA [NOTES]

Stores what is in the folder's spools and what comes, until its standard input ends; then reads them to their end. With
NOTES, what of the folder is on the disk is written down there (bench/store/power.py).
"""

import logging
import select
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.store.power import watch
from sluice import journal
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.metrics import Metrics
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded import compaction, packs, shard
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.shard import Bounds
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import wall_ms
from sluice.values.settings import LogSettings

BOUNDS: Final = Bounds(rows=700, pack_bytes=8 * packs.MB, age_ms=3_600_000)
_SMALLER: Final = (
    (packs, "PACK_BYTES", 200_000),
    (shard, "TRAIN_ROWS", 250),
    (compaction, "WASTE_BYTES", 5_000),
    (compaction, "WASTE", 0.1),
)


def main() -> None:
    data = Path(sys.argv[1])
    if len(sys.argv) > 2:
        watch(data, Path(sys.argv[2]))
    for module, name, value in _SMALLER:
        setattr(module, name, value)
    journal.begin("keeper", logging.ERROR)
    metrics = Metrics.unseen()
    with (
        closing(EmbeddedControlReader.open(data / "control.db")) as control,
        closing(MappedGenerations.open(data / "generations.map")) as generations,
        closing(EmbeddedLogWriter.open(data / "shards", bounds=BOUNDS)) as writer,
        closing(EmbeddedUsageStore.open(data / "usage.db")) as usage,
    ):
        accounts = AccountManager(control, generations, writer, usage)
        keeper = Keeper(
            LogSettings(sync_s=0.05),
            data,
            SpoolReader(data / "spool"),
            writer,
            Meter(lambda provider, model: None),
            Addresses(control, generations),
            accounts,
            Retention(control, accounts, writer, metrics, wall_ms),
            metrics,
        )
        print("ready", flush=True)
        keeper.run(lambda wait_s: bool(select.select([sys.stdin], [], [], wait_s)[0]))


if __name__ == "__main__":
    main()
