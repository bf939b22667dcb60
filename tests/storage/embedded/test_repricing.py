"""Repricing: logs have their new cost, and roll-ups what counting them gives, through folds, replays and crashes."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sluice.storage.embedded import repricing
from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import StoreFault
from sluice.values.log import LogEntry, NewLog, Position, Priced, ShardKey
from tests.counted import BY_MINUTE, QUERIES, brute_force, random_logs, told

AT = {"0": Position(1, 100)}
LATER = {"128": Position(1, 100)}
SETTINGS = {"bounds": BOUNDS._replace(rows=20), "rollup_metadata": ("team",)}
PRICES = json.dumps({"edition": "a list", "output": 3_000_000})
Writers = Callable[..., EmbeddedLogWriter]
Logs = Callable[..., list[NewLog]]


@pytest.fixture
def analytics(root: Path) -> Iterator[EmbeddedAnalyticsReader]:
    with closing(EmbeddedAnalyticsReader(root, query_timeout_s=10)) as made:
        yield made


@pytest.fixture
def some_logs(entry_of: Callable[..., LogEntry]) -> Logs:
    return partial(random_logs, entry_of)


def settle(writer: EmbeddedLogWriter) -> None:
    for _ in range(3):
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


def price(entry: LogEntry) -> Priced | None:
    return None if entry.cached else Priced(3 * (entry.usage.tokens_out or 0), PRICES)


def repriced(log: NewLog) -> NewLog:
    cost = price(log.entry)
    if cost is None:
        return log
    return log._replace(entry=msgspec.structs.replace(log.entry, cost_nano=cost.cost_nano, priced=cost.priced))


def reprice_all(writer: EmbeddedLogWriter, shard: ShardKey, logs: list[NewLog]) -> None:
    ids = [log.entry.id for log in logs]
    for start in range(0, len(ids), 30):
        some = ids[start : start + 30]
        assert writer.reprice(shard, [*some, "no log"], price, LATER) == set(some)


def check(analytics: EmbeddedAnalyticsReader, shard: ShardKey, logs: list[NewLog]) -> None:
    for query in (*QUERIES, *BY_MINUTE):
        assert told(analytics, shard, query) == brute_force(logs, query)


def test_logs_and_roll_ups_have_the_new_cost_however_often_it_is_asked_for(
    opened: Writers, analytics: EmbeddedAnalyticsReader, reader: EmbeddedLogReader, shard: ShardKey, some_logs: Logs
) -> None:
    writer = opened(**SETTINGS)
    logs = some_logs(90, 1)
    for start in range(0, len(logs), 10):
        writer.append(shard, logs[start : start + 10], AT)
    settle(writer)
    expected = [repriced(log) for log in logs]
    assert expected != logs
    for _ in range(2):
        reprice_all(writer, shard, logs)
        check(analytics, shard, expected)
        assert reader.tail(shard, 0, 100)[0] == [log.entry for log in expected]
    assert writer.positions(shard) == AT  # each batch had one that is not there
    last = logs[-1].entry.id
    assert writer.reprice(shard, [last], price, LATER) == {last}
    assert writer.positions(shard) == AT | LATER
    writer.append(shard, more := some_logs(20, 2, hours=2), AT)
    settle(writer)
    check(analytics, shard, [*expected, *more])


@pytest.mark.parametrize("dies_in", ["open_stats", "_add", "changing"])
@pytest.mark.parametrize("after", range(6))
def test_a_repricing_that_dies_anywhere_is_done_once_all_the_same(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    some_logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
    dies_in: str,
    after: int,
) -> None:
    writer = opened(**SETTINGS)
    logs = some_logs(50, 3)
    for start in range(0, len(logs), 10):
        writer.append(shard, logs[start : start + 10], AT)
    settle(writer)
    real, calls = getattr(repricing, dies_in), iter(range(1_000))

    def dies(*given: object) -> object:
        if next(calls) == after:
            raise OSError("died")
        return real(*given)

    monkeypatch.setattr(repricing, dies_in, dies)
    with suppress(StoreFault):
        reprice_all(writer, shard, logs)
    monkeypatch.undo()
    reprice_all(writer, shard, logs)
    check(analytics, shard, [repriced(log) for log in logs])
