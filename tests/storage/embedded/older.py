"""control.db as an earlier version of Sluice left it."""

from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

_ADDED: Final = {
    2: ("DROP INDEX accounts_that_delete_aged", "ALTER TABLE accounts DROP COLUMN own"),
    3: ("DROP TABLE provider_configs", "DELETE FROM editions WHERE what = 'master key'"),
    4: ("DROP TABLE custom_costs", "DROP TABLE custom_providers"),
    5: ("ALTER TABLE gateways DROP COLUMN cache_epoch",),
}
"""What takes away again what an edition has added."""


def make_older(path: Path, edition: int) -> None:
    with closing(apsw.Connection(str(path))) as db:
        for added, statements in sorted(_ADDED.items(), reverse=True):
            for statement in statements if added > edition else ():
                db.execute(statement)
        db.pragma("user_version", edition)
