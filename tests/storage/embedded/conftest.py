"""Logs to store, and stores to open."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import Mint, key_of
from sluice.values.log import Blob, LogEntry, NewLog, ShardKey, Usage


@pytest.fixture
def shard() -> ShardKey:
    return ShardKey("acme", "0123456789abcdef" * 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


@pytest.fixture
def folder(root: Path, shard: ShardKey) -> Path:
    return root / shard.account / shard.gateway


@pytest.fixture
def opened(root: Path) -> Iterator[Callable[..., EmbeddedLogWriter]]:
    """Opens a writer; what the test did not close is closed after it."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(closing(EmbeddedLogWriter.open(root, **settings)))


@pytest.fixture
def reader(root: Path) -> Iterator[EmbeddedLogReader]:
    with closing(EmbeddedLogReader(root)) as reader:
        yield reader


@pytest.fixture
def log() -> Callable[..., NewLog]:
    mint = Mint(1)

    def make(request: Blob = b"{}", response: Blob = b"{}", user_agent: str = "test") -> NewLog:
        log_id = mint.mint()
        entry = LogEntry(
            id=log_id,
            request_id=log_id,
            event_id=log_id,
            created_ms=key_of(log_id) >> 21,
            duration_ms=1,
            latency_ms=1,
            provider="openai",
            model="gpt-4o-mini",
            model_type=None,
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
            usage=Usage(),
            cost_nano=None,
            custom_cost=False,
            metadata={},
            user_agent=user_agent,
            authentication=True,
            wholesale=False,
            byok=False,
            compat=False,
            payload=True,
            request_bytes=2,
            response_bytes=2,
        )
        return NewLog(entry, request, response)

    return make
