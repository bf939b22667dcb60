"""Logs to store, and stores to open."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import Mint
from sluice.values.log import Blob, LogEntry, NewLog, ShardKey


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
def log(entry_of: Callable[..., LogEntry]) -> Callable[..., NewLog]:
    mint = Mint(1)

    def make(request: Blob = b"{}", response: Blob = b"{}", **fields: object) -> NewLog:
        return NewLog(entry_of(mint.mint(), **fields), request, response)

    return make
