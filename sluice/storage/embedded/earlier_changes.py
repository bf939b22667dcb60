"""Changes to logs of segments that take no more: each is opened for as long as a change takes, and is then on disk."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from sluice.storage.embedded.catalogue import Contents, pack_bytes
from sluice.storage.embedded.changes import change_logs, delete_logs
from sluice.storage.embedded.compaction import wasteful_packs
from sluice.storage.embedded.earlier import PROBES
from sluice.storage.embedded.open import empty_wal, open_segment, segment_name, sync_path, writing
from sluice.storage.embedded.packs import pack_path
from sluice.values.command import Change


def within(held: Contents, keys: Mapping[str, int]) -> list[str]:
    """Those of the logs with these keys that the segment may have."""
    if not held.live:
        return []
    return [log_id for log_id, key in keys.items() if held.reaches(key - 1, key + PROBES - 1)]


def change_earlier(folder: Path, held: Contents, log_ids: Sequence[str], change: Change) -> set[str]:
    with changing(folder, held) as db:
        return change_logs(db, lambda kind, text: name_in(db, kind, text), held.floor, log_ids, change)


def delete_earlier(folder: Path, held: Contents, log_ids: Sequence[str], now_ms: int) -> set[str]:
    """Packs go after their rows. The catalogue is wrong until it has what `recounted` tells."""
    with changing(folder, held) as db:
        found, packs = delete_logs(db, held.floor, log_ids, now_ms)
    for pack in packs:
        pack_path(folder, segment_name(held.number), pack).unlink(missing_ok=True)
    return found


def wasteful_earlier(folder: Path, held: Contents, before_ms: int) -> list[int]:
    """Packs of the segment that are to be compacted."""
    with closing(open_segment(held.path(folder))) as db:
        return wasteful_packs(db, before_ms)


def recounted(folder: Path, held: Contents) -> Contents:
    """What the segment holds by its own account."""
    with closing(open_segment(held.path(folder))) as db:
        rows: int = db.execute("SELECT v FROM meta WHERE key = 'rows'").get
        return held._replace(rows=rows, bytes=pack_bytes(db))


@contextmanager
def changing(folder: Path, held: Contents) -> Iterator[apsw.Connection]:
    """One transaction, which survives a power loss: nobody syncs this segment later."""
    with closing(open_segment(held.path(folder))) as db:
        with writing(db):
            yield db
        if not empty_wal(db):
            sync_path(Path(f"{held.path(folder)}-wal"))


def name_in(db: apsw.Connection, kind: int, text: str) -> int:
    number: int | None = db.execute("SELECT id FROM name WHERE kind = ? AND v = ?", (kind, text)).get
    if number is None:
        db.execute("INSERT INTO name (kind, v) VALUES (?, ?)", (kind, text))
        return db.last_insert_rowid()
    return number
