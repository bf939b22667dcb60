"""Retention on the disk: what goes with whole segments, and when."""

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.idle_readers import IDLE_S
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Keep, LogQuery
from sluice.values.log import NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
HOUR_MS = 3_600_000
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


def settle(writer: EmbeddedLogWriter) -> None:
    """Awaits the background, lets what it made take its place, and awaits the removal of what that replaced."""
    for _ in range(2):
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("0*") if path.suffix in (".db", ".pack"))


def removed_but_open(folder: Path) -> list[str]:
    """Files that take space though they have no name any more."""
    open_files = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in open_files if name.startswith(str(folder)) and name.endswith("(deleted)")]


def test_whole_segments_leave_the_disk_and_a_part_of_the_next_one_is_hidden(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=BOUNDS._replace(rows=100))
    logs = [log(random.randbytes(1_000), None) for _ in range(1_000)]
    for start in range(0, 1_000, 100):
        writer.append(shard, logs[start : start + 100], AT)
    settle(writer)
    before = sum(path.stat().st_size for path in folder.iterdir())
    assert reader.page(shard, LogQuery(order_by="cached")).total == 1_000  # the reader keeps all of them open
    assert writer.trim(shard, Keep(rows=150)) == 850
    settle(writer)
    assert files(folder) == [
        "00000009-0001.pack",
        "00000009.sealed.db",
        "00000010-0001.pack",
        "00000010.db",
    ]
    assert sum(path.stat().st_size for path in folder.iterdir()) < before / 3
    assert writer.bytes(shard) < before / 4
    assert removed_but_open(folder)
    reader._idle.close_unused(time.monotonic() + IDLE_S)
    assert not removed_but_open(folder)
    assert reader.tail(shard, 0, 1_000)[0] == [each.entry for each in logs[850:]]


def test_an_idle_shard_whose_logs_have_all_aged_is_emptied_files_and_all(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    logs = [log(b"%d" % number) for number in range(5)]
    writer.append(shard, logs, AT)
    last_ms = logs[-1].entry.created_ms
    assert writer.trim(shard, Keep(since_ms=last_ms)) == 0 + sum(each.entry.created_ms < last_ms for each in logs)
    assert files(folder) == ["00000001-0001.pack", "00000001.db"]
    assert writer.trim(shard, Keep(since_ms=last_ms + 1)) > 0
    settle(writer)
    assert files(folder) == ["00000002.db"]
    assert writer.positions(shard) == AT
    assert reader.page(shard, LogQuery()).total == 0
    assert writer.trim(shard, Keep(since_ms=last_ms + 2)) == 0
    assert files(folder) == ["00000002.db"]


@pytest.mark.parametrize(
    ("keep", "rows"), [(Keep(rows=10_000), 10_000), (Keep(rows=400_000), 25_000), (Keep(rows=4_000_000), 1_000_000)]
)
def test_a_limit_is_a_limit_of_many_segments(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs, keep: Keep, rows: int
) -> None:
    writer = opened()
    writer.append(shard, [log(None, None)], AT)
    writer.trim(shard, keep)
    writer.close()
    with closing(apsw.Connection(str(folder / "00000001.db"))) as db:
        db.execute("UPDATE meta SET v = ? WHERE key = 'rows'", (rows - 1,))
    writer = opened()
    writer.trim(shard, keep)
    for expected in (1, 2):
        writer.append(shard, [log(None, None)], AT)
        assert len(list(folder.glob("0*.db"))) == expected


def test_segments_are_younger_where_logs_are_kept_for_a_short_time(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    now_ms = [log().entry.created_ms]
    writer = opened(clock_ms=lambda: now_ms[0])
    writer.append(shard, [log()], AT)
    writer.trim(shard, Keep(since_ms=now_ms[0] - 32 * HOUR_MS))
    for hours, expected in ((1, 1), (2, 2)):
        now_ms[0] += hours * HOUR_MS - (0 if hours == 1 else HOUR_MS)
        writer.append(shard, [log()], AT)
        assert len(list(folder.glob("0*.db"))) == expected


def test_files_whose_removal_a_crash_cut_short_go_when_the_shard_is_next_opened(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=BOUNDS._replace(rows=2))
    logs = [log(b"%d" % number) for number in range(8)]
    for each in logs:
        writer.append(shard, [each], AT)
    settle(writer)
    saved = {path: path.read_bytes() for path in folder.glob("0000000[12]*")}
    assert writer.trim(shard, Keep(rows=3)) == 5
    settle(writer)
    writer.close()
    for path, content in saved.items():
        path.write_bytes(content)
    writer = opened()
    assert writer.rows(shard) == 3
    assert not [path for path in saved if path.exists()]
    assert reader.tail(shard, 0, 10)[0] == [each.entry for each in logs[5:]]


def test_a_cursor_passes_each_log_once_while_segments_roll_are_sealed_and_go(
    opened: Writers, root: Path, shard: ShardKey, log: Logs
) -> None:
    logs = [log(b"%d" % number) for number in range(300)]
    ids = [each.entry.id for each in logs]
    stored, kept = [0], 60
    wrong: list[object] = []
    stop = threading.Event()

    def walk(reader: EmbeddedLogReader, descending: bool) -> None:
        before, walked, cursor = stored[0], list[str](), None
        while True:
            page = reader.page(shard, LogQuery(per_page=7, descending=descending, cursor=cursor))
            walked += [entry.id for entry in page.entries]
            if (cursor := page.cursor) is None:
                break
        oldest = stored[0] + 1 - kept  # one may be stored, and not yet told
        if walked != sorted(set(walked), reverse=descending):
            wrong.append(walked)
        if missed := set(ids[max(oldest, 0) : before]) - set(walked):
            wrong.append((missed, before, oldest))

    def read() -> None:
        with closing(EmbeddedLogReader(root, query_timeout_s=60)) as reader:
            while not stop.is_set():
                for descending in (True, False):
                    walk(reader, descending)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    writer = opened(bounds=BOUNDS._replace(rows=7))
    for number, each in enumerate(logs, 1):
        writer.append(shard, [each], AT)
        stored[0] = number
        writer.tend()
        writer.trim(shard, Keep(rows=kept))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
