"""Reads `control.db`, from any process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import apsw
import msgspec

from sluice.storage.embedded.control_file import (
    DELETE_AGED,
    DELETE_OLDEST,
    PUSHED,
    assert_edition,
    assert_pragma,
    control_faults,
)
from sluice.storage.embedded.control_rows import (
    ABSENT,
    ACCOUNT,
    GATEWAY,
    TOKEN,
    GatewayRow,
    TokenRow,
    account_of,
    decode_config,
    decode_rates,
    gateway_of,
    token_of,
)
from sluice.storage.embedded.provider_keys import keyring_of, sealed_key
from sluice.storage.provider_keys import SealedKey
from sluice.storage.push_progress import Pushed
from sluice.values.entitlement import Plan, Quota, quota_of
from sluice.values.log import ShardKey
from sluice.values.rates import Rates
from sluice.values.tenancy import (
    Gateway,
    Token,
)

_READ_BUSY_MS: Final = 100
"""A reader waits only while a log left by a killed writer is recovered."""


class EmbeddedControlReader:
    """ControlReader over one SQLite file. A look-up takes about 10 µs and takes no lock that a writer holds."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._retained: list[ShardKey] = []
        self._retained_version = (0, -1)

    @classmethod
    def open(cls, path: Path) -> Self:
        with control_faults():
            db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                db.set_busy_timeout(_READ_BUSY_MS)
                assert_pragma(db, "query_only", 1)
                assert_edition(db, path)
            except BaseException:
                db.close()
                raise
        return cls(db)

    @property
    def db(self) -> apsw.Connection:
        """For the tables that have a module of their own, on the same thread."""
        return self._db

    def account_exists(self, account: str) -> bool:
        with control_faults():
            return self._db.execute("SELECT 1 FROM accounts WHERE id = ?", (account,)).fetchone() is not None

    def gateway(self, account: str, name: str) -> Gateway | None:
        with control_faults():
            row: GatewayRow | None = self._db.execute(
                f"SELECT {GATEWAY} FROM gateways WHERE account = ? AND name = ?", (account, name)
            ).fetchone()
            return self._whole(row) if row else None

    def gateway_by_id(self, gateway_id: bytes) -> Gateway | None:
        with control_faults():
            row: GatewayRow | None = self._db.execute(
                f"SELECT {GATEWAY} FROM gateways WHERE id = ?", (gateway_id,)
            ).fetchone()
            return self._whole(row) if row else None

    def token(self, digest: bytes) -> Token | None:
        with control_faults():
            row: TokenRow | None = self._db.execute(
                f"SELECT {TOKEN} FROM tokens WHERE digest = ?", (digest,)
            ).fetchone()
        return token_of(row) if row else None

    def sealed_key(self, key_id: str) -> SealedKey | None:
        with control_faults():
            return sealed_key(self._db, key_id)

    def rates(self, provider: str, model: str) -> Rates | None:
        with control_faults():
            row: tuple[bytes | None] | None = self._db.execute(
                "SELECT rates FROM prices WHERE provider = ? AND model = ?", (provider, model)
            ).fetchone()
        if row is None:
            return None
        return ABSENT if row[0] is None else decode_rates(row[0])

    def prices_version(self) -> str:
        with control_faults():
            row: tuple[str] | None = self._db.execute("SELECT edition FROM editions WHERE what = 'prices'").fetchone()
        return row[0] if row else ""

    def listed_models(self) -> list[tuple[str, str]]:
        with control_faults():
            return list(self._db.execute("SELECT provider, model FROM prices WHERE listed ORDER BY provider, model"))

    def quota(self, gateway_id: bytes) -> Quota | None:
        with control_faults():
            row: tuple[str, Plan, int, bytes, bytes] | None = self._db.execute(
                f"SELECT {ACCOUNT}, gateways.config FROM gateways JOIN accounts ON accounts.id = account"
                " WHERE gateways.id = ?",
                (gateway_id,),
            ).fetchone()
        if row is None:
            return None
        config = decode_config(row[4])
        oldest = config.log_management_strategy == "DELETE_OLDEST"
        return quota_of(account_of(row[:4]).entitlement, config.log_management, oldest)

    def shards(self, account: str) -> list[ShardKey]:
        with control_faults():
            ids: list[tuple[bytes]] = list(self._db.execute("SELECT id FROM gateways WHERE account = ?", (account,)))
        return [ShardKey(account, gateway_id.hex()) for (gateway_id,) in ids]

    def deleted_gateways(self) -> list[ShardKey]:
        with control_faults():
            rows: list[tuple[str, bytes]] = list(self._db.execute("SELECT account, id FROM deleted_gateways"))
        return [ShardKey(account, gateway_id.hex()) for account, gateway_id in rows]

    def retained_shards(self) -> Sequence[ShardKey]:
        with control_faults():
            version = int(self._db.pragma("data_version")), self._db.total_changes()
            if version != self._retained_version:
                rows: set[tuple[str, bytes]] = {*self._db.execute(DELETE_OLDEST), *self._db.execute(DELETE_AGED)}
                self._retained = [ShardKey(account, gateway_id.hex()) for account, gateway_id in rows]
                self._retained_version = version
        return self._retained

    def pushed_gateways(self, account: str) -> list[Pushed]:
        with control_faults():
            rows: list[tuple[bytes, str, bytes]] = list(self._db.execute(PUSHED, (account,)))
        return [
            Pushed(ShardKey(account, gateway_id.hex()), name, decode_config(config).logpush_public_key)
            for gateway_id, name, config in rows
        ]

    def close(self) -> None:
        self._db.close()

    def _whole(self, row: GatewayRow) -> Gateway:
        gateway = gateway_of(row)
        keyring = keyring_of(self._db, gateway.id, decode_config(row[5]).byok_only)
        return gateway if keyring is None else msgspec.structs.replace(gateway, keyring=keyring)
