"""What AnalyticsReader promises, for every backend."""

from collections.abc import Callable
from typing import Any

from sluice.storage.ports import AnalyticsReader, Keep
from sluice.values.log import LogEntry, Position, ShardKey
from sluice.values.rollup import AllOf, AnyOf, Condition, RollupQuery
from tests.counted import BY_MINUTE, EVER, QUERIES, brute_force, random_logs, told

SHARD = ShardKey("acme", "0123456789abcdef" * 2)
AT = {"0": Position(1, 100)}
Entries = Callable[..., LogEntry]
Store = Any
"""A writer and a reader of one store: see conftest.py."""


def test_groups_are_what_counting_the_logs_would_give_and_stay_so_when_logs_go(
    store: Store, analytics: AnalyticsReader, entry_of: Entries
) -> None:
    logs = random_logs(entry_of, 120, 3)
    for start in range(0, 120, 7):
        store.writer.append(SHARD, logs[start : start + 7], AT)
        assert store.writer.append(SHARD, logs[start : start + 3], AT) == 0
    for query in (*QUERIES, *BY_MINUTE):
        assert told(analytics, SHARD, query) == brute_force(logs, query)
    store.writer.delete(SHARD, [log.entry.id for log in logs[40:50]], {})
    store.writer.trim(SHARD, Keep(rows=20))
    for query in QUERIES:
        assert told(analytics, SHARD, query) == brute_force(logs, query)


def test_tests_of_dimensions_choose_what_is_counted(
    store: Store, analytics: AnalyticsReader, entry_of: Entries
) -> None:
    logs = random_logs(entry_of, 60, 8)
    store.writer.append(SHARD, logs, AT)

    def count(*tests: Condition | AnyOf) -> int:
        query = RollupQuery(0, EVER.to_ms, where=AllOf(tests))
        return sum(group.requests for group in analytics.groups({"gw": SHARD}, query).groups)

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


def test_a_shard_never_written_has_no_groups_and_a_dropped_one_none_any_more(
    store: Store, analytics: AnalyticsReader, entry_of: Entries
) -> None:
    assert analytics.groups({"gw": SHARD}, EVER) == ([], EVER.from_ms, EVER.to_ms, True)
    store.writer.append(SHARD, random_logs(entry_of, 5, 10), AT)
    store.writer.drop(SHARD)
    assert analytics.groups({"gw": SHARD}, EVER).groups == []
