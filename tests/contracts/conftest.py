"""Log stores of every backend, and logs to keep in them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogReader, LogWriter
from sluice.values.ids import Mint, key_of
from sluice.values.log import LogEntry, Position, ShardKey, Usage

SHARD = ShardKey("acme", "0123456789abcdef" * 2)
OTHER = ShardKey("acme", "fedcba9876543210" * 2)
START_MS = 1_760_000_000_000
AT = {"0": Position(1, 100)}


class Store(NamedTuple):
    writer: LogWriter
    reader: LogReader


def embedded(root: Path) -> Store:
    return Store(EmbeddedLogWriter.open(root / "shards"), EmbeddedLogReader(root / "shards"))


def embedded_in_small_segments(root: Path) -> Store:
    """A segment is full with two logs, so that every promise holds across many of them."""
    writer = EmbeddedLogWriter.open(root / "shards", bounds=BOUNDS._replace(rows=2))
    return Store(writer, EmbeddedLogReader(root / "shards"))


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
def entry() -> Callable[..., LogEntry]:
    mint = Mint(3, clock_ms=Clock())

    def make(**changes: object) -> LogEntry:
        log_id = str(changes.pop("id", None) or mint.mint())
        plain = LogEntry(
            id=log_id,
            request_id=log_id,
            event_id=log_id,
            created_ms=key_of(log_id) >> 21,
            duration_ms=812,
            latency_ms=790,
            provider="openai",
            model="gpt-4o-mini",
            model_type="Text Generation",
            path="v1/chat/completions",
            request_type="provider",
            request_content_type="application/json",
            response_content_type="application/json",
            status_code=200,
            success=True,
            cached=False,
            incomplete=False,
            ending="complete",
            error=0,
            step=0,
            attempts=1,
            usage=Usage(12, 34, 46),
            cost_nano=22_200,
            custom_cost=False,
            metadata={"team": "a"},
            user_agent="OpenAI/Python",
            authentication=True,
            wholesale=False,
            byok=False,
            compat=False,
            payload=True,
            request_bytes=2,
            response_bytes=2,
        )
        return msgspec.structs.replace(plain, **changes)

    return make
