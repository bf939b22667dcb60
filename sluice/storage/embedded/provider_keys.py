"""Provider keys in `control.db`."""

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import apsw

from sluice.storage.embedded.control_file import control_faults
from sluice.storage.ports import NotThere, Slice, TooMany
from sluice.storage.provider_keys import AliasTaken, DefaultTaken, NewProviderKey, ProviderKeyChange, SealedKey
from sluice.storage.sealing import Vault
from sluice.values.credential import KeyLimit, Keyring, ProviderConfig, StoredKey
from sluice.values.secret import Secret

MOST_KEYS: Final = 200
"""In one gateway: all are at hand for each of its requests."""
SHOWN: Final = 4
"""Characters of a key that a list shows, and it lies beside the seal: enough to know it again."""
_LEAST_SHOWN: Final = 20
"""A shorter text shows nothing."""

_COLUMNS: Final = (
    "c.id, g.name, c.provider, c.alias, c.is_default, c.secret_id, c.preview, c.rate_limit, c.rate_limit_period_s,"
    " c.modified_ms FROM provider_configs AS c JOIN gateways AS g ON g.id = c.gateway_id"
)
Row = tuple[str, str, str, str, int, str, str, int | None, int, int]
KeyRow = tuple[str, str, str, int, int, int | None, int]


def keyring_of(db: apsw.Connection, gateway_id: bytes, byok_only: bool) -> Keyring | None:
    """What the request path needs to know; None where there is nothing to know."""
    rows: list[KeyRow] = list(
        db.execute(
            "SELECT id, provider, alias, is_default, version, rate_limit, rate_limit_period_s FROM provider_configs"
            " WHERE gateway_id = ? ORDER BY rowid",
            (gateway_id,),
        )
    )
    return Keyring(tuple(map(_stored, rows)), byok_only) if rows or byok_only else None


def sealed_key(db: apsw.Connection, key_id: str) -> SealedKey | None:
    row: tuple[bytes, bytes, str] | None = db.execute(
        "SELECT sealed, gateway_id, provider FROM provider_configs WHERE id = ?", (key_id,)
    ).fetchone()
    return None if row is None else SealedKey(row[0], _place(key_id, row[1], row[2]))


def move_keys(db: apsw.Connection, vault: Vault, account: str, provider: str, to: str) -> None:
    """Gives an account's keys of one provider to another, within a transaction. Raises StoreFault."""
    rows: list[tuple[str, bytes, bytes]] = list(
        db.execute(
            "SELECT c.id, c.gateway_id, c.sealed FROM provider_configs AS c JOIN gateways AS g ON g.id = c.gateway_id"
            " WHERE g.account = ? AND c.provider = ?",
            (account, provider),
        )
    )
    for key_id, gateway_id, sealed in rows:
        secret = vault.open(sealed, _place(key_id, gateway_id, provider))
        db.execute(
            "UPDATE provider_configs SET provider = ?, sealed = ?, version = version + 1 WHERE id = ?",
            (to, vault.seal(secret, _place(key_id, gateway_id, to)), key_id),
        )


class EmbeddedProviderKeys:
    """ProviderKeyStore over the control store's own connection, for the same thread."""

    def __init__(
        self,
        db: apsw.Connection,
        change: Callable[[str], AbstractContextManager[None]],
        sealer: Callable[[], Vault],
        clock_ms: Callable[[], int],
    ) -> None:
        self._db, self._change, self._sealer, self._clock_ms = db, change, sealer, clock_ms

    def listed(self, account: str, gateway: str, slice: Slice) -> tuple[list[ProviderConfig], int]:
        with control_faults():
            gateway_id = self._gateway_id(account, gateway)
            rows: list[Row] = list(
                self._db.execute(
                    f"SELECT {_COLUMNS} WHERE c.gateway_id = ? ORDER BY c.rowid LIMIT ? OFFSET ?",
                    (gateway_id, slice.limit, slice.offset),
                )
            )
            return [_config(row) for row in rows], self._count(gateway_id)

    def create(self, account: str, gateway: str, new: NewProviderKey) -> ProviderConfig:
        with self._change(account):
            gateway_id = self._gateway_id(account, gateway)
            self._require_room(gateway_id, new)
            key_id, now_ms = secrets.token_hex(16), self._clock_ms()
            self._db.execute(
                "INSERT INTO provider_configs VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
                (
                    key_id,
                    gateway_id,
                    new.provider,
                    new.alias,
                    int(new.is_default),
                    new.secret_id or f"{gateway}_{new.provider}_{new.alias}",  # as the product names it (contract 3.3)
                    self._sealer().seal(new.secret, _place(key_id, gateway_id, new.provider)),
                    preview_of(new.secret),
                    new.rate_limit,
                    new.rate_limit_period_s,
                    now_ms,
                    now_ms,
                ),
            )
            return _config(self._row(gateway_id, key_id))

    def change(self, account: str, gateway: str, key_id: str, change: ProviderKeyChange) -> ProviderConfig:
        with self._change(account):
            gateway_id = self._gateway_id(account, gateway)
            provider = self._row(gateway_id, key_id)[2]
            if change.secret is not None:
                self._rotate(key_id, _place(key_id, gateway_id, provider), change.secret)
            if change.make_default:
                self._db.execute(
                    "UPDATE provider_configs SET is_default = 0 WHERE gateway_id = ? AND provider = ? AND is_default",
                    (gateway_id, provider),
                )
                self._db.execute("UPDATE provider_configs SET is_default = 1 WHERE id = ?", (key_id,))
            self._db.execute("UPDATE provider_configs SET modified_ms = ? WHERE id = ?", (self._clock_ms(), key_id))
            return _config(self._row(gateway_id, key_id))

    def delete(self, account: str, gateway: str, key_id: str) -> ProviderConfig:
        with self._change(account):
            found = self._row(self._gateway_id(account, gateway), key_id)
            self._db.execute("DELETE FROM provider_configs WHERE id = ?", (key_id,))
            return _config(found)

    def _rotate(self, key_id: str, place: str, secret: Secret) -> None:
        self._db.execute(
            "UPDATE provider_configs SET sealed = ?, preview = ?, version = version + 1 WHERE id = ?",
            (self._sealer().seal(secret, place), preview_of(secret), key_id),
        )

    def _gateway_id(self, account: str, gateway: str) -> bytes:
        row: tuple[bytes] | None = self._db.execute(
            "SELECT id FROM gateways WHERE account = ? AND name = ?", (account, gateway)
        ).fetchone()
        if row is None:
            raise NotThere(gateway)
        return row[0]

    def _row(self, gateway_id: bytes, key_id: str) -> Row:
        row: Row | None = self._db.execute(
            f"SELECT {_COLUMNS} WHERE c.gateway_id = ? AND c.id = ?", (gateway_id, key_id)
        ).fetchone()
        if row is None:
            raise NotThere(key_id)
        return row

    def _require_room(self, gateway_id: bytes, new: NewProviderKey) -> None:
        if self._count(gateway_id) >= MOST_KEYS:
            raise TooMany(MOST_KEYS)
        rows: list[tuple[str, int]] = list(
            self._db.execute(
                "SELECT alias, is_default FROM provider_configs WHERE gateway_id = ? AND provider = ?",
                (gateway_id, new.provider),
            )
        )
        for alias, is_default in rows:
            if alias == new.alias:
                raise AliasTaken(alias)
            if is_default and new.is_default:
                raise DefaultTaken(alias)

    def _count(self, gateway_id: bytes) -> int:
        (count,) = next(self._db.execute("SELECT count(*) FROM provider_configs WHERE gateway_id = ?", (gateway_id,)))
        return int(count)


def preview_of(secret: Secret) -> str:
    """Stars, and the last characters of a text that is long enough and no JSON document."""
    text = secret.reveal()
    return "****" + (text[-SHOWN:] if len(text) >= _LEAST_SHOWN and text[-1] != "}" else "")


def _place(key_id: str, gateway_id: bytes, provider: str) -> str:
    """What a seal is bound to: its row, whose it is, and which provider gets to see it."""
    return f"provider key {key_id} of {gateway_id.hex()} for {provider}"


def _stored(row: KeyRow) -> StoredKey:
    key_id, provider, alias, is_default, version, rate_limit, period_s = row
    limit = None if rate_limit is None else KeyLimit(key_id, rate_limit, period_s)
    return StoredKey(key_id, provider, alias, bool(is_default), version, limit)


def _config(row: Row) -> ProviderConfig:
    key_id, gateway, provider, alias, is_default, secret_id, preview, rate_limit, period_s, modified_ms = row
    return ProviderConfig(
        key_id, gateway, provider, alias, bool(is_default), secret_id, preview, rate_limit, period_s, modified_ms
    )
