"""Logs to store, and stores to open."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import apsw
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
def made_older() -> Callable[..., None]:
    """`made_older(path, 1)`: turns a segment into one of an earlier format."""

    def make(path: Path, to: int) -> None:
        with closing(apsw.Connection(str(path))) as db:
            db.execute("DROP TABLE series; DROP TABLE minute; DROP TABLE hour; DROP TABLE zdict")
            db.execute("DROP INDEX i_failed; DROP INDEX i_cached; ALTER TABLE pack DROP COLUMN since")
            if to == 1:
                db.execute("ALTER TABLE pack DROP COLUMN dead; DROP TABLE earlier")
                db.execute("DELETE FROM meta WHERE key IN ('floor', 'gone', 'created')")
            db.execute("UPDATE meta SET v = ? WHERE key = 'format'", (to,))

    return make


@pytest.fixture
def log(entry_of: Callable[..., LogEntry]) -> Callable[..., NewLog]:
    mint = Mint(1)

    def make(request: Blob = b"{}", response: Blob = b"{}", **fields: object) -> NewLog:
        return NewLog(entry_of(mint.mint(), **fields), request, response)

    return make
