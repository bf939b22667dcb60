"""What every gateway has stored, in `usage.db`: the keeper writes, the console reads."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

import apsw

from sluice.storage.embedded.open import BUSY_MS, open_single, store_faults
from sluice.storage.ports import GatewayUsage
from sluice.values.log import ShardKey

EDITION: Final = 1
_REPORT: Final = (
    "INSERT INTO usage VALUES (?, ?, ?, ?, ?) ON CONFLICT (account, gateway)"
    " DO UPDATE SET rows = excluded.rows, bytes = excluded.bytes, refused = refused + excluded.refused"
)


class EmbeddedUsageStore:
    """UsageStore over one SQLite file. What a power loss takes the next reports bring again, refusals excepted."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> Self:
        """For the one writer, which makes the file where it is missing."""
        with store_faults(f"opening {path}"):
            db = open_single(path, synchronous=1)
            if db.pragma("user_version") != EDITION:
                with db:
                    db.execute("DROP TABLE IF EXISTS usage")
                    db.execute(files(__package__).joinpath("schema/usage.sql").read_text("utf-8"))
                    db.pragma("user_version", EDITION)
        return cls(db)

    def report(self, usage: Sequence[GatewayUsage]) -> None:
        with store_faults("reporting usage"), self._db:
            self._db.executemany(_REPORT, [(*one.shard, one.rows, one.bytes, one.refused) for one in usage])

    def forget(self, shard: ShardKey) -> None:
        with store_faults("forgetting usage"):
            self._db.execute("DELETE FROM usage WHERE account = ? AND gateway = ?", tuple(shard))

    def close(self) -> None:
        self._db.close()


class EmbeddedUsageReader:
    """UsageReader over the same file; before the keeper has made it nothing is stored."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: apsw.Connection | None = None

    def of(self, account: str) -> dict[str, GatewayUsage]:
        with store_faults("reading usage"):
            if self._db is None:
                if not self._path.exists():
                    return {}
                self._db = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
                self._db.set_busy_timeout(BUSY_MS)
            rows = self._db.execute("SELECT gateway, rows, bytes, refused FROM usage WHERE account = ?", (account,))
            return {gateway: GatewayUsage(ShardKey(account, gateway), *counts) for gateway, *counts in rows}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
