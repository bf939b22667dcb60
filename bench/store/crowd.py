"""Very many gateways: known to control.db, and by a shard folder each."""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from bench.store.pacing import ACCOUNT
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.open import shard_folder
from sluice.values.log import ShardKey

_LIKE_THE_FIRST: Final = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    " INSERT INTO gateways SELECT account, printf('crowd-%06d', i), randomblob(16), authentication, collect_logs,"
    " config, created_ms, modified_ms, cache_epoch FROM n, gateways WHERE account = ? AND name = 'default'"
)
_LINKS: Final = 10_000
"""File systems allow so many of one file, and not many more."""


def shard_of(gateway: bytes) -> ShardKey:
    return ShardKey(ACCOUNT, gateway.hex())


def name_of(number: int) -> str:
    return f"crowd-{number + 1:06d}"


def know(data: Path, count: int) -> list[bytes]:
    """Makes a data folder with so many gateways beside the first one; returns their internal ids."""
    bootstrap(data)
    with closing(apsw.Connection(str(data / "control.db"))) as db:
        with db:
            db.execute(_LIKE_THE_FIRST, (count, ACCOUNT))
        return [row[0] for row in db.execute("SELECT id FROM gateways WHERE name LIKE 'crowd-%' ORDER BY name")]


def give_folders(data: Path, model: bytes, others: Sequence[bytes]) -> None:
    """Each of the others gets a folder like the model's; one of many is a copy, the rest are links to its files."""
    like = shard_folder(data / "shards", shard_of(model))
    for number, gateway in enumerate(others):
        folder = shard_folder(data / "shards", shard_of(gateway))
        if number % _LINKS == 0:
            like = shutil.copytree(like, folder)
            continue
        folder.mkdir(mode=0o700)
        for file in os.scandir(like):
            os.link(file.path, folder / file.name)
