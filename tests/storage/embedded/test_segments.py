"""A shard of many segments: when they roll, what a replay finds in them, how they are read as one."""

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery, OrderBy, StoreFault
from sluice.values.ids import text_of
from sluice.values.log import LogEntry, NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
DAY_MS = 24 * 3_600_000
THREE_ROWS = BOUNDS._replace(rows=3)
ORDERS: tuple[OrderBy, ...] = ("created_at", "provider", "model", "model_type", "success", "cached")
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


def databases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("0*.db"))


def body(reader: EmbeddedLogReader, shard: ShardKey, log: NewLog) -> bytes | None:
    pieces = reader.body(shard, log.entry.id, "request")
    return None if pieces is None else b"".join(pieces)


def at(log: NewLog, key: int, tail: int = 0, **changes: object) -> NewLog:
    """The log with another key in its id."""
    log_id = text_of(key << 59 | tail)
    entry = msgspec.structs.replace(
        log.entry, id=log_id, request_id=log_id, event_id=log_id, created_ms=key >> 21, **changes
    )
    return log._replace(entry=entry)


def ids(reader: EmbeddedLogReader, shard: ShardKey, **query: object) -> list[str]:
    return [entry.id for entry in reader.page(shard, msgspec.convert(query, LogQuery)).entries]


def test_a_full_segment_is_followed_by_the_next_one_with_packs_of_its_own(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(10)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        writer.append(shard, [each], AT)
    names = [f"{number:08d}" for number in (1, 2, 3, 4)]
    assert databases(folder) == [f"{name}.db" for name in names]
    assert sorted(path.name for path in folder.glob("*.pack")) == [f"{name}-0001.pack" for name in names]
    assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]
    assert reader.tail(shard, 0, 100) == ([each.entry for each in logs], 10)
    writer.close()
    writer = opened(bounds=THREE_ROWS)
    assert writer.positions(shard) == AT
    writer.append(shard, [log()], AT)
    assert len(databases(folder)) == 4


def test_a_segment_is_full_by_the_bytes_of_its_packs_too(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=BOUNDS._replace(pack_bytes=100_000))
    for _ in range(5):
        writer.append(shard, [log(random.randbytes(60_000))], AT)
    assert len(databases(folder)) == 3
    writer.append(shard, [log(random.randbytes(17_000_000))], AT)
    writer.append(shard, [log()], AT)
    assert len(databases(folder)) == 4


def test_a_segment_is_full_by_its_age_unless_it_is_empty(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    now_ms = [1_800_000_000_000]
    writer = opened(clock_ms=lambda: now_ms[0])
    writer.append(shard, [log()], AT)
    now_ms[0] += 7 * DAY_MS - 1
    writer.append(shard, [log()], AT)
    assert len(databases(folder)) == 1
    now_ms[0] += 1
    for _ in range(2):
        writer.append(shard, [log()], AT)
    assert len(databases(folder)) == 2
    now_ms[0] += 7 * DAY_MS
    writer.close()
    opened(clock_ms=lambda: now_ms[0]).append(shard, [log()], AT)
    assert len(databases(folder)) == 3


def test_a_replay_finds_its_logs_in_whichever_segment_they_are(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(11)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs[:10]:
        writer.append(shard, [each], AT)
    assert writer.append(shard, logs, AT) == 1
    assert [writer.append(shard, [each], AT) for each in logs] == [0] * 11
    writer.close()
    assert opened(bounds=THREE_ROWS).append(shard, logs[::-1], AT) == 0
    assert reader.page(shard, LogQuery()).total == 11
    assert reader.tail(shard, 0, 100)[0] == [each.entry for each in logs]
    assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]


def test_logs_that_share_a_key_get_each_their_own_in_all_segments_together(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, log: Logs
) -> None:
    key = 1_760_000_000_000 << 21
    logs = [at(log(b"%d" % tail), key + tail % 2, tail) for tail in range(12)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        assert writer.append(shard, [each], AT) == 1
    assert [writer.append(shard, [each], AT) for each in logs] == [0] * 12
    assert [reader.get(shard, each.entry.id) for each in logs] == [each.entry for each in logs]
    assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]
    walked: list[str] = []
    cursor = None
    while (page := reader.page(shard, LogQuery(per_page=1, cursor=cursor))).entries:
        walked.append(page.entries[0].id)
        if (cursor := page.cursor) is None:
            break
    assert sorted(walked) == sorted(each.entry.id for each in logs)


def scattered(log: Logs, count: int, seed: int) -> list[NewLog]:
    """Logs in the order of their end: most began shortly before, some long ago, as realtime connections do."""
    chance = random.Random(seed)
    base = 1_760_000_000_000
    logs = []
    for number in range(count):
        began_ms = base + number * 10 - chance.choice((0, 0, 0, 5, 40, 5_000, 10**9))
        logs.append(
            at(
                log(None, None),
                (began_ms << 21) + chance.randrange(1 << 21),
                number,
                provider=chance.choice(("openai", "anthropic", "groq")),
                model=chance.choice(("", "a", "b", "ü", "\U0001f600")),
                model_type=chance.choice((None, "", "Text Generation")),
                success=chance.random() < 0.7,
                cached=chance.random() < 0.3,
            )
        )
    return logs


@pytest.mark.parametrize(("near", "few"), [(0, 0), (0, 30), (1, 2), (7, 1_000), (1_000, 1_000)])
@pytest.mark.parametrize("seed", [1, 2])
def test_many_segments_whose_times_overlap_are_read_as_one(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    log: Logs,
    monkeypatch: pytest.MonkeyPatch,
    near: int,
    few: int,
    seed: int,
) -> None:
    monkeypatch.setattr("sluice.storage.embedded.walking.NEAR", near)
    monkeypatch.setattr("sluice.storage.embedded.walking.FEW", few)
    logs = scattered(log, 120, seed)
    writer = opened(bounds=BOUNDS._replace(rows=11))
    for start in range(0, 120, 3):
        writer.append(shard, logs[start : start + 3], AT)
    newest = sorted((each.entry for each in logs), key=lambda entry: entry.id, reverse=True)
    chance = random.Random(seed)
    for order_by in ORDERS:
        for descending in (True, False):

            def value(entry: LogEntry, by: str = order_by) -> tuple[bool, str]:
                found = getattr(entry, "id" if by == "created_at" else by)
                return found is not None, str(found)

            expected = [entry.id for entry in sorted(newest, key=value, reverse=descending)]
            for per_page in (1, 1, 1, 7, 7, 50):
                page = chance.randrange(1, 120 // per_page + 2)
                found = ids(reader, shard, page=page, per_page=per_page, order_by=order_by, descending=descending)
                assert found == expected[(page - 1) * per_page :][:per_page], (order_by, descending, page, per_page)


@pytest.mark.parametrize("descending", [True, False])
def test_a_cursor_passes_each_log_once_whatever_is_stored_meanwhile(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, log: Logs, descending: bool
) -> None:
    logs = scattered(log, 200, 3)
    writer = opened(bounds=BOUNDS._replace(rows=13))
    writer.append(shard, logs[:5], AT)
    writer.append(shard, logs[5:100], AT)
    cursor, walked, later = None, list[str](), logs[100:]
    while True:
        page = reader.page(shard, LogQuery(per_page=9, descending=descending, cursor=cursor))
        walked += [entry.id for entry in page.entries]
        if (cursor := page.cursor) is None:
            break
        writer.append(shard, later[:9], AT)
        del later[:9]
    assert len(set(walked)) == len(walked)
    assert {each.entry.id for each in logs[:100]} <= set(walked)
    assert walked == sorted(walked, reverse=descending)


def test_a_shard_of_the_first_format_is_read_as_it_is_and_becomes_the_first_segment(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    made_older: Callable[..., None],
) -> None:
    logs = [log(b"%d" % number) for number in range(5)]
    writer = opened()
    writer.append(shard, logs[:4], AT)
    writer.close()
    made_older(folder / "00000001.db", 1)
    assert reader.page(shard, LogQuery()).total == 4
    writer = opened(bounds=THREE_ROWS)
    assert writer.positions(shard) == AT
    assert writer.append(shard, logs, AT) == 1
    assert databases(folder) == ["00000001.db", "00000002.db"]
    assert reader.tail(shard, 0, 100) == ([each.entry for each in logs], 5)
    assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no database" * 5_000)])
def test_a_damaged_segment_is_named_and_keeps_no_log_from_being_stored(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    damage: Callable[[Path], object],
) -> None:
    late, *logs = [at(log(b"%d" % number), (1_760_000_000_000 + number) << 21) for number in range(9)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        writer.append(shard, [each], AT)
    writer.close()
    damage(folder / "00000002.db")
    writer = opened(bounds=THREE_ROWS)
    assert writer.append(shard, [late, log(b"new")], AT) == 2
    assert body(reader, shard, late) == b"0"
    assert reader.page(shard, LogQuery(per_page=3)).total == 10
    assert reader.get(shard, logs[0].entry.id) == logs[0].entry
    for ask in (lambda: reader.get(shard, logs[3].entry.id), lambda: reader.page(shard, LogQuery(per_page=9))):
        with pytest.raises(StoreFault):
            ask()


def test_a_power_loss_after_a_roll_takes_only_what_the_new_segment_had_not_synced(
    opened: Writers, shard: ShardKey, root: Path, log: Logs, tmp_path: Path
) -> None:
    logs = [log(b"%d" % number) for number in range(5)]
    writer = opened(bounds=THREE_ROWS)
    for number, each in enumerate(logs):
        writer.append(shard, [each], {"0": Position(1, number)})
    writer._tools.housekeeping._thread.submit(lambda: None).result()  # nothing is made or removed while it is copied
    shutil.copytree(root, tmp_path / "after", ignore=shutil.ignore_patterns("*.tmp*"))
    folder = tmp_path / "after" / shard.account / shard.gateway
    for lost in ("00000002.db-wal", "00000002.db-shm", "00000002-0001.pack"):
        (folder / lost).unlink()
    with (
        closing(EmbeddedLogWriter.open(tmp_path / "after", bounds=THREE_ROWS)) as replayed,
        closing(EmbeddedLogReader(tmp_path / "after")) as reader,
    ):
        assert replayed.positions(shard) == {"0": Position(1, 2)}
        assert reader.tail(shard, 0, 10)[0] == [each.entry for each in logs[:3]]
        assert replayed.append(shard, logs[2:], {"0": Position(1, 4)}) == 2
        assert reader.tail(shard, 0, 10) == ([each.entry for each in logs], 5)
        assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]
