"""Changes to the rows of one segment, within the caller's transaction: fields set anew, and logs deleted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import apsw
from msgspec import UNSET, UnsetType

from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.packs import FILLING, REMOVED
from sluice.storage.embedded.rows import METADATA_KEY, NameId, metadata_of, metadata_text, terms_of, value_terms
from sluice.storage.embedded.value_counts import drop_counts
from sluice.values.command import Change
from sluice.values.ids import number_of
from sluice.values.log import Scalar

_FIND: Final = (
    "SELECT k, meta, event_id, request_id, req_pack, req_z, res_pack, res_z FROM det WHERE k >= ? AND k < ? AND id = ?"
)
_LARGEST_KEY: Final = (1 << 63) - 1 - PROBES
_EMPTY: Final = "bytes = 0, dead = 0, since = NULL"
_REMOVE_PACK: Final = (
    f"UPDATE pack SET state = ?1, {_EMPTY} WHERE id = ?2 AND state <> ?3 AND dead >= bytes RETURNING id"
)
_DELETE_TERM: Final = "DELETE FROM term WHERE h = ? AND k = ?"
_INSERT_TERM: Final = "INSERT INTO term (h, k) VALUES (?, ?) ON CONFLICT DO NOTHING"


_Row = tuple[int, str | None, str | None, str | None, int | None, int | None, int | None, int | None]


class _Found(NamedTuple):
    """What a change or a delete needs to know of a stored log."""

    log_id: str
    key: int
    metadata: str | None
    event_id: str | None
    request_id: str | None
    request_pack: int | None
    request_bytes: int | None
    response_pack: int | None
    response_bytes: int | None


def keys_of(log_ids: Sequence[str]) -> dict[str, int]:
    """Those that can be stored at all, each once, with the key in it."""
    return {log_id: number >> 59 for number, log_id in _numbers(log_ids).items()}


def change_logs(db: apsw.Connection, name: NameId, above: int, log_ids: Sequence[str], change: Change) -> set[str]:
    """Gives these logs the fields of `change`; returns which of them there are."""
    found = list(_found(db, above, log_ids))
    keys = [(log.key,) for log in found]
    if change.feedback is not UNSET:
        db.executemany("UPDATE log SET feedback = ?1 WHERE k = ?2", [(change.feedback, *key) for key in keys])
    if change.score is not UNSET:
        db.executemany("UPDATE det SET score = ?1 WHERE k = ?2", [(change.score, *key) for key in keys])
    if not isinstance(change.metadata, UnsetType):
        _change_metadata(db, name, found, change.metadata or {})
    return {log.log_id for log in found}


def delete_logs(db: apsw.Connection, above: int, log_ids: Sequence[str], now_ms: int) -> tuple[set[str], list[int]]:
    """Deletes these logs; returns which of them there were, and the packs of which nothing lives any more.

    Their places in the ingest sequence stay, and lead nowhere: they are not found by key, and are a dozen bytes.
    """
    found = list(_found(db, above, log_ids))
    keys = [(log.key,) for log in found]
    db.executemany(_DELETE_TERM, [(term, log.key) for log in found for term in _terms(log)])
    db.executemany("DELETE FROM log WHERE k = ?", keys)
    db.executemany("DELETE FROM det WHERE k = ?", keys)
    db.execute("UPDATE meta SET v = v - ? WHERE key = 'rows'", (len(found),))
    if found:
        drop_counts(db)
    return {log.log_id for log in found}, _bury(db, found, now_ms)


def _found(db: apsw.Connection, above: int, log_ids: Sequence[str]) -> Iterator[_Found]:
    """Those that are stored, each once, whatever the case of its letters."""
    for number, log_id in _numbers(log_ids).items():
        key = number >> 59
        bounds = (max(key, above + 1), key + PROBES)  # one lower bound: with two SQLite may begin at the other
        row: _Row | None = db.execute(_FIND, (*bounds, number.to_bytes(16, "big"))).get
        if row is not None:
            yield _Found(log_id, *row)


def _numbers(log_ids: Sequence[str]) -> dict[int, str]:
    """The numbers of those that can be stored at all."""
    numbers = {}
    for log_id in log_ids:
        with suppress(ValueError):
            number = number_of(log_id)
            if number >> 59 <= _LARGEST_KEY:
                numbers[number] = log_id
    return numbers


def _change_metadata(db: apsw.Connection, name: NameId, found: Sequence[_Found], metadata: dict[str, Scalar]) -> None:
    """The terms of the former values go, for a filter must not find the log by them."""
    for key_text in metadata:
        name(METADATA_KEY, key_text)
    text, terms = metadata_text(metadata), value_terms(metadata)
    former = [(term, log.key) for log in found for term in value_terms(metadata_of(log.metadata))]
    db.executemany(_DELETE_TERM, former)
    db.executemany("UPDATE det SET meta = ?1 WHERE k = ?2", [(text, log.key) for log in found])
    db.executemany(_INSERT_TERM, [(term, log.key) for log in found for term in terms])


def _terms(log: _Found) -> list[int]:
    return terms_of(metadata_of(log.metadata), log.event_id, log.request_id)


def _bury(db: apsw.Connection, found: Sequence[_Found], now_ms: int) -> list[int]:
    """Counts the bytes of their bodies as dead; a pack that is full of them is said to be removed."""
    dead: Counter[int] = Counter()
    for log in found:
        for pack, size in ((log.request_pack, log.request_bytes), (log.response_pack, log.response_bytes)):
            if pack and size:
                dead[pack] += size
    buried = [(pack, size, now_ms) for pack, size in dead.items()]
    db.executemany("UPDATE pack SET dead = dead + ?2, since = ifnull(since, ?3) WHERE id = ?1", buried)
    return [pack for pack in dead if db.execute(_REMOVE_PACK, (REMOVED, pack, FILLING)).get is not None]
