"""Full segments are sealed in the background: nobody sees a half state, nothing changed meanwhile is lost."""

import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.open import open_segment
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Keep, LogQuery, OrderBy
from sluice.values.ids import key_of
from sluice.values.log import LogEntry, NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
THREE_ROWS = BOUNDS._replace(rows=3)
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


def settle(writer: EmbeddedLogWriter) -> None:
    """Awaits the background, lets what it made take its place, and awaits the removal of what that replaced."""
    for _ in range(2):
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


def databases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("0*.db"))


def everything(reader: EmbeddedLogReader, shard: ShardKey, logs: list[NewLog]) -> bool:
    """Whether the shard holds these logs and nothing else, in every way of reading it."""
    entries = [log.entry for log in logs]
    bodies = [b"".join(reader.body(shard, entry.id, "request") or ()) for entry in entries]
    page = reader.page(shard, LogQuery(per_page=100))
    return (
        bodies == [log.request for log in logs]
        and reader.tail(shard, 0, 100) == (entries, len(entries))
        and (page.entries, page.total) == (entries[::-1], len(entries))
        and [reader.get(shard, entry.id) for entry in entries] == entries
    )


def set_feedback(path: Path, log: NewLog, feedback: int) -> None:
    with closing(open_segment(path)) as db:
        db.execute("UPDATE log SET feedback = ? WHERE k = ?", (feedback, key_of(log.entry.id)))
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def test_a_full_segment_is_sealed_and_holds_what_it_held(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(10)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        writer.append(shard, [each], AT)
        assert reader.page(shard, LogQuery()).total > 0  # a connection to each unsealed one stays open
    settle(writer)
    assert everything(reader, shard, logs)
    assert [writer.append(shard, [each], AT) for each in logs] == [0] * 10
    writer.close()
    reader.close()
    assert databases(folder) == ["00000001.sealed.db", "00000002.sealed.db", "00000003.sealed.db", "00000004.db"]
    writer = opened(bounds=THREE_ROWS)
    assert writer.append(shard, logs[::-1], AT) == 0
    assert everything(reader, shard, logs)
    assert not [path for path in folder.iterdir() if path.stat().st_mode & 0o077]


def test_what_a_dead_keeper_did_not_seal_is_sealed_by_the_next_one(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(4)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        writer.append(shard, [each], AT)
    writer.close()
    assert databases(folder) == ["00000001.db", "00000002.db"]
    writer = opened(bounds=THREE_ROWS)
    assert writer.positions(shard) == AT
    settle(writer)
    assert not (folder / "00000001.db").exists()
    assert everything(reader, shard, logs)


def test_a_log_may_be_changed_before_and_after_its_segment_is_sealed(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(4)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs:
        writer.append(shard, [each], AT)
    writer._tools.housekeeping._thread.submit(lambda: None).result()  # the copy is made, and not in its place
    set_feedback(folder / "00000001.db", logs[0], -1)
    settle(writer)
    assert (folder / "00000001.db").exists()
    writer.close()
    writer = opened(bounds=THREE_ROWS)
    assert writer.positions(shard) == AT
    settle(writer)
    sealed = folder / "00000001.sealed.db"
    assert [entry.feedback for entry in reader.tail(shard, 0, 100)[0]] == [-1, None, None, None]
    set_feedback(sealed, logs[1], 1)
    assert [entry.feedback for entry in reader.tail(shard, 0, 100)[0]] == [-1, 1, None, None]
    assert Path(f"{sealed}-wal").stat().st_size == 0


def test_readers_see_every_log_once_while_segments_roll_and_are_sealed(
    opened: Writers, root: Path, shard: ShardKey, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(120)]
    stored = [0]
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        with closing(EmbeddedLogReader(root, query_timeout_s=60)) as reader:
            while not stop.is_set():
                before = stored[0]
                entries, reached = reader.tail(shard, 0, 1_000)
                page = reader.page(shard, LogQuery(per_page=1_000))
                expected = [each.entry for each in logs]
                if entries != expected[:reached] or page.entries != expected[: page.total][::-1]:
                    wrong.append((entries, page))
                if not before <= reached <= page.total:
                    wrong.append((before, reached, page.total))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    writer = opened(bounds=THREE_ROWS)
    for number, each in enumerate(logs, 1):
        writer.append(shard, [each], AT)
        stored[0] = number
        writer.tend()
    settle(writer)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_crash_left_behind_is_removed_when_the_shard_is_next_opened(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(7)]
    writer = opened(bounds=THREE_ROWS)
    for each in logs[:4]:
        writer.append(shard, [each], AT)
    settle(writer)
    for each in logs[4:]:
        writer.append(shard, [each], AT)
    writer.close()
    kept = sorted(name for name in os.listdir(folder) if not name.startswith("stats.db"))
    leftovers = (
        "00000001.db",
        "00000001.db-wal",
        "00000002.sealed.db",
        ".00000002.sealed.tmp",
        ".00000002.sealed.tmp-journal",
        ".00000004.db.tmp",
    )
    for name in leftovers:
        (folder / name).write_bytes(b"half")
    writer = opened(bounds=THREE_ROWS)
    assert writer.positions(shard) == AT
    writer.close()
    assert sorted(name for name in os.listdir(folder) if not name.startswith("stats.db")) == kept
    assert everything(reader, shard, logs)


def test_a_shard_that_is_dropped_while_it_is_sealed_begins_anew(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=THREE_ROWS)
    for _ in range(3):
        logs = [log(b"%d" % number) for number in range(7)]
        for each in logs:
            writer.append(shard, [each], AT)
        assert everything(reader, shard, logs)
        writer.drop(shard)
        settle(writer)
        assert not folder.exists()


def test_a_segment_that_cannot_be_sealed_stays_as_it_is(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(7)]
    writer = opened(bounds=THREE_ROWS)
    writer.append(shard, logs[:1], AT)
    for number in (1, 2):
        (folder / f".{number:08d}.sealed.tmp").mkdir()
    for each in logs[1:]:
        writer.append(shard, [each], AT)
    settle(writer)
    assert everything(reader, shard, logs)
    assert (folder / "00000001.db").exists()


def test_a_sealed_segment_knows_how_many_logs_have_a_value_whatever_is_removed_of_it(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sluice.storage.embedded.walking.NEAR", 0)
    words = ("b", "a", None)
    logs = [log(model_type=words[number % 3], success=number % 4 > 0, model=f"m{number % 5}") for number in range(60)]
    writer = opened(bounds=BOUNDS._replace(rows=20))
    for start in range(0, 60, 20):
        writer.append(shard, logs[start : start + 20], AT)
    settle(writer)
    assert counted(folder) == [True, True]

    def check(left: list[NewLog]) -> None:
        for order_by, value_of in BY:
            expected = sorted((each.entry for each in reversed(left)), key=value_of, reverse=True)
            for page in range(1, len(left) // 7 + 2):
                found = reader.page(shard, LogQuery(page, 7, order_by)).entries
                assert found == expected[(page - 1) * 7 : page * 7]

    check(logs)
    writer.trim(shard, Keep(rows=52))
    check(logs[8:])
    writer.delete(shard, [logs[9].entry.id], AT)
    assert counted(folder) == [False, True]
    check([logs[8], *logs[10:]])


BY: list[tuple[OrderBy, Callable[[LogEntry], tuple[bool, str]]]] = [
    ("model", lambda entry: (True, entry.model)),
    ("model_type", lambda entry: (entry.model_type is not None, entry.model_type or "")),
    ("success", lambda entry: (True, str(int(entry.success)))),
]


def counted(folder: Path) -> list[bool]:
    """Of each sealed segment whether it holds its counts."""
    has = "SELECT count(*) FROM sqlite_schema WHERE name = 'counted'"
    found = []
    for path in sorted(folder.glob("*.sealed.db")):
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            found.append(bool(db.execute(has).get))
    return found
