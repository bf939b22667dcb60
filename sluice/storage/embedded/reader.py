"""The embedded backend of LogReader: read-only connections beside the keeper's, each query under a time budget."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import apsw

from sluice.storage.embedded.changes import PROBES
from sluice.storage.embedded.open import SEGMENT, open_segment_readonly, shard_folder, store_faults
from sluice.storage.embedded.packs import Place, read_body, read_head
from sluice.storage.embedded.rows import SELECT_ENTRY, entry_of
from sluice.storage.ports import LogPage, LogQuery, OrderBy, Side, StoreFault
from sluice.values.ids import number_of, text_of
from sluice.values.log import LogEntry, ShardKey

_IDLE_KEPT: Final = 64
_STEPS_PER_LOOK: Final = 2_000

_ENTRY_BY_KEY: Final = f"{SELECT_ENTRY} FROM log JOIN det USING (k) WHERE k = ?"
_ENTRIES_BY_ARRIVAL: Final = (
    f"{SELECT_ENTRY}, n FROM arrival JOIN log USING (k) JOIN det USING (k) WHERE n > ? ORDER BY n LIMIT ?"
)
_NTH_LAST_ARRIVAL: Final = "SELECT n FROM arrival JOIN log USING (k) ORDER BY n DESC LIMIT 1 OFFSET ?"
_KEY_BY_ID: Final = "SELECT k FROM det WHERE k BETWEEN ? AND ? AND id = ?"
_PLACE: Final[dict[Side, str]] = {
    "request": "SELECT req_pack, req_off, req_z, req_len FROM det WHERE k = ?",
    "response": "SELECT res_pack, res_off, res_z, res_len FROM det WHERE k = ?",
}


def _by_name(column: str) -> str:
    return f"SELECT k FROM log LEFT JOIN name ON name.id = {column} ORDER BY name.v {{0}}, k DESC"


_ORDERS: Final[dict[OrderBy, str]] = {
    "created_at": "SELECT k FROM log ORDER BY k {0}",
    "provider": _by_name("provider"),
    "model": _by_name("model"),
    "model_type": _by_name("mtype"),
    "success": "SELECT k FROM log ORDER BY flags & 1 {0}, k DESC",
    "cached": "SELECT k FROM log ORDER BY flags & 2 {0}, k DESC",
}


class EmbeddedLogReader:
    """Reads the shards below `root`. Threads may share it."""

    def __init__(self, root: Path, *, query_timeout_s: float = 1.0) -> None:
        self._root = root
        self._timeout_s = query_timeout_s
        self._idle: list[_View] = []
        self._lock = Lock()

    def page(self, shard: ShardKey, query: LogQuery) -> LogPage:
        with self._view(shard) as view:
            if view is None:
                return LogPage([], 0, True)
            total = view.total()
            offset = (query.page - 1) * query.per_page
            if not 0 <= offset < total:
                return LogPage([], total, True)
            keys = view.keys(query, offset)
            return LogPage([entry for key in keys if (entry := view.entry(key))], total, True)

    def ids(self, shard: ShardKey, query: LogQuery) -> list[str]:
        with self._view(shard) as view:
            return [] if view is None else view.ids(view.keys(query, (query.page - 1) * query.per_page))

    def get(self, shard: ShardKey, log_id: str) -> LogEntry | None:
        with self._view(shard) as view:
            key = view.find(log_id) if view else None
            return view.entry(key) if view and key is not None else None

    def body(self, shard: ShardKey, log_id: str, side: Side) -> Iterator[bytes] | None:
        place = self._place(shard, log_id, side)
        with store_faults("reading a stored body"):
            return read_body(shard_folder(self._root, shard), SEGMENT, place)

    def head(self, shard: ShardKey, log_id: str, side: Side, limit: int) -> bytes | None:
        place = self._place(shard, log_id, side)
        with store_faults("reading a stored body"):
            return read_head(shard_folder(self._root, shard), SEGMENT, place, limit)

    def tail(self, shard: ShardKey, after: int, limit: int) -> tuple[list[LogEntry], int]:
        with self._view(shard) as view:
            if view is None:
                return [], max(after, 0)
            return view.tail(view.before_last(-after) if after < 0 else after, limit)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for view in idle:
            view.close()

    def _place(self, shard: ShardKey, log_id: str, side: Side) -> Place:
        with self._view(shard) as view:
            key = view.find(log_id) if view else None
            return view.place(key, side) if view and key is not None else Place()

    @contextmanager
    def _view(self, shard: ShardKey) -> Iterator["_View | None"]:
        """A connection of the caller's own while it reads; all it reads is one moment of the shard."""
        with store_faults("reading logs"):
            view = self._take(shard_folder(self._root, shard) / f"{SEGMENT}.db")
            if view is None:
                yield None
                return
            try:
                with view.moment(self._timeout_s):
                    yield view
            except BaseException:
                view.close()
                raise
            self._give_back(view)

    def _take(self, path: Path) -> "_View | None":
        """An idle connection to this very file: a shard dropped and made anew has another one at its path."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        file = found.st_dev, found.st_ino
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index].file == file:
                    return self._idle.pop(index)
        try:
            return _View(path, file)
        except apsw.CantOpenError:
            if path.exists():
                raise
            return None  # dropped just now

    def _give_back(self, view: "_View") -> None:
        with self._lock:
            self._idle.append(view)
            surplus = self._idle.pop(0) if len(self._idle) > _IDLE_KEPT else None
        if surplus:
            surplus.close()


class _View:
    """One read-only connection to one segment."""

    def __init__(self, path: Path, file: tuple[int, int]) -> None:
        self.file = file
        self._deadline = 0.0
        self._db = open_segment_readonly(path)
        self._db.set_progress_handler(self._overdue, _STEPS_PER_LOOK)

    @contextmanager
    def moment(self, budget_s: float) -> Iterator[None]:
        """One read transaction, ended at the latest when the budget is used up: a longer one would grow the WAL."""
        self._deadline = time.monotonic() + budget_s
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except apsw.InterruptError as error:
            raise StoreFault(f"reading logs took longer than {budget_s} s") from error

    def total(self) -> int:
        total: int = self._db.execute("SELECT v FROM meta WHERE key = 'rows'").get
        return total

    def before_last(self, count: int) -> int:
        """The ingest sequence past which there are so many logs, or all where there are fewer."""
        n: int | None = self._db.execute(_NTH_LAST_ARRIVAL, (count,)).get
        return n or 0

    def keys(self, query: LogQuery, offset: int) -> list[int]:
        """The keys of one page: the narrow table alone is walked, the wide one is read for these rows."""
        order = _ORDERS[query.order_by].format("DESC" if query.descending else "ASC")
        return [key for (key,) in self._db.execute(f"{order} LIMIT ? OFFSET ?", (query.per_page, offset))]

    def ids(self, keys: Sequence[int]) -> list[str]:
        """The ids of the logs with these keys, in their order."""
        blobs = [self._db.execute("SELECT id FROM det WHERE k = ?", (key,)).get for key in keys]
        return [text_of(int.from_bytes(blob, "big")) for blob in blobs]

    def find(self, log_id: str) -> int | None:
        """The key of a log: the one inside its id, or a little above where another log had that one."""
        try:
            number = number_of(log_id)
        except ValueError:
            return None
        key, blob = number >> 59, number.to_bytes(16, "big")
        if key >> 63:
            return None
        found: int | None = self._db.execute(_KEY_BY_ID, (key, key + PROBES - 1, blob)).get
        return found

    def entry(self, key: int) -> LogEntry | None:
        row = self._db.execute(_ENTRY_BY_KEY, (key,)).fetchone()
        return None if row is None else entry_of(row)

    def place(self, key: int, side: Side) -> Place:
        row: tuple[int | None, int | None, int | None, int | None] = self._db.execute(_PLACE[side], (key,)).get
        return Place(*row)

    def tail(self, after: int, limit: int) -> tuple[list[LogEntry], int]:
        entries = []
        for row in self._db.execute(_ENTRIES_BY_ARRIVAL, (after, limit)):
            entries.append(entry_of(row[:-1]))
            after = row[-1]
        return entries, after

    def close(self) -> None:
        self._db.close()

    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline
