"""Stored keys at hand, opened: a bounded memory in front of the control store and the vault."""

import asyncio
from typing import Final

from sluice.metrics import Metrics
from sluice.storage.provider_keys import ProviderKeyReader
from sluice.storage.sealing import Vault
from sluice.values.credential import Credential, StoredKey

MOST_OPENED: Final = 4096
"""Of 16 KB each at the most, and of 100 bytes mostly."""


class OpenedKeys:
    """Opens stored keys, and remembers them by id and version, so that one that was rotated is opened anew."""

    def __init__(self, control: ProviderKeyReader, vault: Vault, metrics: Metrics) -> None:
        self._control, self._vault = control, vault
        self._opened: dict[tuple[str, int], Credential] = {}
        self._openings = metrics.counter("sluice_provider_keys_opened_total", "Stored provider keys opened.")
        self._held = metrics.gauge("sluice_provider_keys_held", "Stored provider keys at hand, opened.")

    def known(self, key: StoredKey) -> Credential | None:
        return self._opened.get((key.id, key.version))

    async def open(self, key: StoredKey) -> Credential | None:
        """None where it was deleted a moment ago. Raises StoreFault where its seal does not open."""
        if not self._vault.is_warm:
            await asyncio.to_thread(self._vault.warm_up)
        found = self._control.sealed_key(key.id)
        if found is None:
            return None
        credential = Credential(key.provider, key.id, self._vault.open(found.sealed, found.place), key.limit)
        self._keep(key, credential)
        return credential

    def _keep(self, key: StoredKey, credential: Credential) -> None:
        self._openings.add()
        self._opened.pop((key.id, key.version - 1), None)
        if len(self._opened) >= MOST_OPENED:
            del self._opened[next(iter(self._opened))]
        self._opened[key.id, key.version] = credential
        self._held.set(len(self._opened))
