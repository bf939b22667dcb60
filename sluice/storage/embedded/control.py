"""Accounts, gateways, tokens and prices in `control.db`: the console writes, everybody reads."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import apsw
import msgspec

from sluice.storage.embedded.control_file import (
    control_faults,
    open_writable,
)
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.control_rows import (
    ACCOUNT,
    GATEWAY,
    TOKEN,
    AccountRow,
    TokenRecordRow,
    account_of,
    decode_config,
    gateway_of,
    token_record_of,
)
from sluice.storage.embedded.provider_keys import EmbeddedProviderKeys
from sluice.storage.embedded.seals import Seals
from sluice.storage.ports import AlreadyThere, Generations, NewToken, NotThere, Slice, TooMany
from sluice.storage.sealing import Vault
from sluice.values.entitlement import Plan
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG, GatewayConfig, GatewayRecord, gateway_as
from sluice.values.ids import wall_ms
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

_PUT_PRICE: Final = "INSERT OR REPLACE INTO prices VALUES (?, ?, ?, ?, ?)"


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
                f"SELECT {ACCOUNT} FROM accounts WHERE id = ?", (account,)
            ).fetchone()
        return account_of(row) if row else None

    def accounts(self, slice: Slice) -> tuple[list[Account], int]:
        with control_faults():
            rows: list[AccountRow] = list(
                self._db.execute(
                    f"SELECT {ACCOUNT} FROM accounts ORDER BY created_ms, id LIMIT ? OFFSET ?",
                    (slice.limit, slice.offset),
                )
            )
        return [account_of(row) for row in rows], self._count("accounts")

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
                    f"SELECT {TOKEN}, name, created_ms FROM tokens WHERE account = ? "
                    "ORDER BY created_ms, id LIMIT ? OFFSET ?",
                    (account, slice.limit, slice.offset),
                )
            )
        return [token_record_of(row) for row in rows], self._count("tokens WHERE account = ?", (account,))

    def create_token(self, new: NewToken) -> tuple[TokenRecord, Secret]:
        with self.changing(new.account):
            self._require(new.account, new.gateway)
            return self._insert_token(new)

    def rotate_token(
        self, account: str, token_id: str, grace_ms: int, vouch: Callable[[Token], None]
    ) -> tuple[TokenRecord, Secret]:
        with self.changing(account):
            record = self._token(account, token_id)
            vouch(record.token)
            text = _new_token_text()
            digest: bytes = self._db.execute("SELECT digest FROM tokens WHERE id = ?", (token_id,)).get
            self._db.execute("UPDATE tokens SET digest = ? WHERE id = ?", (token_digest(text.reveal()), token_id))
            if grace_ms:
                old, ends_ms = record.token, self._clock_ms() + grace_ms
                ends_ms = ends_ms if old.expires_ms is None else min(ends_ms, old.expires_ms)
                old = msgspec.structs.replace(old, id=secrets.token_hex(16), expires_ms=ends_ms)
                self._put_token(digest, TokenRecord(old, f"{record.name} (before its rotation)", record.created_ms))
        return record, text

    def delete_token(self, account: str, token_id: str) -> TokenRecord:
        with self.changing(account):
            record = self._token(account, token_id)
            self._db.execute("DELETE FROM tokens WHERE account = ? AND id = ?", (account, token_id))
        return record

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
                self._db.execute(f"SELECT {GATEWAY}, created_ms, modified_ms FROM gateways WHERE {where}", values)
            )
        for row in rows:
            yield GatewayRecord(gateway_of(row[:7]), decode_config(row[5]), row[7], row[8])

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
        text = _new_token_text()
        token = Token(secrets.token_hex(16), new.account, new.gateway, new.permissions, new.expires_ms)
        record = TokenRecord(token, new.name, self._clock_ms())
        self._put_token(token_digest(text.reveal()), record)
        return record, text

    def _token(self, account: str, token_id: str) -> TokenRecord:
        row: TokenRecordRow | None = self._db.execute(
            f"SELECT {TOKEN}, name, created_ms FROM tokens WHERE account = ? AND id = ?", (account, token_id)
        ).fetchone()
        if row is None:
            raise NotThere(token_id)
        return token_record_of(row)

    def _put_token(self, digest: bytes, record: TokenRecord) -> None:
        token = record.token
        self._db.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest,
                token.id,
                token.account,
                token.gateway,
                record.name,
                ",".join(permission for permission in PERMISSIONS if permission in token.permissions),
                token.expires_ms,
                record.created_ms,
            ),
        )

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


def _new_token_text() -> Secret:
    return Secret(TOKEN_PREFIX + urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="))
