"""Custom providers and their prices in `control.db`."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import apsw
import msgspec

from sluice.storage.custom_ports import UnknownProvider
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_file import control_faults
from sluice.storage.embedded.provider_keys import move_keys
from sluice.storage.embedded.sealed_headers import HAS_SEAL, place_of, read, read_without, written
from sluice.storage.ports import AlreadyThere, NotThere, StoreFault, TooMany
from sluice.storage.sealing import Vault
from sluice.values.custom_config import (
    MOST_COSTS,
    MOST_PROVIDERS,
    CustomCostConfig,
    CustomCostRecord,
    CustomProviderConfig,
    CustomProviderRecord,
)
from sluice.values.custom_provider import PREFIX, CustomProvider, parse_headers
from sluice.values.ids import wall_ms

_FIELDS: Final = "id, config, created_ms, modified_ms"
_DELETE_KEYS: Final = (
    "DELETE FROM provider_configs WHERE provider = ? AND gateway_id IN (SELECT id FROM gateways WHERE account = ?)"
)
"""Whoever takes the slug next is somebody else."""
Row = tuple[str, bytes, int, int]
_decode_cost: Final = msgspec.json.Decoder(CustomCostConfig).decode


def no_vault() -> Vault:
    """For those who read prices alone."""
    raise StoreFault("Headers of custom providers are not read here")


class EmbeddedCustomProviderReader:
    """CustomProviderReader over a connection that others use too, on the same thread. A look-up takes about 10 µs."""

    def __init__(self, db: apsw.Connection, vault: Callable[[], Vault] = no_vault) -> None:
        self._db, self._vault = db, vault

    def warm_up(self) -> None:
        """Has the vault ready where headers are sealed by now, so that no look-up waits for its library."""
        with control_faults():
            row = self._db.execute(f"SELECT 1 FROM custom_providers WHERE {HAS_SEAL} LIMIT 1").fetchone()
        if row is not None:
            self._vault().warm_up()

    def enabled(self, account: str, name: str) -> CustomProvider | None:
        with control_faults():
            row: tuple[str, bytes] | None = self._db.execute(
                "SELECT id, config FROM custom_providers WHERE account = ? AND slug = ?",
                (account, name[len(PREFIX) :]),
            ).fetchone()
        if row is None:
            return None
        if not read_without(row[1]).enable:
            return None
        config = read(row[1], place_of(row[0], account), self._vault)
        headers = parse_headers(config.headers) if config.headers else ()
        return CustomProvider(row[0], name, config.base_url, headers)

    def prices(self, account: str, name: str) -> Sequence[CustomCostConfig]:
        with control_faults():
            rows: list[tuple[bytes]] = list(
                self._db.execute(
                    "SELECT costs.config FROM custom_costs AS costs JOIN custom_providers AS providers"
                    " ON providers.id = costs.provider WHERE providers.account = ? AND slug = ?"
                    " ORDER BY costs.created_ms DESC, costs.rowid DESC",
                    (account, name[len(PREFIX) :]),
                )
            )
        return [cost for (config,) in rows if (cost := _decode_cost(config)).enable]

    def exact_models(self, account: str) -> list[tuple[str, str]]:
        with control_faults():
            rows: list[tuple[str, bytes]] = list(
                self._db.execute(
                    "SELECT lower(slug), costs.config FROM custom_costs AS costs JOIN custom_providers AS providers"
                    " ON providers.id = costs.provider"
                    " WHERE providers.account = ? AND json_extract(CAST(providers.config AS TEXT), '$.enable')",
                    (account,),
                )
            )
        costs = [(PREFIX + slug, _decode_cost(config)) for slug, config in rows]
        return sorted({(name, cost.model) for name, cost in costs if cost.enable and cost.model_rule == "equals"})


class EmbeddedCustomProviderStore(EmbeddedCustomProviderReader):
    """CustomProviderStore beside the control store, and on its thread."""

    def __init__(
        self, control: EmbeddedControlStore, vault: Callable[[], Vault], clock_ms: Callable[[], int] = wall_ms
    ) -> None:
        super().__init__(control.db, lambda: control.seals.confirm(vault()))
        self._control, self._clock_ms = control, clock_ms

    def providers(self, account: str) -> list[CustomProviderRecord]:
        return [self._shown(account, row) for row in self._rows("custom_providers", account)]

    def provider(self, account: str, provider_id: str) -> CustomProviderRecord | None:
        row = self._row("custom_providers", account, provider_id)
        return None if row is None else self._shown(account, row)

    def create_provider(self, account: str, config: CustomProviderConfig) -> CustomProviderRecord:
        now_ms = self._clock_ms()
        record = CustomProviderRecord(secrets.token_hex(16), config, now_ms, now_ms)
        with self._control.changing(account):
            if not self._control.account_exists(account):
                raise NotThere(account)
            self._require_room("custom_providers", account, MOST_PROVIDERS)
            with _unique(config.slug):
                self._db.execute(
                    "INSERT INTO custom_providers VALUES (?, ?, ?, ?, ?, ?)",
                    (record.id, account, config.slug, self._written(account, record.id, config), now_ms, now_ms),
                )
        return record

    def change_provider(
        self, account: str, provider_id: str, change: Callable[[CustomProviderConfig], CustomProviderConfig]
    ) -> CustomProviderRecord:
        with self._control.changing(account):
            row = self._require("custom_providers", account, provider_id)
            found = _provider(row, read(row[1], place_of(provider_id, account), self._vault))
            config, modified_ms = change(found.config), max(self._clock_ms(), found.modified_ms)
            self._move_keys(account, found.config.slug.lower(), config.slug.lower())
            with _unique(config.slug):
                self._db.execute(
                    "UPDATE custom_providers SET slug = ?, config = ?, modified_ms = ? WHERE id = ?",
                    (config.slug, self._written(account, provider_id, config), modified_ms, provider_id),
                )
            self._clear_caches(account)
        return CustomProviderRecord(found.id, config, found.created_ms, modified_ms)

    def delete_provider(self, account: str, provider_id: str) -> CustomProviderRecord:
        with self._control.changing(account):
            found = self._shown(account, self._require("custom_providers", account, provider_id))
            self._db.execute("DELETE FROM custom_providers WHERE id = ?", (provider_id,))
            self._db.execute(_DELETE_KEYS, (PREFIX + found.config.slug.lower(), account))
            self._clear_caches(account)
        return found

    def _move_keys(self, account: str, slug: str, to: str) -> None:
        """Stored keys go with their provider, sealed anew for its new name."""
        if slug == to:
            return
        self._db.execute(_DELETE_KEYS, (PREFIX + to, account))  # of another that had the name once
        move_keys(self._db, self._vault(), account, PREFIX + slug, PREFIX + to)

    def costs(self, account: str) -> list[CustomCostRecord]:
        return [_cost(row) for row in self._rows("custom_costs", account)]

    def cost(self, account: str, cost_id: str) -> CustomCostRecord | None:
        row = self._row("custom_costs", account, cost_id)
        return None if row is None else _cost(row)

    def create_cost(self, account: str, config: CustomCostConfig) -> CustomCostRecord:
        now_ms = self._clock_ms()
        record = CustomCostRecord(secrets.token_hex(16), config, now_ms, now_ms)
        with self._control.changing(account):
            self._require_provider(account, config)
            self._require_room("custom_costs", account, MOST_COSTS)
            self._db.execute(
                "INSERT INTO custom_costs VALUES (?, ?, ?, ?, ?, ?)",
                (record.id, account, config.account_provider_id, msgspec.json.encode(config), now_ms, now_ms),
            )
        return record

    def change_cost(
        self, account: str, cost_id: str, change: Callable[[CustomCostConfig], CustomCostConfig]
    ) -> CustomCostRecord:
        with self._control.changing(account):
            found = _cost(self._require("custom_costs", account, cost_id))
            config, modified_ms = change(found.config), max(self._clock_ms(), found.modified_ms)
            self._require_provider(account, config)
            self._db.execute(
                "UPDATE custom_costs SET provider = ?, config = ?, modified_ms = ? WHERE id = ?",
                (config.account_provider_id, msgspec.json.encode(config), modified_ms, cost_id),
            )
        return CustomCostRecord(found.id, config, found.created_ms, modified_ms)

    def delete_cost(self, account: str, cost_id: str) -> CustomCostRecord:
        with self._control.changing(account):
            found = _cost(self._require("custom_costs", account, cost_id))
            self._db.execute("DELETE FROM custom_costs WHERE id = ?", (cost_id,))
        return found

    def _written(self, account: str, provider_id: str, config: CustomProviderConfig) -> bytes:
        return written(config, place_of(provider_id, account), self._vault)

    def _shown(self, account: str, row: Row) -> CustomProviderRecord:
        """Without its headers where the master key is lost: it can still be found, and deleted."""
        try:
            return _provider(row, read(row[1], place_of(row[0], account), self._vault))
        except StoreFault:
            return _provider(row, read_without(row[1]))

    def _clear_caches(self, account: str) -> None:
        """No gateway of the account is to give what a provider said before it changed; others' replies go with it."""
        self._db.execute("UPDATE gateways SET cache_epoch = cache_epoch + 1 WHERE account = ?", (account,))

    def _rows(self, table: str, account: str) -> list[Row]:
        with control_faults():
            return list(
                self._db.execute(f"SELECT {_FIELDS} FROM {table} WHERE account = ? ORDER BY created_ms, id", (account,))
            )

    def _row(self, table: str, account: str, row_id: str) -> Row | None:
        with control_faults():
            row: Row | None = self._db.execute(
                f"SELECT {_FIELDS} FROM {table} WHERE account = ? AND id = ?", (account, row_id)
            ).fetchone()
        return row

    def _require(self, table: str, account: str, row_id: str) -> Row:
        row = self._row(table, account, row_id)
        if row is None:
            raise NotThere(row_id)
        return row

    def _require_provider(self, account: str, config: CustomCostConfig) -> None:
        if self._row("custom_providers", account, config.account_provider_id) is None:
            raise UnknownProvider(config.account_provider_id)

    def _require_room(self, table: str, account: str, most: int) -> None:
        if len(self._rows(table, account)) >= most:
            raise TooMany(most)


@contextmanager
def _unique(slug: str) -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        raise AlreadyThere(slug) from error


def _provider(row: Row, config: CustomProviderConfig) -> CustomProviderRecord:
    return CustomProviderRecord(row[0], config, row[2], row[3])


def _cost(row: Row) -> CustomCostRecord:
    return CustomCostRecord(row[0], _decode_cost(row[1]), row[2], row[3])
