"""Custom providers as they lie in `control.db`: their header fields sealed, which may be keys."""

from collections.abc import Callable
from typing import Final

import apsw
import msgspec

from sluice.storage.sealing import Vault
from sluice.values.custom_config import CustomProviderConfig
from sluice.values.secret import Secret

HAS_SEAL: Final = "json_extract(CAST(config AS TEXT), '$.sealed') NOT NULL"
HAS_CLEAR: Final = "json_extract(CAST(config AS TEXT), '$.headers') > ''"
"""As all were, once."""


class _Seal(msgspec.Struct, frozen=True):
    """What lies beside the fields: `headers` are null where they are sealed."""

    sealed: bytes | None = None


_decode: Final = msgspec.json.Decoder(CustomProviderConfig).decode
_decode_seal: Final = msgspec.json.Decoder(_Seal).decode


def written(config: CustomProviderConfig, place: str, vault: Callable[[], Vault]) -> bytes:
    """Raises StoreFault where there is something to seal and no vault to be had."""
    if not config.headers:
        return msgspec.json.encode(config)
    sealed = vault().seal(Secret(config.headers), place)
    return msgspec.json.encode(msgspec.structs.asdict(config) | {"headers": None, "sealed": sealed})


def read(text: bytes, place: str, vault: Callable[[], Vault]) -> CustomProviderConfig:
    """Raises StoreFault where a seal does not open."""
    config, sealed = _decode(text), _decode_seal(text).sealed
    if sealed is None:
        return config
    return msgspec.structs.replace(config, headers=vault().open(sealed, place).reveal())


def read_without(text: bytes) -> CustomProviderConfig:
    """All but what is sealed."""
    return _decode(text)


def place_of(provider_id: str, account: str) -> str:
    """What a seal is bound to: its row, and whose it is."""
    return f"headers of custom provider {provider_id} of {account}"


def seal_again(db: apsw.Connection, rows: str, old: Vault, new: Vault) -> int:
    """Seals the headers of these rows, clear ones or sealed under the old key; returns how many rows there were."""
    found: list[tuple[str, str, bytes]] = list(
        db.execute(f"SELECT id, account, config FROM custom_providers WHERE {rows}")
    )
    for provider_id, account, text in found:
        place = place_of(provider_id, account)
        config = written(read(text, place, lambda: old), place, lambda: new)
        db.execute("UPDATE custom_providers SET config = ? WHERE id = ?", (config, provider_id))
    return len(found)
