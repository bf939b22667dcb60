"""What LogWriter and LogReader promise, for every backend."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice.storage.ports import Keep, LogPage, LogQuery, OrderBy, StoreFault
from sluice.values.ids import Mint, text_of
from sluice.values.log import LogEntry, NewLog, Position, ShardKey, SideFile, Usage

SHARD = ShardKey("acme", "0123456789abcdef" * 2)
OTHER = ShardKey("acme", "fedcba9876543210" * 2)
START_MS = 1_760_000_000_000
AT = {"0": Position(1, 100)}
Store = Any
"""A writer and a reader of one store: see conftest.py."""


def logs_of(*entries: LogEntry) -> list[NewLog]:
    return [NewLog(entry, f"to {entry.id}".encode(), f"from {entry.id}".encode()) for entry in entries]


def test_a_shard_never_written_is_an_empty_one(store: Store) -> None:
    log_id = Mint(0).mint()
    assert store.reader.page(SHARD, LogQuery()) == LogPage([], 0, True)
    assert store.reader.get(SHARD, log_id) is None
    assert store.reader.body(SHARD, log_id, "request") is None
    assert store.reader.head(SHARD, log_id, "response", 10) is None
    assert store.reader.tail(SHARD, 0, 10) == ([], 0)
    assert store.writer.positions(SHARD) == {}
    store.writer.drop(SHARD)


def test_what_is_appended_is_there_at_once_in_every_field(store: Store, entry: Callable[..., LogEntry]) -> None:
    plain = entry()
    rare = entry(
        request_id="01JC3R94FRD97JBCBX3S0ZAXKW",
        event_id="e-1",
        created_ms=START_MS - 5,
        latency_ms=None,
        model="",
        model_type=None,
        request_type="realtime",
        request_content_type=None,
        response_content_type=None,
        status_code=502,
        success=False,
        cached=True,
        incomplete=True,
        ending="broken",
        error=2005,
        step=3,
        attempts=5,
        usage=Usage(None, 0, None, 7, 8, 9, audio_in=4, cached_audio_in=3),
        cost_nano=None,
        custom_cost=True,
        metadata={"text": "ü\0\U0001f600", "whole": -(1 << 60), "part": 0.1, "yes": True, "": ""},
        user_agent=None,
        authentication=False,
        wholesale=True,
        byok=True,
        compat=True,
        payload=False,
        request_bytes=1 << 40,
        response_bytes=0,
        request_truncated=True,
        response_truncated=True,
        connection_id="c",
        feedback=-1,
        score=99.5,
        detail="the upstream closed",
        request_encoding="gzip",
        response_encoding="br",
    )
    assert store.writer.append(SHARD, logs_of(plain, rare), AT) == 2
    assert [store.reader.get(SHARD, log.id) for log in (plain, rare)] == [plain, rare]
    assert store.reader.page(SHARD, LogQuery(order_by="created_at")).entries == [rare, plain]
    assert store.reader.tail(SHARD, 0, 10) == ([plain, rare], 2)


def test_an_id_is_found_in_either_case_and_only_in_its_shard(store: Store, entry: Callable[..., LogEntry]) -> None:
    log = entry()
    store.writer.append(SHARD, logs_of(log), AT)
    assert store.reader.get(SHARD, log.id.lower()) == log
    assert store.reader.get(OTHER, log.id) is None
    assert store.reader.get(SHARD, log.id[:-1] + ("0" if log.id[-1] != "0" else "1")) is None
    for no_id in ("", "x", "../../etc/passwd", "Z" * 26, "7" + "Z" * 25):
        assert store.reader.get(SHARD, no_id) is None


def test_bodies_come_back_as_they_were(store: Store, entry: Callable[..., LogEntry], tmp_path: Path) -> None:
    side = tmp_path / "side"
    side.write_bytes(b"0123456789" * 200_000 + b"more than was promised")
    bodies = [b"", b"x", b"{}" * 1000, bytes(range(256)) * 5_000, None, SideFile(side, 2_000_000)]
    logs = [NewLog(entry(), body, bodies[-1 - index]) for index, body in enumerate(bodies)]
    store.writer.append(SHARD, logs, AT)
    expected = [*bodies[:-1], b"0123456789" * 200_000]
    assert [store.read(log.entry.id, "request") for log in logs] == expected
    assert [store.read(log.entry.id, "response") for log in logs] == expected[::-1]


def test_the_head_of_a_body_is_its_beginning(store: Store, entry: Callable[..., LogEntry]) -> None:
    log = NewLog(entry(), b"abc" * 1_000_000, b"short")
    store.writer.append(SHARD, [log], AT)
    assert store.reader.head(SHARD, log.entry.id, "request", 65_536) == (b"abc" * 30_000)[:65_536]
    assert store.reader.head(SHARD, log.entry.id, "response", 65_536) == b"short"
    assert store.reader.head(SHARD, log.entry.id, "response", 0) == b""


@pytest.mark.parametrize("length", [7, 100_000, 30_000_000])
def test_a_body_whose_side_file_is_gone_or_short_is_lost_and_its_log_stays(
    store: Store, entry: Callable[..., LogEntry], tmp_path: Path, length: int
) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"x" * (length - 1))
    log = NewLog(entry(), SideFile(tmp_path / "missing", length), SideFile(short, length))
    after = NewLog(entry(), b"after", b"wards")
    assert store.writer.append(SHARD, [log, after], AT) == 2
    assert store.reader.get(SHARD, log.entry.id) == log.entry
    assert [store.read(log.entry.id, side) for side in ("request", "response")] == [None, None]
    assert store.reader.head(SHARD, log.entry.id, "response", 10) is None
    assert [store.read(after.entry.id, side) for side in ("request", "response")] == [b"after", b"wards"]


def test_positions_move_with_the_rows_and_outlive_the_writer(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    store.writer.append(SHARD, logs_of(entry()), {"0": Position(1, 10), "1": Position(7, 0)})
    store.writer.append(SHARD, [], {"0": Position(2, 5)})
    assert store.writer.positions(SHARD) == {"0": Position(2, 5), "1": Position(7, 0)}
    assert opened().writer.positions(SHARD) == {"0": Position(2, 5), "1": Position(7, 0)}
    assert opened().writer.positions(OTHER) == {}


def test_a_replay_stores_nothing_twice(opened: Callable[[], Store], entry: Callable[..., LogEntry]) -> None:
    first, second, third = logs_of(entry(), entry(), entry())
    store = opened()
    assert store.writer.append(SHARD, [first, second], AT) == 2
    assert store.writer.append(SHARD, [first, second, third, third], AT) == 1
    assert opened().writer.append(SHARD, [second, third], AT) == 0
    assert opened().reader.page(SHARD, LogQuery()).total == 3
    assert opened().reader.tail(SHARD, 0, 10) == ([first.entry, second.entry, third.entry], 3)
    assert opened().read(second.entry.id, "response") == second.response


def test_logs_whose_ids_share_a_key_are_all_stored_and_found(store: Store, entry: Callable[..., LogEntry]) -> None:
    key = START_MS << 21
    same = logs_of(*(entry(id=text_of(key << 59 | tail)) for tail in range(5)))
    neighbour = logs_of(entry(id=text_of(key + 1 << 59)))
    assert store.writer.append(SHARD, same[:3], AT) == 3
    assert store.writer.append(SHARD, neighbour, AT) == 1
    assert store.writer.append(SHARD, same[3:] + same[:1] + neighbour, AT) == 2
    for log in same + neighbour:
        assert store.reader.get(SHARD, log.entry.id) == log.entry
        assert store.read(log.entry.id, "request") == log.request
    assert store.reader.page(SHARD, LogQuery()).total == 6


def test_the_impossible_log_is_refused_and_nothing_of_its_batch_is_stored(
    store: Store, entry: Callable[..., LogEntry]
) -> None:
    good = entry()
    impossible = [
        {"id": "not an id" + "0" * 17},
        {"usage": Usage(tokens_in=1 << 64)},
        {"user_agent": "\ud800"},
        {"detail": "\ud800"},
        {"id": "7" + "Z" * 25, "created_ms": 0},
    ]
    for changes in impossible:
        bad = msgspec.structs.replace(entry(), **changes)
        with pytest.raises(ValueError):
            store.writer.append(SHARD, logs_of(good, bad), AT)
        assert store.reader.page(SHARD, LogQuery()).total == 0
    assert store.writer.positions(SHARD) == {}
    assert store.writer.append(SHARD, logs_of(good), AT) == 1
    assert store.read(good.id, "request") == f"to {good.id}".encode()


def test_pages_are_newest_first_and_end_in_empty_ones(store: Store, entry: Callable[..., LogEntry]) -> None:
    logs = [entry() for _ in range(7)]
    store.writer.append(SHARD, logs_of(*logs[3:]), AT)
    store.writer.append(SHARD, logs_of(*logs[:3]), AT)  # long requests end late
    newest = [log.id for log in reversed(logs)]
    assert [store.listed(page=page, per_page=3) for page in (1, 2, 3, 4)] == [newest[:3], newest[3:6], newest[6:], []]
    assert store.listed(page=10**18, per_page=50) == []
    assert store.listed(per_page=3, descending=False) == newest[:-4:-1]
    assert store.reader.page(SHARD, LogQuery(page=3, per_page=3)).total == 7
    assert store.reader.page(SHARD, LogQuery(page=9, per_page=3)) == LogPage([], 7, True)


@pytest.mark.parametrize("order_by", ["provider", "model", "model_type", "success", "cached"])
def test_lists_are_ordered_by_what_is_asked_with_the_newest_first_among_equals(
    store: Store, entry: Callable[..., LogEntry], order_by: OrderBy
) -> None:
    values: list[object] = [True, False] if order_by in ("success", "cached") else ["zeta", "alpha", "mid"]
    logs = [entry(**{order_by: values[index % len(values)]}) for index in range(8)]
    store.writer.append(SHARD, logs_of(*logs), AT)
    newest = sorted(logs, key=lambda log: log.id, reverse=True)
    for descending in (True, False):
        expected = sorted(newest, key=lambda log: getattr(log, order_by), reverse=descending)
        ids = [log.id for log in expected]
        assert store.listed(order_by=order_by, descending=descending) == ids
        assert store.listed(order_by=order_by, descending=descending, page=2, per_page=3) == ids[3:6]


@pytest.mark.parametrize("order_by", ["cost", "tokens_in", "tokens_out", "duration", "feedback"])
@pytest.mark.parametrize("descending", [True, False])
def test_lists_are_ordered_by_numbers_and_what_has_none_is_least(
    store: Store, entry: Callable[..., LogEntry], order_by: OrderBy, descending: bool
) -> None:
    numbers = [3, None, 1, 3, -1, None, 0, 3] if order_by != "duration" else [3, 9, 1, 3, 5, 9, 0, 3]
    logs = [_numbered(entry, order_by, number) for number in numbers]
    store.writer.append(SHARD, logs_of(*logs), AT)
    newest = sorted(zip(numbers, logs, strict=True), key=lambda pair: pair[1].id, reverse=True)
    ordered = sorted(newest, key=lambda pair: (pair[0] is not None, pair[0] or 0), reverse=descending)
    ids = [log.id for _, log in ordered]
    assert store.listed(order_by=order_by, descending=descending) == ids
    assert store.listed(order_by=order_by, descending=descending, page=2, per_page=3) == ids[3:6]
    assert store.reader.ids(SHARD, LogQuery(1, 5, order_by, descending), 1.0) == ids[:5]


def _numbered(entry: Callable[..., LogEntry], name: str, number: int | None) -> LogEntry:
    if name in ("tokens_in", "tokens_out"):
        return entry(usage=Usage(**{name: number}))
    return entry(**{{"cost": "cost_nano", "duration": "duration_ms"}.get(name, name): number})


def test_the_tail_follows_the_order_of_storing_and_begins_where_it_is_told(
    store: Store, entry: Callable[..., LogEntry]
) -> None:
    logs = [entry() for _ in range(5)]
    store.writer.append(SHARD, logs_of(*logs[3:]), AT)
    store.writer.append(SHARD, logs_of(*logs[:3]), AT)
    stored = [*logs[3:], *logs[:3]]
    first, reached = store.reader.tail(SHARD, 0, 2)
    rest, end = store.reader.tail(SHARD, reached, 10)
    assert first + rest == stored
    assert store.reader.tail(SHARD, end, 10) == ([], end)
    assert store.reader.tail(SHARD, -2, 10) == (stored[-2:], end)
    assert store.reader.tail(SHARD, -100, 2) == (stored[:2], reached)
    late = entry()
    store.writer.append(SHARD, logs_of(late), AT)
    assert store.reader.tail(SHARD, end, 10)[0] == [late]
    assert store.reader.tail(SHARD, 0, 10, 2) == (stored[:2], 2)
    assert store.reader.tail(SHARD, end, 10, 2) == ([], end)


def test_readers_are_told_how_much_survives_a_power_loss(store: Store, entry: Callable[..., LogEntry]) -> None:
    assert store.reader.synced(SHARD) == 0
    store.writer.append(SHARD, logs_of(entry(), entry()), AT)
    assert store.reader.synced(SHARD) == 0
    store.writer.sync()
    assert store.reader.synced(SHARD) == 2
    store.writer.append(SHARD, logs_of(entry()), AT)
    assert store.reader.synced(SHARD) == 2


def test_shards_are_kept_apart_and_a_dropped_one_is_empty_and_may_begin_anew(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    mine, theirs = entry(), entry()
    store.writer.append(SHARD, logs_of(mine), AT)
    store.writer.append(OTHER, logs_of(theirs), AT)
    assert store.listed() == [mine.id]
    store.writer.drop(SHARD)
    assert (store.listed(), store.writer.positions(SHARD), store.read(mine.id, "request")) == ([], {}, None)
    assert store.reader.get(OTHER, theirs.id) == theirs
    again = entry()
    store.writer.append(SHARD, logs_of(again), AT)
    assert store.listed() == [again.id]
    assert opened().listed() == [again.id]


@pytest.mark.parametrize("account", ["..", ".", "a/b", "/etc", "a\0b", "ü", "A b%2F", "x" * 64, ".trash-x", "\udcff"])
def test_any_account_name_is_a_shard_of_its_own_inside_the_store(
    store: Store, entry: Callable[..., LogEntry], account: str, tmp_path: Path
) -> None:
    shard = ShardKey(account, SHARD.gateway)
    outside = {path for path in tmp_path.parent.iterdir() if path != tmp_path}
    log = entry()
    store.writer.append(shard, logs_of(log), AT)
    assert store.reader.get(shard, log.id) == log
    assert store.reader.get(SHARD, log.id) is None
    assert {path for path in tmp_path.parent.iterdir() if path != tmp_path} == outside


@pytest.mark.parametrize("gateway", ["", "..", "0" * 31, "0" * 33, "G" * 32, "../" + "0" * 29, "A" * 32])
def test_what_is_no_gateway_id_is_refused(store: Store, entry: Callable[..., LogEntry], gateway: str) -> None:
    for shard in (ShardKey("acme", gateway), ShardKey("", SHARD.gateway)):
        if shard.gateway == SHARD.gateway and gateway:
            continue
        with pytest.raises(StoreFault):
            store.writer.append(shard, logs_of(entry()), AT)
        with pytest.raises(StoreFault):
            store.reader.page(shard, LogQuery())


def test_a_synced_store_opens_with_all_that_was_appended(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    logs = [entry(metadata={"n": index}) for index in range(50)]
    for log in logs:
        store.writer.append(SHARD, logs_of(log), AT)
        store.writer.sync()
    assert opened().reader.tail(SHARD, 0, 100)[0] == logs


def test_a_trimmed_shard_holds_exactly_its_newest_logs_and_the_rest_is_nowhere(
    opened: Callable[[], Store], entry: Callable[..., LogEntry]
) -> None:
    store = opened()
    logs = [entry(event_id="e") for _ in range(11)]
    for log in logs:
        store.writer.append(SHARD, logs_of(log), AT)
    assert (store.writer.rows(SHARD), store.writer.rows(OTHER)) == (11, 0)
    assert store.writer.trim(SHARD, Keep(rows=11)) == store.writer.trim(OTHER, Keep(rows=1)) == 0
    for limit in (10, 9, 4, 3, 1, 0):
        gone, kept = logs[: 11 - limit], logs[11 - limit :]
        assert store.writer.trim(SHARD, Keep(rows=limit)) > 0
        assert store.writer.trim(SHARD, Keep(rows=limit)) == 0
        assert store.writer.rows(SHARD) == store.reader.page(SHARD, LogQuery()).total == limit
        assert store.listed(per_page=50) == [log.id for log in reversed(kept)]
        assert store.listed(per_page=2, page=2) == [log.id for log in reversed(kept)][2:4]
        assert store.listed(per_page=50, order_by="provider") == [log.id for log in reversed(kept)]
        assert store.reader.tail(SHARD, 0, 50) == (kept, 11)
        assert [store.reader.get(SHARD, log.id) for log in gone] == [None] * len(gone)
        assert {store.read(log.id, "request") for log in gone} == {None}
        assert [store.reader.get(SHARD, log.id) for log in kept] == kept
        if limit == 4:
            store = opened()
    assert store.writer.positions(SHARD) == AT
    more = [entry() for _ in range(3)]
    assert store.writer.append(SHARD, logs_of(*more), AT) == 3
    assert store.reader.tail(SHARD, 11, 50) == (more, 14)
    assert store.listed() == [log.id for log in reversed(more)]


def test_logs_before_a_time_go_and_no_others(store: Store, entry: Callable[..., LogEntry]) -> None:
    logs = [entry() for _ in range(9)]
    for log in [*logs[3:], *logs[:3]]:  # the oldest were the longest
        store.writer.append(SHARD, logs_of(log), AT)
    for kept in (9, 7, 5, 1):
        since_ms = logs[-kept].created_ms
        assert store.writer.trim(SHARD, Keep(since_ms=since_ms)) == (0 if kept == 9 else 4 if kept == 1 else 2)
        assert store.listed() == [log.id for log in reversed(logs[-kept:])]
        assert store.writer.rows(SHARD) == store.reader.page(SHARD, LogQuery()).total == kept
    assert store.writer.trim(SHARD, Keep(since_ms=logs[-1].created_ms + 1)) == 1
    assert store.reader.page(SHARD, LogQuery()) == LogPage([], 0, True)
    again = entry()
    store.writer.append(SHARD, logs_of(again), AT)
    assert store.listed() == [again.id]


def test_a_log_older_than_what_was_kept_is_not_there_when_it_comes(
    store: Store, entry: Callable[..., LogEntry]
) -> None:
    logs = [entry() for _ in range(2)]
    store.writer.append(SHARD, logs_of(logs[1]), AT)
    store.writer.trim(SHARD, Keep(rows=0))
    assert store.writer.append(SHARD, logs_of(logs[0]), AT) == 1
    store.writer.trim(SHARD, Keep(rows=0))
    assert store.reader.page(SHARD, LogQuery()) == LogPage([], 0, True)
    assert store.reader.get(SHARD, logs[0].id) is None
    assert store.writer.append(SHARD, logs_of(*logs), AT) == 0
    assert store.writer.rows(SHARD) == 0


def test_the_bytes_of_a_shard_stay_under_a_limit(store: Store, entry: Callable[..., LogEntry]) -> None:
    logs = [NewLog(entry(), random.randbytes(100_000), None) for _ in range(12)]
    for log in logs:
        store.writer.append(SHARD, [log], AT)
    before = store.writer.bytes(SHARD)
    assert before > 1_200_000
    assert store.writer.bytes(OTHER) == 0
    store.writer.trim(SHARD, Keep(bytes=before))
    assert store.writer.rows(SHARD) == 12
    for _ in range(30):
        store.writer.append(SHARD, [NewLog(entry(), random.randbytes(100_000), None)], AT)
        store.writer.trim(SHARD, Keep(bytes=2_400_000))
    assert store.writer.bytes(SHARD) <= 2_400_000
    assert 1 <= store.writer.rows(SHARD) < 24
    assert store.reader.get(SHARD, logs[0].entry.id) is None


def test_a_text_in_a_body_is_found_newest_first_and_behind_a_cursor(
    store: Store, entry: Callable[..., LogEntry]
) -> None:
    entries = [entry() for _ in range(5)]
    logs = [NewLog(each, b"ask %d" % number, b"Tell" if number % 2 else None) for number, each in enumerate(entries)]
    for log in logs:
        store.writer.append(SHARD, [log], AT)
    page = store.reader.matching(SHARD, LogQuery(per_page=1), "TELL", 30)
    assert ([found.id for found in page.entries], page.cursor is None) == ([entries[3].id], False)
    rest = store.reader.matching(SHARD, LogQuery(cursor=page.cursor), "tell", 30)
    assert ([found.id for found in rest.entries], rest.cursor) == ([entries[1].id], None)
    assert store.reader.matching(SHARD, LogQuery(), "nowhere", 30) == ([], None, 5)
    assert store.reader.matching(OTHER, LogQuery(), "tell", 30) == ([], None, 0)
