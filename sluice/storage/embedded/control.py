"""Accounts, gateways, tokens and prices in `control.db`: the console writes, everybody reads."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    open_writable,
)
from sluice.storage.embedded.provider_keys import EmbeddedProviderKeys, keyring_of, sealed_key
from sluice.storage.embedded.seals import Seals
from sluice.storage.ports import AlreadyThere, Generations, NewToken, NotThere, Slice, TooMany
from sluice.storage.provider_keys import SealedKey
from sluice.storage.push_progress import Pushed
from sluice.storage.sealing import Vault
from sluice.values.entitlement import OwnEntitlement, Plan, Quota, quota_of
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG, GatewayConfig, GatewayRecord, gateway_as
from sluice.values.ids import wall_ms
from sluice.values.log import ShardKey
from sluice.values.rates import Rates
from sluice.values.secret import Secret
from sluice.values.tenancy import (
    DEFAULT_GATEWAY,
    PERMISSIONS,
    TOKEN_PREFIX,
    Account,
    Gateway,
    Token,
    TokenRecord,
    token_digest,
)

FIRST_ACCOUNT: Final = "local"
ASKED_PRICES: Final = 10_000
"""How many models beside the price list's own names are remembered: theirs come from clients."""

_READ_BUSY_MS: Final = 100
"""A reader waits only while a log left by a killed writer is recovered."""

_GATEWAY: Final = "id, account, name, authentication, collect_logs, config, cache_epoch"
_ACCOUNT: Final = "accounts.id, accounts.plan, accounts.created_ms, accounts.own"
_TOKEN: Final = "id, account, gateway, permissions, expires_ms"
ABSENT: Final = Rates(None, None)
"""The rates of a model that the price list does not know."""

_PUT_PRICE: Final = "INSERT OR REPLACE INTO prices VALUES (?, ?, ?, ?, ?)"
_decode_rates = msgspec.json.Decoder(Rates).decode
_decode_config = msgspec.json.Decoder(GatewayConfig).decode
_decode_own = msgspec.json.Decoder(OwnEntitlement).decode
AccountRow = tuple[str, Plan, int, bytes]
GatewayRow = tuple[bytes, str, str, int, int, bytes, int]
TokenRow = tuple[str, str, str | None, str, int | None]
TokenRecordRow = tuple[str, str, str | None, str, int | None, str, int]


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
                f"SELECT {_GATEWAY} FROM gateways WHERE account = ? AND name = ?", (account, name)
            ).fetchone()
            return self._whole(row) if row else None

    def gateway_by_id(self, gateway_id: bytes) -> Gateway | None:
        with control_faults():
            row: GatewayRow | None = self._db.execute(
                f"SELECT {_GATEWAY} FROM gateways WHERE id = ?", (gateway_id,)
            ).fetchone()
            return self._whole(row) if row else None

    def token(self, digest: bytes) -> Token | None:
        with control_faults():
            row: TokenRow | None = self._db.execute(
                f"SELECT {_TOKEN} FROM tokens WHERE digest = ?", (digest,)
            ).fetchone()
        return _token(row) if row else None

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
        return ABSENT if row[0] is None else _decode_rates(row[0])

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
                f"SELECT {_ACCOUNT}, gateways.config FROM gateways JOIN accounts ON accounts.id = account"
                " WHERE gateways.id = ?",
                (gateway_id,),
            ).fetchone()
        if row is None:
            return None
        config = _decode_config(row[4])
        oldest = config.log_management_strategy == "DELETE_OLDEST"
        return quota_of(_account(row[:4]).entitlement, config.log_management, oldest)

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
            Pushed(ShardKey(account, gateway_id.hex()), name, _decode_config(config).logpush_public_key)
            for gateway_id, name, config in rows
        ]

    def close(self) -> None:
        self._db.close()

    def _whole(self, row: GatewayRow) -> Gateway:
        gateway = _gateway(row)
        keyring = keyring_of(self._db, gateway.id, _decode_config(row[5]).byok_only)
        return gateway if keyring is None else msgspec.structs.replace(gateway, keyring=keyring)


class EmbeddedControlStore(EmbeddedControlReader):
    """ControlStore over the same file. For one thread at a time."""

    def __init__(self, db: apsw.Connection, generations: Generations, clock_ms: Callable[[], int]) -> None:
        super().__init__(db)
        self._generations = generations
        self._clock_ms = clock_ms

    @classmethod
    def open_for_writing(cls, path: Path, generations: Generations, clock_ms: Callable[[], int] = wall_ms) -> Self:
        """Opens the database, which is made if it is missing."""
        with control_faults():
            db = open_writable(path)
        return cls(db, generations, clock_ms)

    @property
    def seals(self) -> Seals:
        """Those of all provider keys."""
        return Seals(self._db, self._transaction)

    def provider_keys(self, vault: Callable[[], Vault]) -> EmbeddedProviderKeys:
        """The store of provider keys beside this one; the vault is opened whenever something is to be sealed."""
        return EmbeddedProviderKeys(self._db, self.changing, lambda: self.seals.confirm(vault()), self._clock_ms)

    def account(self, account: str) -> Account | None:
        with control_faults():
            row: AccountRow | None = self._db.execute(
                f"SELECT {_ACCOUNT} FROM accounts WHERE id = ?", (account,)
            ).fetchone()
        return _account(row) if row else None

    def accounts(self, slice: Slice) -> tuple[list[Account], int]:
        with control_faults():
            rows: list[AccountRow] = list(
                self._db.execute(
                    f"SELECT {_ACCOUNT} FROM accounts ORDER BY created_ms, id LIMIT ? OFFSET ?",
                    (slice.limit, slice.offset),
                )
            )
        return [_account(row) for row in rows], self._count("accounts")

    def create_account(self, account: str, plan: Plan) -> Account:
        with self.changing(account):
            if self.account_exists(account):
                raise AlreadyThere(account)
            return self._insert_account(account, plan)

    def change_account(self, account: str, change: Callable[[Account], Account]) -> Account:
        with self.changing(account):
            if (found := self.account(account)) is None:
                raise NotThere(account)
            changed = change(found)
            self._db.execute(
                "UPDATE accounts SET plan = ?, own = ? WHERE id = ?",
                (changed.plan, msgspec.json.encode(changed.own), account),
            )
        return changed

    def delete_account(self, account: str) -> Account:
        with self.changing(account):
            if (found := self.account(account)) is None:
                raise NotThere(account)
            self._db.execute(
                "INSERT INTO deleted_gateways SELECT id, account, ? FROM gateways WHERE account = ?",
                (self._clock_ms(), account),
            )
            self._db.execute("DELETE FROM accounts WHERE id = ?", (account,))
        return found

    def gateway_record(self, account: str, name: str) -> GatewayRecord | None:
        return next(self._gateway_records("account = ? AND name = ?", (account, name)), None)

    def gateways(self, account: str, slice: Slice, search: str = "") -> tuple[list[GatewayRecord], int]:
        where, values = "account = ? AND instr(lower(name), lower(?)) > 0", (account, search)
        page = f"{where} ORDER BY created_ms, name LIMIT ? OFFSET ?"
        records = list(self._gateway_records(page, (*values, slice.limit, slice.offset)))
        return records, self._count(f"gateways WHERE {where}", values)

    def create_gateway(self, account: str, name: str, config: GatewayConfig) -> GatewayRecord:
        with self.changing(account):
            if self.gateway(account, name) is not None:
                raise AlreadyThere(name)
            self._require_room(account)
            return self._insert_gateway(account, name, config)

    def change_gateway(
        self, account: str, name: str, change: Callable[[GatewayConfig], GatewayConfig]
    ) -> GatewayRecord:
        with self.changing(account):
            if (found := self.gateway_record(account, name)) is None:
                raise NotThere(name)
            config, modified_ms = change(found.config), max(self._clock_ms(), found.modified_ms)
            gateway = gateway_as(config, found.gateway)
            if config.cache_invalidate_on_update:
                gateway = msgspec.structs.replace(gateway, cache_epoch=gateway.cache_epoch + 1)
            self._db.execute(
                "UPDATE gateways SET authentication = ?, collect_logs = ?, config = ?, modified_ms = ?,"
                " cache_epoch = ? WHERE id = ?",
                (
                    int(gateway.authentication),
                    int(gateway.collect_logs),
                    msgspec.json.encode(config),
                    modified_ms,
                    gateway.cache_epoch,
                    gateway.id,
                ),
            )
        return GatewayRecord(gateway, config, found.created_ms, modified_ms)

    def clear_cache(self, account: str, name: str | None) -> int:
        which, values = ("account = ?", (account,)) if name is None else ("account = ? AND name = ?", (account, name))
        with self.changing(account):
            self._db.execute(f"UPDATE gateways SET cache_epoch = cache_epoch + 1 WHERE {which}", values)
            cleared = int(self._db.changes())
            if name is not None and not cleared:
                raise NotThere(name)
        return cleared

    def delete_gateway(self, account: str, name: str) -> GatewayRecord:
        with self.changing(account):
            if (found := self.gateway_record(account, name)) is None:
                raise NotThere(name)
            gateway_id = found.gateway.id
            self._db.execute("INSERT INTO deleted_gateways VALUES (?, ?, ?)", (gateway_id, account, self._clock_ms()))
            self._db.execute("DELETE FROM gateways WHERE id = ?", (gateway_id,))
        return found

    def ensure_default(self, account: str) -> GatewayRecord:
        if found := self.gateway_record(account, DEFAULT_GATEWAY):
            return found
        with self.changing(account):
            return self._insert_gateway(account, DEFAULT_GATEWAY, DEFAULT_GATEWAY_CONFIG)

    def tokens(self, account: str, slice: Slice) -> tuple[list[TokenRecord], int]:
        with control_faults():
            rows: list[TokenRecordRow] = list(
                self._db.execute(
                    f"SELECT {_TOKEN}, name, created_ms FROM tokens WHERE account = ? "
                    "ORDER BY created_ms, id LIMIT ? OFFSET ?",
                    (account, slice.limit, slice.offset),
                )
            )
        return [_token_record(row) for row in rows], self._count("tokens WHERE account = ?", (account,))

    def create_token(self, new: NewToken) -> tuple[TokenRecord, Secret]:
        with self.changing(new.account):
            self._require(new.account, new.gateway)
            return self._insert_token(new)

    def delete_token(self, account: str, token_id: str) -> TokenRecord:
        with self.changing(account):
            row: TokenRecordRow | None = self._db.execute(
                f"SELECT {_TOKEN}, name, created_ms FROM tokens WHERE account = ? AND id = ?", (account, token_id)
            ).fetchone()
            if row is None:
                raise NotThere(token_id)
            self._db.execute("DELETE FROM tokens WHERE account = ? AND id = ?", (account, token_id))
        return _token_record(row)

    def first_start(self) -> Secret | None:
        """Makes the account `local`, its gateway and the text of a token for everything; None ever after."""
        with self.changing(FIRST_ACCOUNT):
            if self._db.execute("SELECT 1 FROM editions WHERE what = 'first start'").fetchone():
                return None
            self._db.execute("INSERT INTO editions VALUES ('first start', '1')")
            self._insert_account(FIRST_ACCOUNT, "unlimited")
            self._insert_gateway(FIRST_ACCOUNT, DEFAULT_GATEWAY, DEFAULT_GATEWAY_CONFIG)
            return self._insert_token(NewToken(FIRST_ACCOUNT, frozenset(PERMISSIONS), name="admin"))[1]

    def asked_prices(self) -> list[tuple[str, str]]:
        with control_faults():
            return list(self._db.execute("SELECT provider, model FROM prices WHERE NOT listed"))

    def load_prices(
        self, version: str, listed: Iterable[tuple[str, str, Rates]], asked: Iterable[tuple[str, str, Rates | None]]
    ) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM prices WHERE listed")
            self._db.executemany(_PUT_PRICE, (self._price(row, listed=False) for row in asked))
            self._db.executemany(_PUT_PRICE, (self._price(row, listed=True) for row in listed))
            self._db.execute("INSERT OR REPLACE INTO editions VALUES ('prices', ?)", (version,))

    def put_rates(self, asked: Iterable[tuple[str, str, Rates | None]]) -> None:
        with self._transaction():
            self._db.executemany(_PUT_PRICE, (self._price(row, listed=False) for row in asked))
            self._db.execute(
                "DELETE FROM prices WHERE rowid IN"
                " (SELECT rowid FROM prices WHERE NOT listed ORDER BY resolved_ms DESC LIMIT -1 OFFSET ?)",
                (ASKED_PRICES,),
            )

    @contextmanager
    def changing(self, account: str) -> Iterator[None]:
        """A transaction, and after it the bump: even of one that failed, for a commit that fails may have happened."""
        try:
            with self._transaction():
                yield
        finally:
            self._generations.bump(account)

    def _price(self, row: tuple[str, str, Rates | None], *, listed: bool) -> tuple[str, str, bytes | None, int, int]:
        provider, model, rates = row
        return provider, model, None if rates is None else msgspec.json.encode(rates), int(listed), self._clock_ms()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with control_faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # some faults, as a full disk, have rolled back already
                    self._db.execute("ROLLBACK")
                raise

    def _count(self, rows: str, values: tuple[str, ...] = ()) -> int:
        with control_faults():
            (count,) = next(self._db.execute(f"SELECT count(*) FROM {rows}", values))
        return int(count)

    def _gateway_records(self, where: str, values: tuple[str | int, ...]) -> Iterator[GatewayRecord]:
        with control_faults():
            rows: list[tuple[bytes, str, str, int, int, bytes, int, int, int]] = list(
                self._db.execute(f"SELECT {_GATEWAY}, created_ms, modified_ms FROM gateways WHERE {where}", values)
            )
        for row in rows:
            yield GatewayRecord(_gateway(row[:7]), _decode_config(row[5]), row[7], row[8])

    def _insert_account(self, account: str, plan: Plan) -> Account:
        made = Account(account, plan, self._clock_ms())
        self._db.execute(
            "INSERT INTO accounts (id, plan, created_ms) VALUES (?, ?, ?)", (made.id, made.plan, made.created_ms)
        )
        return made

    def _insert_gateway(self, account: str, name: str, config: GatewayConfig) -> GatewayRecord:
        self._require(account, None)
        now_ms = self._clock_ms()
        gateway = gateway_as(config, Gateway(secrets.token_bytes(16), account, name, False, False))
        self._db.execute(
            "INSERT INTO gateways (id, account, name, authentication, collect_logs, config, created_ms, modified_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                gateway.id,
                account,
                name,
                int(gateway.authentication),
                int(gateway.collect_logs),
                msgspec.json.encode(config),
                now_ms,
                now_ms,
            ),
        )
        return GatewayRecord(gateway, config, now_ms, now_ms)

    def _insert_token(self, new: NewToken) -> tuple[TokenRecord, Secret]:
        text = Secret(TOKEN_PREFIX + urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="))
        token = Token(secrets.token_hex(16), new.account, new.gateway, new.permissions, new.expires_ms)
        record = TokenRecord(token, new.name, self._clock_ms())
        self._db.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                token_digest(text.reveal()),
                token.id,
                token.account,
                token.gateway,
                record.name,
                ",".join(permission for permission in PERMISSIONS if permission in token.permissions),
                token.expires_ms,
                record.created_ms,
            ),
        )
        return record, text

    def _require_room(self, account: str) -> None:
        """`default` is made when it is needed, whatever else there is; it counts like any other."""
        found = self.account(account)
        most = None if found is None else found.entitlement.gateways
        if most is not None and self._count("gateways WHERE account = ?", (account,)) >= most:
            raise TooMany(most)

    def _require(self, account: str, gateway: str | None) -> None:
        if not self.account_exists(account):
            raise NotThere(account)
        if gateway is not None and self.gateway(account, gateway) is None:
            raise NotThere(gateway)


def _account(row: AccountRow) -> Account:
    account, plan, created_ms, own = row
    return Account(account, plan, created_ms, _decode_own(own))


def _gateway(row: GatewayRow) -> Gateway:
    gateway_id, account, name, _, _, config, cache_epoch = row
    return gateway_as(_decode_config(config), Gateway(gateway_id, account, name, False, False, cache_epoch=cache_epoch))


def _token(row: TokenRow) -> Token:
    token_id, account, gateway, permissions, expires_ms = row
    held = permissions.split(",")
    return Token(token_id, account, gateway, frozenset(p for p in PERMISSIONS if p in held), expires_ms)


def _token_record(row: TokenRecordRow) -> TokenRecord:
    return TokenRecord(_token(row[:5]), row[5], row[6])
