"""Roll-ups tell what went through, whatever became of the logs: through replays, folds, trims and crashes."""

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
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
    AllOf,
    AnyOf,
    Condition,
    Percentiles,
    RollupQuery,
)

AT = {"0": Position(1, 100)}
START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 20 * 3_600_000
HOUR_MS = 3_600_000
EVER = RollupQuery(0, START_MS + 1_000 * HOUR_MS, group_by=("provider", "model", "status_code", "cached", "error"))
SMALL = BOUNDS._replace(rows=20)
Writers = Callable[..., EmbeddedLogWriter]
Logs = Callable[..., list[NewLog]]
Entries = Callable[..., LogEntry]


@pytest.fixture
def analytics(root: Path) -> Iterator[EmbeddedAnalyticsReader]:
    with closing(EmbeddedAnalyticsReader(root, query_timeout_s=10)) as reader:
        yield reader


@pytest.fixture
def some_logs(entry_of: Entries) -> Callable[..., list[NewLog]]:
    """So many logs at random within the hours after START_MS, in the order of their times."""

    def make(count: int, seed: int, hours: float = 30) -> list[NewLog]:
        chance = random.Random(seed)
        at_ms = sorted(START_MS + chance.randrange(int(hours * HOUR_MS)) for _ in range(count))
        clock = iter(at_ms)
        mint = Mint(1, clock_ms=lambda: next(clock))
        logs = []
        for _ in range(count):
            status = chance.choice((200, 200, 429, 500))
            usage = Usage(chance.choice((None, 0, 7, 5_000)), chance.randrange(400))
            fields = {
                "provider": chance.choice(("openai", "anthropic")),
                "model": chance.choice(("a", "b")),
                "status_code": status,
                "success": status == 200 and chance.random() < 0.9,
                "cached": chance.random() < 0.3,
                "usage": usage,
                "cost_nano": chance.choice((None, 0, 22_200)),
                "duration_ms": int(chance.lognormvariate(6, 2)),
                "latency_ms": chance.choice((None, chance.randrange(2_000))),
                "metadata": chance.choice(({}, {"team": chance.choice(("red", "blue", 7))}, {"other": True})),
            }
            logs.append(NewLog(entry_of(mint.mint(), **fields), None, None))
        return logs

    return make


def brute_force(logs: list[NewLog], query: RollupQuery) -> dict[object, tuple[int, ...]]:
    """What groups must be, by their start and labels."""
    step_ms = {"minute": 60_000, "hour": HOUR_MS, "day": 24 * HOUR_MS}.get(query.step)
    found: defaultdict[object, list[int]] = defaultdict(lambda: [0] * 8)
    for entry in (log.entry for log in logs):
        key = f"metadata.{query.metadata_key}"
        if not query.from_ms <= entry.created_ms < query.to_ms:
            continue
        if query.metadata_key and query.metadata_key not in entry.metadata:
            continue
        labels = {
            "gateway": "gw",
            "provider": entry.provider,
            "model": entry.model,
            "status_code": entry.status_code,
            "cached": entry.cached,
            "error": not entry.success,
            key: str(entry.metadata.get(query.metadata_key)),
        }
        start = None if step_ms is None else entry.created_ms // step_ms * step_ms
        tokens_in, tokens_out = entry.usage.tokens_in or 0, entry.usage.tokens_out or 0
        counts = (1, not entry.success, entry.cached, tokens_in, tokens_out)
        more = (tokens_in * entry.cached, tokens_out * entry.cached, entry.cost_nano or 0)
        group = found[start, tuple(labels[name] for name in query.group_by)]
        for place, count in enumerate((*counts, *more)):
            group[place] += count
    return {key: tuple(counts) for key, counts in found.items()}


def told(reader: EmbeddedAnalyticsReader, shard: ShardKey, query: RollupQuery) -> dict[object, tuple[int, ...]]:
    answer = reader.groups({"gw": shard}, query)
    assert answer.complete
    return {(group.start_ms, group.labels): tuple(group[2:10]) for group in answer.groups}


def settle(writer: EmbeddedLogWriter) -> None:
    for _ in range(2):
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


QUERIES = (
    EVER,
    RollupQuery(EVER.from_ms, EVER.to_ms, "day", ("model",)),
    RollupQuery(EVER.from_ms, EVER.to_ms, "hour", ("gateway", "error")),
    RollupQuery(EVER.from_ms, EVER.to_ms, "hour", ("metadata.team", "cached"), "team"),
    RollupQuery(START_MS, START_MS + 24 * HOUR_MS, "none"),
)
BY_MINUTE = (
    RollupQuery(EVER.from_ms, EVER.to_ms, "minute", ("provider",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 5 * HOUR_MS + 60_000, "hour", ("cached",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 28 * HOUR_MS + 60_000, "day", ("cached",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 26 * 60_000),
    RollupQuery(START_MS + 47 * 60_000, START_MS + 66 * 60_000),
)


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
    "step", ["sync_path", "create_database", "_open_stats", "_add_bounded", "read_series", "add_sums"]
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


def test_tests_of_dimensions_choose_what_is_counted(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, some_logs: Logs
) -> None:
    logs = some_logs(60, 8)
    opened().append(shard, logs, AT)

    def count(*tests: Condition | AnyOf) -> int:
        query = RollupQuery(0, EVER.to_ms, where=AllOf(tests))
        return sum(group.requests for group in analytics.groups({"gw": shard}, query).groups)

    entries = [log.entry for log in logs]
    is_a, is_bad = Condition("model", "eq", ("a",)), Condition("status_code", "geq", (429,))
    assert count() == 60
    assert count(is_a) == sum(entry.model == "a" for entry in entries)
    assert count(is_a, is_bad) == sum(entry.model == "a" and entry.status_code >= 429 for entry in entries)
    assert count(AnyOf((is_a, is_bad))) == sum(entry.model == "a" or entry.status_code >= 429 for entry in entries)
    assert count(Condition("status_code", "lt", (429,))) == sum(entry.status_code == 200 for entry in entries)
    assert count(Condition("provider", "in", ("x", "openai"))) == sum(entry.provider == "openai" for entry in entries)
    assert count(Condition("gateway", "neq", ("gw",))) == 0
    assert count(Condition("model", "gt", (5,))) == 0


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


def test_a_shard_that_was_never_written_has_no_groups_and_a_dropped_one_none_any_more(
    opened: Writers, analytics: EmbeddedAnalyticsReader, shard: ShardKey, folder: Path, some_logs: Logs
) -> None:
    assert analytics.groups({"gw": shard}, EVER) == ([], EVER.from_ms, EVER.to_ms, True)
    writer = opened(bounds=SMALL)
    for each in some_logs(45, 10):
        writer.append(shard, [each], AT)
    settle(writer)
    writer.drop(shard)
    assert not folder.exists()
    assert analytics.groups({"gw": shard}, EVER).groups == []


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
