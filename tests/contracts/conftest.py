"""Log stores of every backend, and logs to keep in them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS, Bounds
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import AnalyticsReader, LogQuery, LogReader, LogWriter, Side
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, ShardKey

SHARD = ShardKey("acme", "0123456789abcdef" * 2)
START_MS = 1_760_000_000_000


class Store(NamedTuple):
    """A writer and the readers of one store, in which the tests look at one shard."""

    writer: LogWriter
    reader: LogReader
    analytics: AnalyticsReader

    def read(self, log_id: str, side: Side) -> bytes | None:
        pieces = self.reader.body(SHARD, log_id, side)
        return None if pieces is None else b"".join(pieces)

    def listed(self, **query: object) -> list[str]:
        return [entry.id for entry in self.reader.page(SHARD, msgspec.convert(query, LogQuery)).entries]


def embedded(root: Path, bounds: Bounds = BOUNDS) -> Store:
    """`team` is a metadata key that is counted by."""
    shards = root / "shards"
    writer = EmbeddedLogWriter.open(shards, bounds=bounds, rollup_metadata=("team",))
    return Store(writer, EmbeddedLogReader(shards), EmbeddedAnalyticsReader(shards, query_timeout_s=10))


def embedded_in_small_segments(root: Path) -> Store:
    """A segment is full with two logs, so that every promise holds across many of them."""
    return embedded(root, BOUNDS._replace(rows=2))


@pytest.fixture(params=[embedded, embedded_in_small_segments])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same store again and again; the last one is closed at the end."""
    current: list[Store] = []

    def reopen() -> Store:
        while current:
            for side in current.pop():
                side.close()
        current.append(request.param(tmp_path))
        return current[0]

    yield reopen
    for side in current[0]:
        side.close()


@pytest.fixture
def analytics(store: Store) -> AnalyticsReader:
    return store.analytics


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


class Clock:
    """A minute later with every look, so that ids differ in their time."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        self.now_ms += 60_000
        return self.now_ms


@pytest.fixture
def entry(entry_of: Callable[..., LogEntry]) -> Callable[..., LogEntry]:
    mint = Mint(3, clock_ms=Clock())

    def make(**changes: object) -> LogEntry:
        return entry_of(str(changes.pop("id", None) or mint.mint()), **changes)

    return make
