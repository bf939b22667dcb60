"""What LogWriter promises of changes to stored logs, and of deletes, for every backend."""

from collections.abc import Callable
from typing import Any

import msgspec

from sluice.storage.ports import LogQuery
from sluice.values.command import Change
from sluice.values.log import LogEntry, NewLog, Position, ShardKey

SHARD = ShardKey("acme", "0123456789abcdef" * 2)
AT = {"0": Position(1, 100)}
Store = Any
"""A writer and a reader of one store: see conftest.py."""


def logs_of(*entries: LogEntry) -> list[NewLog]:
    return [NewLog(entry, f"to {entry.id}".encode(), f"from {entry.id}".encode()) for entry in entries]


def test_changes_are_seen_at_once_and_leave_all_else_as_it_was(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    logs = [entry(metadata={"n": index, "team": "a"}) for index in range(5)]
    store.writer.append(SHARD, logs_of(*logs), AT)
    first, second, third, _, other = logs
    later = {"128": Position(1, 100)}
    some = {first.id, second.id.lower()}
    assert store.writer.change(SHARD, [*some, entry().id], Change(feedback=1), later) == some
    assert store.writer.positions(SHARD) == AT
    assert store.writer.change(SHARD, [*some], Change(feedback=1), later) == some
    assert store.writer.positions(SHARD) == AT | later
    change = Change(score=0.5, metadata={"who": "ü\0", "sure": True, "n": 1 << 60})
    assert store.writer.change(SHARD, [second.id, third.id], change, {}) == {second.id, third.id}
    expected = [
        msgspec.structs.replace(first, feedback=1),
        msgspec.structs.replace(second, feedback=1, score=0.5, metadata=change.metadata),
        msgspec.structs.replace(third, score=0.5, metadata=change.metadata),
        *logs[3:],
    ]
    assert store.reader.tail(SHARD, 0, 10)[0] == expected
    assert store.writer.change(SHARD, [second.id], Change(feedback=None, score=None, metadata=None), {}) == {second.id}
    assert store.writer.change(SHARD, [other.id], Change(), {}) == {other.id}
    expected[1] = msgspec.structs.replace(second, metadata={})
    assert opened().reader.tail(SHARD, 0, 10)[0] == expected
    assert all(opened().read(log.id, "request") == f"to {log.id}".encode() for log in logs)


def test_what_is_deleted_is_gone_with_its_bodies_and_nothing_else_is(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    logs = [entry(event_id="e", request_id="r") for _ in range(9)]
    store.writer.append(SHARD, logs_of(*logs), AT)
    gone = [log.id for log in logs[::2]]
    later = {"128": Position(1, 100)}
    assert store.writer.delete(SHARD, [gone[0], gone[0].lower(), entry().id, "none"], later) == {gone[0].lower()}
    assert store.writer.positions(SHARD) == AT
    assert store.writer.delete(SHARD, gone[1:], later) == {*gone[1:]}
    assert store.writer.positions(SHARD) == AT | later
    for again in (store, opened()):
        assert again.writer.rows(SHARD) == 4
        assert again.listed() == [log.id for log in logs[7::-2]]
        assert again.reader.page(SHARD, LogQuery()).total == 4
        assert [again.reader.get(SHARD, log_id) for log_id in gone] == [None] * 5
        assert [again.read(log_id, side) for log_id in gone for side in ("request", "response")] == [None] * 10
        assert [again.read(log.id, "response") for log in logs[1::2]] == [
            f"from {log.id}".encode() for log in logs[1::2]
        ]
        assert again.reader.tail(SHARD, 0, 100)[0] == logs[1::2]
        assert again.reader.tail(SHARD, -2, 100)[0] == logs[5::2]
    store = opened()
    assert store.writer.delete(SHARD, gone, {}) == set()
    fresh = entry()
    store.writer.append(SHARD, logs_of(fresh), AT)
    assert [log.id for log in store.reader.tail(SHARD, 9, 100)[0]] == [fresh.id]


def test_a_deleted_log_does_not_come_back_with_a_replay_of_its_frame(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    log = entry()
    store.writer.append(SHARD, logs_of(log), AT)
    store.writer.delete(SHARD, [log.id], {})
    assert opened().writer.positions(SHARD) == AT  # by which the keeper knows it


def test_changes_to_a_shard_that_was_never_written_find_nothing_and_make_nothing(
    store: Store, entry: Callable[..., LogEntry]
) -> None:
    assert store.writer.change(SHARD, [entry().id], Change(feedback=1), AT) == set()
    assert store.writer.delete(SHARD, [entry().id], AT) == set()
    assert store.writer.positions(SHARD) == {}


def test_the_ids_of_a_page_are_those_of_its_logs(store: Store, entry: Callable[..., LogEntry]) -> None:
    assert store.reader.ids(SHARD, LogQuery(), 1.0) == []
    logs = [entry(model=f"m{index % 3}") for index in range(7)]
    store.writer.append(SHARD, logs_of(*logs), AT)
    queries = [LogQuery(), LogQuery(page=2, per_page=3), LogQuery(order_by="model", descending=False), LogQuery(page=9)]
    for query in queries:
        page = store.reader.page(SHARD, query)
        assert store.reader.ids(SHARD, query, 1.0) == [entry.id for entry in page.entries]
