"""What changes to stored logs leave behind on the disk: terms, dead bytes, packs that nothing lives in."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from sluice.storage.embedded.earlier_changes import delete_earlier
from sluice.storage.embedded.open import segment_name
from sluice.storage.embedded.packs import ALONE_BYTES, PACK_BYTES
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.rows import term
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery, StoreFault
from sluice.values.command import Change
from sluice.values.log import NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
SEGMENT = segment_name(1)
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


def rows(folder: Path, sql: str) -> list[Any]:
    with closing(apsw.Connection(str(folder / f"{SEGMENT}.db"))) as db:
        return list(db.execute(sql))


def packs(folder: Path) -> list[int]:
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("*.pack"))


def test_a_log_is_known_by_the_terms_of_its_present_metadata(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    made = log()
    entry = msgspec.structs.replace(made.entry, metadata={"a": "x", "b": "y"}, event_id="e", request_id="r")
    writer = opened()
    writer.append(shard, [made._replace(entry=entry)], AT)
    writer.change(shard, [entry.id], Change(metadata={"b": "y", "new": 7}), {})
    expected = {term("value", "y"), term("value", "7"), term("event", "e"), term("request", "r")}
    assert {h for (h,) in rows(folder, "SELECT h FROM term")} == expected
    assert ("new",) in rows(folder, "SELECT v FROM name")
    writer.delete(shard, [entry.id], {})
    for table in ("term", "log", "det"):
        assert rows(folder, f"SELECT count(*) FROM {table}") == [(0,)]


def test_bytes_of_deleted_bodies_are_counted_as_dead_and_stay_so(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    logs = [log(os.urandom(1_000), os.urandom(500)) for _ in range(3)]
    writer.append(shard, logs, AT)
    ((size,),) = rows(folder, "SELECT bytes FROM pack")
    writer.delete(shard, [logs[0].entry.id], {})
    writer.append(shard, [log(os.urandom(1_000))], AT)
    ((grown, dead),) = rows(folder, "SELECT bytes, dead FROM pack")
    assert grown > size == 3 * dead  # random bytes do not compress
    writer.delete(shard, [each.entry.id for each in logs], {})
    assert rows(folder, "SELECT dead FROM pack") == [(size,)]


def test_a_large_body_leaves_the_disk_with_its_log_and_its_number_is_not_used_again(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    large, small = log(os.urandom(ALONE_BYTES), b"r"), log(b"q", b"r")
    writer.append(shard, [small, large], AT)
    before = writer.bytes(shard)
    assert packs(folder) == [1, 2]
    writer.delete(shard, [large.entry.id], {})
    assert packs(folder) == [1]
    assert writer.bytes(shard) < before - ALONE_BYTES // 2
    writer.close()
    writer = opened()
    another = log(os.urandom(ALONE_BYTES), b"r")
    writer.append(shard, [another], AT)
    assert packs(folder) == [1, 3]
    assert b"".join(reader.body(shard, another.entry.id, "request") or ()) == another.request


def test_a_crash_before_a_pack_is_removed_leaves_no_file(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    large = log(os.urandom(ALONE_BYTES), b"r")
    writer.append(shard, [large], AT)
    (pack,) = (path for path in folder.glob("*.pack") if path.stat().st_size >= ALONE_BYTES)
    kept = pack.with_suffix(".kept")
    os.link(pack, kept)
    writer.delete(shard, [large.entry.id], {})
    writer.close()
    kept.rename(pack)
    writer = opened()
    assert writer.positions(shard) == AT
    assert not pack.exists()
    assert reader.page(shard, LogQuery()).total == 0


def test_a_full_pack_goes_when_its_last_log_is_deleted(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.storage.embedded.compaction.WASTE_BYTES", PACK_BYTES)
    writer = opened()
    size = ALONE_BYTES - 1_000_000
    logs = [log(os.urandom(size), b"") for _ in range(PACK_BYTES // size + 1)]
    writer.append(shard, logs, AT)
    assert packs(folder) == [1, 2]
    writer.delete(shard, [each.entry.id for each in logs[:-2]], {})
    assert packs(folder) == [1, 2]
    writer.delete(shard, [each.entry.id for each in logs[-2:]], {})
    assert packs(folder) == [2]  # it is still being filled


def test_a_change_that_fails_changes_nothing_and_the_next_one_holds(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    made = log()
    writer.append(shard, [made], AT)
    at = {"128": Position(1, 1)}
    with closing(apsw.Connection(str(folder / f"{SEGMENT}.db"))) as db:
        db.execute("CREATE TRIGGER fail BEFORE INSERT ON ckpt BEGIN SELECT RAISE(ABORT, 'no'); END")
        for change in (
            lambda: writer.change(shard, [made.entry.id], Change(feedback=1), at),
            lambda: writer.delete(shard, [made.entry.id], at),
        ):
            with pytest.raises(StoreFault, match="no"):
                change()
            assert reader.get(shard, made.entry.id) == made.entry
            assert writer.positions(shard) == AT
        db.execute("DROP TRIGGER fail")
    assert writer.change(shard, [made.entry.id], Change(feedback=1), at) == {made.entry.id}
    assert writer.positions(shard) == AT | at
    writer.sync()


def test_a_shard_of_the_first_format_takes_changes(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    made_older: Callable[..., None],
) -> None:
    writer = opened()
    made, other = log(b"q", b"r"), log(b"q", b"r")
    writer.append(shard, [made, other], AT)
    writer.close()
    made_older(folder / f"{SEGMENT}.db", 1)
    assert reader.page(shard, LogQuery()).total == 2
    writer = opened()
    assert writer.delete(shard, [made.entry.id], {}) == {made.entry.id}
    assert rows(folder, "SELECT dead > 0 FROM pack") == [(1,)]
    assert rows(folder, "SELECT v FROM meta WHERE key = 'format'") == [(3,)]
    assert reader.page(shard, LogQuery()).total == 1


def test_a_crash_amid_a_delete_from_an_earlier_segment_leaves_no_wrong_count(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    small = BOUNDS._replace(rows=3)
    writer = opened(bounds=small)
    logs = [log() for _ in range(7)]
    for number, each in enumerate(logs):
        writer.append(shard, [each], {"0": Position(1, number)})
    segment = writer._open[shard]._segment
    segment.doubt(1)
    gone = {logs[0].entry.id, logs[2].entry.id}
    assert delete_earlier(folder, segment.earlier[0], [*gone], 0) == gone
    writer.close()  # it knew nothing of that
    assert opened(bounds=small).rows(shard) == 5
    assert reader.page(shard, LogQuery()).total == 5
    assert [entry.id for entry in reader.tail(shard, 0, 10)[0]] == [each.entry.id for each in (logs[1], *logs[3:])]


def test_a_delete_from_a_damaged_segment_fails_and_keeps_no_new_log_from_being_stored(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    small = BOUNDS._replace(rows=3)
    logs = [log() for _ in range(4)]
    writer = opened(bounds=small)
    for each in logs:
        writer.append(shard, [each], AT)
    writer.close()
    (folder / "00000001.db").write_bytes(b"damaged" * 1000)
    writer = opened(bounds=small)
    with pytest.raises(StoreFault):
        writer.delete(shard, [logs[0].entry.id], AT)
    assert writer.append(shard, [log()], AT) == 1
    assert reader.tail(shard, 3, 10)[1] == 5
