"""Under which master key provider keys and headers of custom providers are sealed in `control.db`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Final

import apsw

from sluice.storage.embedded.control_file import control_faults
from sluice.storage.embedded.open import BUSY_MS
from sluice.storage.embedded.provider_keys import sealed_key
from sluice.storage.embedded.sealed_headers import HAS_CLEAR, HAS_SEAL, seal_again
from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY, Vault

_WHAT: Final = "master key"
_WRONG: Final = (
    "master.key is not the key that the stored provider keys were sealed under: put that file back, or delete them with"
    " `sluice provider-key delete`, and custom providers with headers with `sluice custom-provider delete`, and store"
    " them anew"
)
_ANY: Final = f"SELECT 1 FROM provider_configs UNION ALL SELECT 1 FROM custom_providers WHERE {HAS_SEAL} LIMIT 1"


def seal_problem(data: Path) -> str:
    """Why what is sealed in a data folder cannot be opened; empty where it can, or where `control.db` cannot be read.

    Every stored provider key is opened, and forgotten.
    """
    try:
        with closing(apsw.Connection(str(data / "control.db"), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(BUSY_MS)
            seals = Seals(db, nullcontext)
            return seals.problem(data) if seals.there_are else ""
    except (apsw.Error, StoreFault):
        return ""


class Seals:
    """All seals of the control store, over its own connection."""

    def __init__(self, db: apsw.Connection, transaction: Callable[[], AbstractContextManager[None]]) -> None:
        self._db, self._transaction = db, transaction

    @property
    def there_are(self) -> bool:
        """Whether anything is sealed: a provider key, or headers of a custom provider."""
        with control_faults():
            return self._db.execute(_ANY).fetchone() is not None

    def are_under(self, vault: Vault) -> bool:
        """Whether its master key is the one in use."""
        with control_faults():
            row: tuple[str] | None = self._db.execute(
                "SELECT edition FROM editions WHERE what = ?", (_WHAT,)
            ).fetchone()
        return row is not None and row[0] == vault.check

    def problem(self, data: Path) -> str:
        """What `seal_problem` tells, where there are seals. Raises apsw.Error."""
        try:
            vault = Vault.of(data)
        except StoreFault as error:
            return str(error).removeprefix(f"{data / MASTER_KEY} ")
        if not self.are_under(vault):
            return "is not the key that the stored provider keys were sealed under"
        ids: list[tuple[str]] = list(self._db.execute("SELECT id FROM provider_configs"))
        shut = [key_id for (key_id,) in ids if not self._opens(vault, key_id)]
        return f"does not open {len(shut)} of {len(ids)} provider keys, as that of id {shut[0]}" if shut else ""

    def _opens(self, vault: Vault, key_id: str) -> bool:
        try:
            if found := sealed_key(self._db, key_id):
                vault.open(found.sealed, found.place)
        except StoreFault:
            return False
        return True

    def confirm(self, vault: Vault) -> Vault:
        """The same vault, whose master key is in use from now on. Raises StoreFault where seals are under another."""
        if not self.are_under(vault):
            if self.there_are:
                raise StoreFault(_WRONG)
            self._use(vault)
        return vault

    def renew(self, old: Vault, new: Vault) -> int:
        """Seals everything under another master key, in one transaction; returns how many seals there are."""
        self.confirm(old)
        with self._transaction():
            ids: list[tuple[str]] = list(self._db.execute("SELECT id FROM provider_configs"))
            for (key_id,) in ids:
                found = sealed_key(self._db, key_id)
                assert found is not None
                sealed = new.seal(old.open(found.sealed, found.place), found.place)
                self._db.execute("UPDATE provider_configs SET sealed = ? WHERE id = ?", (sealed, key_id))
            count = len(ids) + seal_again(self._db, f"{HAS_SEAL} OR {HAS_CLEAR}", old, new)
            self._use(new)
        self._leave_no_page()  # with a seal under the old one
        return count

    def cover(self, vault: Vault) -> None:
        """Seals headers of custom providers that an earlier version has left in clear."""
        with self._transaction():
            count = seal_again(self._db, HAS_CLEAR, vault, vault)
        if count:
            self._leave_no_page()

    def _leave_no_page(self) -> None:
        """Neither the file nor its log keeps what was overwritten."""
        with control_faults():
            self._db.execute("VACUUM")
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _use(self, vault: Vault) -> None:
        with control_faults():
            self._db.execute("INSERT OR REPLACE INTO editions VALUES (?, ?)", (_WHAT, vault.check))
