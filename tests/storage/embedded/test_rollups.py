"""Roll-ups tell what went through, whatever became of the logs: through replays, folds, trims and crashes."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded import folding, rollups, tally
from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.folding import Fold, folded_segments
from sluice.storage.embedded.housekeeping import Housekeeping
from sluice.storage.embedded.shard import BOUNDS, Shard
from sluice.storage.embedded.sketch import ERROR
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Keep, TooFine, TooManyGroups
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, Position, ShardKey, Usage
from sluice.values.rollup import (
    OTHER,
    Percentiles,
    RollupQuery,
)
from tests.counted import BY_MINUTE, EVER, HOUR_MS, QUERIES, START_MS, brute_force, random_logs, told

AT = {"0": Position(1, 100)}
SMALL = BOUNDS._replace(rows=20)
Writers = Callable[..., EmbeddedLogWriter]
Logs = Callable[..., list[NewLog]]
Entries = Callable[..., LogEntry]


@pytest.fixture
def analytics(root: Path) -> Iterator[EmbeddedAnalyticsReader]:
    with closing(EmbeddedAnalyticsReader(root, query_timeout_s=10)) as reader:
        yield reader


@pytest.fixture
def some_logs(entry_of: Entries) -> Logs:
    return partial(random_logs, entry_of)


def settle(writer: EmbeddedLogWriter) -> None:
    for _ in range(2):
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


@pytest.mark.parametrize("seed", range(6))
def test_roll_ups_are_what_counting_the_logs_would_give(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, some_logs: Logs, seed: int
) -> None:
    chance = random.Random(seed)
    settings = {"bounds": SMALL, "rollup_metadata": ("team",)}
    writer = opened(**settings)
    logs = some_logs(200, seed)
    late = [logs.pop(chance.randrange(len(logs))) for _ in range(10)]
    batches = [logs[start : start + 7] for start in range(0, len(logs), 7)]
    stored: list[NewLog] = []
    for number, batch in enumerate(batches):
        batch = [*batch, *([late.pop()] if late and chance.random() < 0.4 else [])]
        assert writer.append(shard, batch, AT) == len(batch)
        stored += batch
        again = chance.sample(stored, min(len(stored), 9))
        assert writer.append(shard, again, AT) == 0
        if number % 6 == 5:
            settle(writer)
        if number == 14:
            writer.close()
            writer = opened(**settings)
        if number % 9 == 8:
            for query in (*QUERIES, *BY_MINUTE):
                assert told(analytics, shard, query) == brute_force(stored, query)
    writer.delete(shard, [log.entry.id for log in chance.sample(stored, 20)], {})
    writer.trim(shard, Keep(rows=50))
    for query in QUERIES:
        assert told(analytics, shard, query) == brute_force(stored, query)
    settle(writer)
    assert writer.rows(shard) == 50
    for query in QUERIES:
        assert told(analytics, shard, query) == brute_force(stored, query)


def test_minutes_are_there_as_long_as_their_segments_and_hours_for_good(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, folder: Path, some_logs: Logs
) -> None:
    writer = opened(bounds=SMALL)
    logs = some_logs(100, 1, hours=5)
    for each in logs:
        writer.append(shard, [each], AT)
    settle(writer)
    writer.trim(shard, Keep(rows=30))
    settle(writer)
    assert sorted(path.name for path in folder.glob("0*.db")) == ["00000004.sealed.db", "00000005.db"]
    since_ms = (logs[59].entry.created_ms // 60_000 + 1) * 60_000
    with pytest.raises(TooFine) as refused:
        analytics.groups({"gw": shard}, RollupQuery(since_ms - 60_000, EVER.to_ms, "minute"))
    assert refused.value.since_ms == since_ms
    query = RollupQuery(since_ms, EVER.to_ms, "minute", ("model",))
    assert told(analytics, shard, query) == brute_force(logs, query)
    wide = analytics.groups({"gw": shard}, RollupQuery(START_MS + 60_000, START_MS + HOUR_MS - 60_000))
    assert (wide.from_ms, wide.to_ms) == (START_MS, START_MS + HOUR_MS)
    assert wide.groups[0].requests == sum(log.entry.created_ms < START_MS + HOUR_MS for log in logs)


def test_percentiles_are_those_of_all_parts_together(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, some_logs: Logs
) -> None:
    writer = opened(bounds=SMALL)
    logs = some_logs(110, 3)
    for start in range(0, 110, 10):
        writer.append(shard, logs[start : start + 10], AT)
    settle(writer)
    (group,) = analytics.groups({"gw": shard}, RollupQuery(0, EVER.to_ms, percentiles=True)).groups
    for percentiles, exact in (
        (group.duration, sorted(log.entry.duration_ms for log in logs)),
        (group.latency, sorted(log.entry.latency_ms for log in logs if log.entry.latency_ms is not None)),
    ):
        assert percentiles is not None
        for mine, share in zip(percentiles, (0.5, 0.95, 0.99), strict=True):
            true = exact[math.ceil(share * len(exact)) - 1]
            assert abs(mine - true) <= ERROR * true + 0.5


class Killed(BaseException):
    """As if the process had died there: nothing may catch it."""


def dying(real: Callable[..., object], at: int) -> Callable[..., object]:
    """The function, whose call number `at` kills."""
    calls = itertools.count(1)

    def call(*given: object, **named: object) -> object:
        if next(calls) == at:
            raise Killed
        return real(*given, **named)

    return call


@pytest.mark.parametrize(
    "step", ["sync_path", "create_database", "open_stats", "_add_bounded", "read_series", "add_sums"]
)
def test_a_fold_that_dies_anywhere_loses_nothing_and_doubles_nothing(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    folder: Path,
    some_logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    logs = some_logs(50, 5)
    monkeypatch.setattr(Housekeeping, "begin", lambda *given, **named: None)
    writer = opened(bounds=SMALL)
    for each in logs:
        writer.append(shard, [each], AT)
    monkeypatch.undo()
    real = getattr(folding, step)
    for die_at in range(1, 8):
        monkeypatch.setattr(folding, step, dying(real, die_at))
        for number in (1, 2):
            try:
                Fold(folder, number).run()
            except Killed:
                break
        monkeypatch.undo()
        assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    Fold(folder, 1).run()
    Fold(folder, 2).run()
    assert folded_segments(folder).keys() == {1, 2}
    assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    assert told(analytics, shard, QUERIES[1]) == brute_force(logs, QUERIES[1])


@pytest.mark.parametrize("undone", ["fold", "settle", "remove"])
def test_a_segment_leaves_the_disk_only_when_it_is_folded(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    folder: Path,
    some_logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
    undone: str,
) -> None:
    """The keeper dies with its trim done, and the fold, the news of it, or the removal of the files still to come."""
    logs = some_logs(70, 6)
    broken = {"fold": (Housekeeping, "begin"), "settle": (Shard, "_let_go"), "remove": (Housekeeping, "remove")}
    writer = opened(bounds=SMALL)
    monkeypatch.setattr(*broken[undone], lambda *given, **named: None)
    for each in logs:
        writer.append(shard, [each], AT)
    assert writer.trim(shard, Keep(rows=15)) == 55
    settle(writer)
    assert (writer.rows(shard), told(analytics, shard, EVER)) == (15, brute_force(logs, EVER))
    writer.close()
    monkeypatch.undo()
    writer = opened(bounds=SMALL)
    assert writer.rows(shard) == 15
    settle(writer)
    settle(writer)
    assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    assert sorted(path.name[:8] for path in folder.glob("0*.db")) == ["00000003", "00000004"]


def test_a_fold_between_the_reads_of_the_catalogue_and_of_stats_counts_nothing_twice(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    folder: Path,
    some_logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs = some_logs(50, 7)
    writer = opened(bounds=SMALL)
    with monkeypatch.context() as held:
        held.setattr(Housekeeping, "begin", lambda *given, **named: None)
        for each in logs:
            writer.append(shard, [each], AT)
    real, done = folding.open_stats_readonly, []

    def folds_first(of: Path) -> apsw.Connection | None:
        Fold(folder, len(done) + 1).run()
        done.append(of)
        return real(of)

    monkeypatch.setattr("sluice.storage.embedded.analytics.open_stats_readonly", folds_first)
    for _ in range(2):
        assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    writer.trim(shard, Keep(rows=1))
    settle(writer)
    assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    assert len(done) == 3


def test_what_is_past_the_bound_on_series_is_counted_as_one(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    entry_of: Entries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rollups, "MOST_SERIES", 4)
    monkeypatch.setattr(rollups, "MOST_VALUE_SERIES", 3)
    mint = Mint(1)

    def logs(models: str) -> list[NewLog]:
        entries = [entry_of(mint.mint(), model=model, metadata={"team": model}) for model in models]
        return [NewLog(entry, None, None) for entry in entries]

    writer = opened(bounds=SMALL._replace(rows=9), rollup_metadata=("team",))
    writer.append(shard, logs("aabc"), AT)
    writer.append(shard, logs("abcdef"), AT)
    ever = RollupQuery(0, 1 << 60)
    by_model = RollupQuery(0, 1 << 60, group_by=("model",))
    by_team = RollupQuery(0, 1 << 60, group_by=("metadata.team",), metadata_key="team")

    def count(query: RollupQuery) -> Counter[object]:
        groups = analytics.groups({"g": shard}, query).groups
        return Counter({group.labels[0]: group.requests for group in groups})

    assert count(by_model) == {"a": 3, "b": 2, "c": 2, "d": 1, OTHER: 2}
    assert count(by_team) == {"a": 3, "b": 2, "c": 2, OTHER: 3}
    writer.append(shard, logs("xyz"), AT)
    settle(writer)
    writer.append(shard, logs("x" * 6), AT)
    writer.append(shard, logs("a"), AT)
    settle(writer)
    assert count(by_model)[OTHER] > 2
    for query in (by_model, by_team):
        assert sum(count(query).values()) == 20
    assert analytics.groups({"g": shard}, ever).groups[0].requests == 20


def test_no_number_that_a_provider_tells_keeps_logs_from_being_stored(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, entry_of: Entries
) -> None:
    writer, mint = opened(bounds=SMALL._replace(rows=4)), Mint(1)
    for _ in range(12):
        most = 2**63 - 1
        entry = entry_of(mint.mint(), usage=Usage(most, most), cost_nano=most, duration_ms=most, latency_ms=0)
        assert writer.append(shard, [NewLog(entry, None, None)], AT) == 1
    settle(writer)
    (group,) = analytics.groups({"g": shard}, RollupQuery(0, 1 << 60, percentiles=True)).groups
    assert (group.requests, group.latency) == (12, Percentiles(0, 0, 0))
    assert group.tokens_in >= 1 << 60


def test_what_is_not_counted_in_time_is_told_as_missing(
    opened: Writers, root: Path, shard: ShardKey, some_logs: Logs
) -> None:
    opened().append(shard, some_logs(2_000, 11, hours=300), AT)
    query = RollupQuery(0, EVER.to_ms + 1, "minute")
    with closing(EmbeddedAnalyticsReader(root, query_timeout_s=0)) as hurried:
        assert hurried.groups({"gw": shard}, query) == ([], 0, EVER.to_ms + 60_000, False)
    with closing(EmbeddedAnalyticsReader(root, query_timeout_s=0.002)) as hurried:
        cut = hurried.groups({"one": shard, "two": shard}, query)
    assert not cut.complete
    assert sum(group.requests for group in cut.groups) < 4_000


def test_more_groups_than_anybody_reads_are_refused(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    some_logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "MOST_GROUPS", 9)
    opened().append(shard, some_logs(30, 12), AT)
    with pytest.raises(TooManyGroups) as refused:
        analytics.groups({"gw": shard}, RollupQuery(0, EVER.to_ms, "minute"))
    assert refused.value.most == 9


def test_a_damaged_stats_db_is_set_aside_and_begun_anew(
    opened: Writers, shard: ShardKey, folder: Path, some_logs: Logs
) -> None:
    writer = opened(bounds=SMALL)
    logs = some_logs(45, 9)
    for each in logs[:21]:
        writer.append(shard, [each], AT)
    settle(writer)
    assert folded_segments(folder).keys() == {1}
    writer.close()
    (folder / "stats.db").write_bytes(b"no database " * 1_000)
    writer = opened(bounds=SMALL)
    for each in logs[21:]:
        writer.append(shard, [each], AT)
    settle(writer)
    assert folded_segments(folder).keys() == {1, 2}
    assert (folder / "stats.damaged").exists()


def test_segments_that_are_gone_leave_one_row_behind(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, folder: Path, some_logs: Logs
) -> None:
    writer = opened(bounds=SMALL)
    logs = some_logs(200, 13)
    for each in logs:
        writer.append(shard, [each], AT)
        writer.trim(shard, Keep(rows=30))
        settle(writer)
    assert folded_segments(folder).keys() == {0, 8, 9}
    assert told(analytics, shard, EVER) == brute_force(logs, EVER)
    with pytest.raises(TooFine) as refused:
        analytics.groups({"gw": shard}, RollupQuery(0, EVER.to_ms, "minute"))
    assert refused.value.since_ms == (logs[159].entry.created_ms // 60_000 + 1) * 60_000
    writer.close()
    writer = opened(bounds=SMALL)
    settle(writer)
    assert told(analytics, shard, EVER) == brute_force(logs, EVER)


def test_segments_of_a_format_without_roll_ups_count_nothing_and_are_left_alone(
    opened: Writers,
    analytics: EmbeddedAnalyticsReader,
    shard: ShardKey,
    folder: Path,
    some_logs: Logs,
    made_older: Callable[..., None],
) -> None:
    logs = some_logs(50, 14)
    writer = opened(bounds=SMALL)
    for each in logs[:30]:
        writer.append(shard, [each], AT)
    writer.close()
    (folder / "stats.db").unlink()
    for path in folder.glob("0*.db"):
        made_older(path, 2)
    assert told(analytics, shard, EVER) == {}
    writer = opened(bounds=SMALL)
    for each in logs[30:]:
        writer.append(shard, [each], AT)
    settle(writer)
    assert folded_segments(folder).keys() == {1, 2}
    assert told(analytics, shard, EVER) == brute_force(logs[30:], EVER)
